"""The baseline computes what the original PromptAD computes: `tools/check_golden.py` on the golden cases."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = sorted((ROOT / "golden").glob("*.json"))
ARRAYS = {
    *("test_cls", "test_patch", "test_mid1", "test_mid2", "init_normal_text", "init_manual_text", "init_learned_text"),
    *("grad_normal_ctx", "grad_abnormal_ctx", "losses", "final_normal_ctx", "final_abnormal_ctx", "text_features"),
    *("gallery1", "gallery2", "cls_text_score", "cls_visual_map", "fused_image_score", "seg_map"),
}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_golden", ROOT.parent / "tools" / "check_golden.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A copy of a case, which a test may change."""
    for suffix in (".json", ".npz"):
        shutil.copy(CASES[0].with_suffix(suffix), tmp_path / f"case{suffix}")
    return tmp_path / "case.json"


def change_arrays(case: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    with np.load(case.with_suffix(".npz")) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(case.with_suffix(".npz"), **arrays)


def change_settings(case: Path, **settings: object) -> None:
    case.write_text(json.dumps(json.loads(case.read_text()) | settings))


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_every_array_is_within_the_tolerance(tool: ModuleType, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main([str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    errors = {line.split()[0]: float(line.split()[1]) for line in lines[:-1]}
    assert errors.keys() == ARRAYS
    assert max(errors.values()) <= 1e-5
    assert lines[-1] == "tolerance 1e-05: all within it"


def test_both_tasks_are_covered() -> None:
    assert {json.loads(file.read_text())["task"] for file in CASES} == {"cls", "seg"}


def test_a_wrong_number_an_absent_array_and_another_shape_are_named(
    tool: ModuleType, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        del arrays["losses"]
        arrays["seg_map"] = arrays["seg_map"] + 1e-4
        arrays["test_cls"][0, 0] = np.nan
        arrays["gallery1"] = arrays["gallery1"][1:]
        arrays["more"] = np.zeros(1)

    change_arrays(case, change)
    assert tool.main([str(case)]) == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["losses"].endswith("absent, skipped")
    assert lines["more"].endswith("unknown, not checked")
    failed = {name for name, line in lines.items() if line.endswith("FAILED")}
    assert failed == {"seg_map", "test_cls", "gallery1", "tolerance"}


@pytest.mark.parametrize("setting", ["lr", "momentum", "eta_min", "lambda1", "task", "resolution"])
def test_every_setting_counts(tool: ModuleType, case: Path, setting: str) -> None:
    others = {"lr": 0.02, "momentum": 0.1, "eta_min": 0.001, "lambda1": 1.0, "task": "seg", "resolution": 32}
    change_settings(case, **{setting: others[setting]})
    assert tool.main([str(case)]) == 1


def no_json(case: Path) -> None:
    case.write_text("{")


def no_object(case: Path) -> None:
    case.write_text("[1]")


def no_file(case: Path) -> None:
    case.unlink()


def no_arrays(case: Path) -> None:
    case.with_suffix(".npz").unlink()


def damaged(case: Path) -> None:
    file = case.with_suffix(".npz")
    file.write_bytes(file.read_bytes()[:1000])


def no_input(case: Path) -> None:
    change_arrays(case, lambda arrays: arrays.pop("test_pixels"))


def no_seed(case: Path) -> None:
    settings = json.loads(case.read_text())
    del settings["seed"]
    case.write_text(json.dumps(settings))


def odd_task(case: Path) -> None:
    change_settings(case, task="paint")


def odd_model(case: Path) -> None:
    change_settings(case, model_cfg={"width": 3})


def odd_count(case: Path) -> None:
    change_settings(case, epochs=-1)


def odd_shape(case: Path) -> None:
    change_arrays(case, lambda arrays: arrays.update(train_pixels=arrays["train_pixels"][:, :, :7]))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_json, "cannot be read as a case"),
        (no_object, "holds no settings"),
        (no_file, "No such file"),
        (no_arrays, "belongs beside"),
        (damaged, "belongs beside"),
        (no_input, "lacks the inputs test_pixels"),
        (no_seed, "lacks the setting 'seed'"),
        (odd_task, "task 'paint'"),
        (odd_model, "do not fit together"),
        (odd_count, "`epochs` -1"),
        (odd_shape, "do not fit together"),
    ],
)
def test_a_bad_case_is_refused_in_one_line(
    tool: ModuleType, case: Path, spoil: Callable[[Path], None], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(case)
    assert tool.main([str(case)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("check_golden: ")
    assert shown.err.count("\n") == 1
    assert words in shown.err


def test_a_missing_argument_is_refused(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main([]) == 2
    assert "give one case" in capsys.readouterr().err
