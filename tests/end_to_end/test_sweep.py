"""The command sweep: a grid as its settings alone would give it, resumed, killed, and read by the other commands."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import pytest
from helpers import LIGHTEST, TINY, Outcome, assert_refused, call, without_seconds
from PIL import Image

from promptad.results.table import read_results

pytestmark = pytest.mark.slow

GRID = ("--n_pro", "1,2", "--n_pro_ab", "2,3")
FOLDERS = [f"n_pro_{n_pro}-n_pro_ab_{n_pro_ab}" for n_pro in (1, 2) for n_pro_ab in (2, 3)]


@dataclass(frozen=True)
class Swept:
    """A finished sweep of two settings that vary, of the carpet with two seeds; tests only read it."""

    command: tuple[str | Path, ...]
    root: Path
    outcome: Outcome


@pytest.fixture(scope="module")
def swept(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    root = tmp_path_factory.mktemp("swept")
    command = ("sweep", *data_of(drawn), *GRID, "--seeds", "0,1", *LIGHTEST)
    outcome = call(*command, "--root-dir", root)
    assert (outcome.code, outcome.errors) == (0, "")
    return Swept(command, root, outcome)


def data_of(drawn: Path, classes: str = "carpet") -> tuple[str | Path, ...]:
    return "--dataset", "demo", "--data-root", drawn, "--classes", classes


def rows_in(root: Path, seed: int = 111) -> list[dict[str, str]]:
    return [without_seconds(row) for row in read_results(root / "demo" / "k_2" / "csv" / f"Seed_{seed}-results.csv")]


def times_of(root: Path) -> dict[str, int]:
    return {file.relative_to(root).as_posix(): file.stat().st_mtime_ns for file in root.rglob("*.pt")}


def test_each_setting_has_a_folder_and_the_results_of_a_run_by_itself(
    swept: Swept, drawn: Path, tmp_path: Path
) -> None:
    assert {path.name for path in swept.root.iterdir() if path.is_dir()} == set(FOLDERS)
    alone = ("--n_pro", "2", "--n_pro_ab", "3", "--seeds", "0,1", *LIGHTEST, "--root-dir", tmp_path)
    assert call("train-all", *data_of(drawn), *alone).code == 0
    for seed in (0, 1):
        assert rows_in(swept.root / FOLDERS[3], seed) == rows_in(tmp_path, seed)


def test_numbers_are_those_of_the_rows(swept: Swept) -> None:
    plain = json.loads((swept.root / "sweep.json").read_text(encoding="utf-8"))
    assert plain["compared_with"] == {"n_pro": "1", "n_pro_ab": "2"}
    for number, folder in enumerate(FOLDERS):
        values, first = (
            [float(rows_in(swept.root / name, seed)[0]["p_pro"]) for seed in (0, 1)] for name in (folder, FOLDERS[0])
        )
        found = plain["settings"][number]["mean"]["p_pro"]
        assert (found["mean"], found["deviation"]) == pytest.approx((fmean(values), stdev(values)), abs=0.006)
        assert found["difference"] == pytest.approx(fmean(values) - fmean(first), abs=0.006)
    assert set(plain["effects"]) == {"n_pro", "n_pro_ab"}


def test_table_figure_and_files_show_all_settings(swept: Swept) -> None:
    assert "8 of 8: carpet, seed 1, n_pro 2, n_pro_ab 3: I-AUROC" in swept.outcome.output
    assert "n_pro, n_pro_ab on demo: 4 settings: AUPRO in %" in swept.outcome.output
    assert "Epoch" not in swept.outcome.output  # the single trainings say nothing
    with Image.open(swept.root / "sweep.png") as image:
        image.load()
    words = (swept.root / "sweep.md").read_text(encoding="utf-8")
    assert words.count("\n| 2 | 3 |") == 3  # of image AUROC, of AUPRO, of all metrics


def test_a_second_run_trains_nothing_and_prints_json_alone(swept: Swept, tmp_path: Path) -> None:
    before = times_of(swept.root)
    outcome = call(*swept.command, "--root-dir", swept.root, "--json", "--output", tmp_path)
    assert outcome.code == 0
    assert outcome.output == (tmp_path / "sweep.json").read_text(encoding="utf-8")
    assert outcome.output == (swept.root / "sweep.json").read_text(encoding="utf-8")
    assert "8 of 8 trainings were finished before" in outcome.errors
    assert times_of(swept.root) == before


def test_more_values_train_only_what_is_new(swept: Swept, tmp_path: Path) -> None:
    root = shutil.copytree(swept.root, tmp_path / "copy")
    before = times_of(root)
    outcome = call(*swept.command, "--n_pro_ab", "4", "--root-dir", root)
    assert (outcome.code, outcome.errors) == (0, "")
    assert "8 of 12 trainings were finished before" in outcome.output
    after = times_of(root)
    assert {name: after[name] for name in before} == before
    assert len(after) == 12


def test_other_commands_read_the_folder_of_a_setting(swept: Swept, tmp_path: Path) -> None:
    choice = ("--dataset", "demo", "--root-dir", swept.root / FOLDERS[1])
    outcome = call("report", *choice, "--seeds", "0,1", "--output", tmp_path / "page.html")
    assert (outcome.code, outcome.errors) == (0, "")


def test_settings_that_read_pictures_in_another_way_do_not_share_features(drawn: Path, tmp_path: Path) -> None:
    light = (*LIGHTEST[:4], *LIGHTEST[6:])
    varied = ("--memory-bank", "False,True", "--resolution", "16,32")
    outcome = call("sweep", *data_of(drawn), *varied, *light, "--root-dir", tmp_path / "sweep")
    assert (outcome.code, outcome.errors) == (0, "")
    for memory in ("False", "True"):
        for resolution in ("16", "32"):
            own = ("--memory-bank", memory, "--resolution", resolution, "--root-dir", tmp_path / memory / resolution)
            assert call("train-all", *data_of(drawn), *own, *light).code == 0
            folder = tmp_path / "sweep" / f"memory_bank_{memory}-resolution_{resolution}"
            assert rows_in(folder) == rows_in(tmp_path / memory / resolution)


def test_a_killed_sweep_goes_on_and_ends_as_an_undisturbed_one(
    swept: Swept, tmp_path: Path, killable: Callable[[list[str], Callable[[], bool]], None]
) -> None:
    command = [str(word) for word in (*swept.command, "--root-dir", tmp_path)]
    first, last = (
        tmp_path / folder / "demo" / "k_2" / f"checkpoint/CLS-Seed_{seed}-carpet-check_point.pt"
        for folder, seed in ((FOLDERS[0], 1), (FOLDERS[3], 0))
    )
    moments: list[Callable[[], bool]] = [first.exists, last.exists]  # after a checkpoint, with no row yet
    for moment in moments:
        killable(command, moment)
    assert not (tmp_path / "sweep.json").exists()
    outcome = call(*swept.command, "--root-dir", tmp_path)
    assert (outcome.code, outcome.errors) == (0, "")
    assert " of 8 trainings were finished before" in outcome.output
    for name in ("sweep.json", "sweep.csv", "sweep.md"):
        assert (tmp_path / name).read_bytes() == (swept.root / name).read_bytes()
    for folder in FOLDERS:
        assert [rows_in(tmp_path / folder, seed) for seed in (0, 1)] == [
            rows_in(swept.root / folder, seed) for seed in (0, 1)
        ]


def test_a_training_that_fails_does_not_stop_the_others(drawn: Path, tmp_path: Path) -> None:
    data = shutil.copytree(drawn / "demo", tmp_path / "data" / "mvtec")
    (data / "grid" / "test" / "good" / "000.png").write_bytes(b"no picture")
    where = ("--dataset", "mvtec", "--data-root", data.parent, "--root-dir", tmp_path / "sweep")
    outcome = call("sweep", *where, "--n_pro", "1,2", *TINY, *LIGHTEST)
    assert_refused(outcome, "2 of 4 trainings failed; grid, seed 111, n_pro 1: not a picture")
    assert "n_pro on mvtec: 2 settings" in outcome.output
    plain = json.loads((tmp_path / "sweep" / "sweep.json").read_text(encoding="utf-8"))
    assert plain["classes"] == ["carpet"]
    only = call("sweep", *where, "--classes", "grid", "--n_pro", "1,3", *TINY, *LIGHTEST)
    assert_refused(only, "2 of 2 trainings failed; grid, seed 111, n_pro 1: not a picture")


def test_classes_without_test_pictures_are_refused(bracket: Path, tmp_path: Path) -> None:
    where = ("--dataset", "folder", "--data-root", bracket.parent, "--root-dir", tmp_path / "sweep")
    assert_refused(call("sweep", *where, "--n_pro", "1,2", *TINY), "bracket: no test pictures", "--classes")
    assert not (tmp_path / "sweep").exists()
