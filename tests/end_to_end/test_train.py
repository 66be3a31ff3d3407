"""The commands train and test from end to end: the files of a run, and that it can be measured again."""

import json
from pathlib import Path

import pytest
import torch
from helpers import CHECKPOINT, CSV, LIGHTEST, TINY, Trained, call, contents, only_row, read_checkpoint, without_seconds
from PIL import Image

from promptad.results.columns import METRIC_TITLES

pytestmark = pytest.mark.slow

DIAGNOSTICS = {
    "normal_prototype_frequencies": 3,
    "abnormal_prototype_frequencies": 6,
    "abnormal_collapse": {"mean", "min", "max", "num_pairs"},
    "normal_abnormal_separation": {
        *("mean_to_mean_normal", "min_to_mean_normal", "max_to_mean_normal", "std_to_mean_normal"),
        *("all_pairs_mean", "all_pairs_min", "all_pairs_max"),
    },
    "dominance_statistics": {
        *("mean", "median", "min", "max", "std", "images_above_80pct", "images_above_90pct", "total_images"),
    },
}


def test_train_writes_the_documented_files_and_nothing_else(trained: Trained, drawn: Path) -> None:
    visible = {name for name in contents(trained.folder) if not Path(name).name.startswith(".")}
    tested = sorted((drawn / "demo" / "carpet" / "test").rglob("*.png"))
    assert visible == {
        CHECKPOINT.format("carpet"),
        CSV,
        "scores/CLS-Seed_111-carpet-scores.json",
        "diagnostics/carpet_k2_diagnostics.json",
        "diagnostics/carpet_k2_diagnostics.png",
        *(f"imgs/carpet/{path.parent.name}_{path.name}" for path in tested),
    }
    for name in visible:
        if name.endswith(".png"):
            with Image.open(trained.folder / name) as image:
                image.verify()


def test_the_checkpoint_holds_unit_prototypes(trained: Trained) -> None:
    checkpoint = read_checkpoint(trained.folder / CHECKPOINT.format("carpet"))
    assert checkpoint["normal_prototypes"].shape == (3, 128)
    assert checkpoint["abnormal_prototypes"].shape == (6, 128)
    for side in ("normal", "abnormal"):
        torch.testing.assert_close(checkpoint[f"{side}_prototypes"].norm(dim=1).mean(), torch.tensor(1.0))
    assert (checkpoint["dataset"], checkpoint["class_name"]) == ("demo", "carpet")
    assert set(checkpoint["support_images"]) <= {f"{number:03}.png" for number in range(4)}
    assert len(checkpoint["support_images"]) == 2


def test_the_diagnostics_have_every_key(trained: Trained) -> None:
    diagnostics = json.loads((trained.folder / "diagnostics" / "carpet_k2_diagnostics.json").read_text())
    for key, inner in DIAGNOSTICS.items():
        if isinstance(inner, int):
            assert len(diagnostics[key]) == inner
            assert sum(diagnostics[key]) == pytest.approx(1)
        else:
            assert diagnostics[key].keys() == inner
    assert diagnostics["total_images"] == 8
    assert diagnostics["total_patches"] == 8 * 14 * 14
    assert len(diagnostics["verdicts"]) == 4
    for verdict in diagnostics["verdicts"]:
        assert verdict.keys() == {"name", "healthy", "value", "limit", "advice"}
        assert bool(verdict["advice"]) != verdict["healthy"]


def test_the_row_records_what_was_run(trained: Trained) -> None:
    row = only_row(trained.folder)
    way = {"class": "carpet", "system": "multi-prototype", "level": "image", "memory": "no", "select": "last"}
    expected = way | {"dataset": "demo", "k": "2", "seed": "111", "n_pro": "3", "n_pro_ab": "6"}
    assert row.items() >= (expected | {"epochs": "2", "backbone": "tiny", "test_images": "8"}).items()
    assert all(0 <= float(row[metric]) <= 100 for metric in METRIC_TITLES)
    weights = read_checkpoint(trained.folder / CHECKPOINT.format("carpet"))["weights_sha256"]
    assert row["weights"] == weights[:12]
    assert len(row["data"]) == len(row["run"]) == 12


def test_the_log_has_the_documented_format(trained: Trained) -> None:
    lines = trained.outcome.output.splitlines()
    start = lines.index("Epoch 2/2:")
    assert lines[start + 1].startswith("  i_roc: ")
    assert lines[start + 2].startswith("  Normal proto usage: ")
    assert lines[start + 3].startswith("  Loss: ")
    assert f"checkpoint: {trained.folder / CHECKPOINT.format('carpet')}" in lines
    assert lines[-2].startswith("carpet: I-AUROC ")
    assert lines[-1].startswith("carpet: P-AUROC ")
    assert "SegF1" in lines[-1]
    assert lines[-2].endswith(" % on 8 pictures")


@pytest.mark.parametrize(
    "more", [(), ("--save-diagnostics", "True"), ("--k-shot", "2", "--n_pro", "3", "--Epoch", "2")]
)
def test_test_gives_the_same_results_again(copied: Trained, more: tuple[str, ...]) -> None:
    before, row = contents(copied.folder), only_row(copied.folder)
    outcome = call("test", *copied.arguments, *more)
    assert (outcome.code, outcome.errors) == (0, "")
    assert without_seconds(only_row(copied.folder)) == without_seconds(row)
    after = contents(copied.folder)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} <= {CSV}


def test_test_reads_a_checkpoint_from_elsewhere_at_another_resolution(trained: Trained, tmp_path: Path) -> None:
    checkpoint = trained.folder / CHECKPOINT.format("carpet")
    results = tmp_path / "result"
    outcome = call("test", *trained.arguments, "--root-dir", results, "--checkpoint", checkpoint, "--resolution", "32")
    assert (outcome.code, outcome.errors) == (0, "")
    again, before = only_row(results / "demo" / "k_2"), only_row(trained.folder)
    assert [again[column] for column in ("i_roc", "i_ap", "i_f1")] == [
        before[column] for column in ("i_roc", "i_ap", "i_f1")
    ]


@pytest.mark.parametrize(
    ("changed", "normal", "abnormal", "column"),
    [
        (("--n_pro", "1"), 1, 6, ("n_pro", 1)),
        (("--n_pro_ab", "4"), 3, 4, ("n_pro_ab", 4)),
        (("--n_ctx", "8"), 3, 6, ("n_ctx", 8)),
        (("--n_pro", "1", "--n_pro_ab", "1"), 1, 1, ("n_pro_ab", 1)),
    ],
)
def test_an_ablation_trains(
    trained: Trained, tmp_path: Path, changed: tuple[str, ...], normal: int, abnormal: int, column: tuple[str, int]
) -> None:
    outcome = call("train", *trained.arguments, "--root-dir", tmp_path, *LIGHTEST, *changed)
    assert (outcome.code, outcome.errors) == (0, "")
    checkpoint = read_checkpoint(tmp_path / "demo" / "k_2" / CHECKPOINT.format("carpet"))
    assert checkpoint["normal_prototypes"].shape == (normal, 128)
    assert checkpoint["abnormal_prototypes"].shape == (abnormal, 128)
    name, value = column
    assert checkpoint["settings"]["prompts"][name] == value


def underscored(word: str) -> str:
    return f"--{word[2:].replace('-', '_')}" if word.startswith("--") else word


def test_underscores_and_dashes_are_alike(trained: Trained, tmp_path: Path) -> None:
    folders = []
    for spell in (str, underscored):
        results = tmp_path / spell.__name__
        options = (*trained.arguments, "--root-dir", results, *LIGHTEST, "--n-pro", "2", "--n-pro-ab=4")
        assert call("train", *(spell(str(word)) for word in options)).code == 0
        folders.append(results / "demo" / "k_2")
    first, second = (read_checkpoint(folder / CHECKPOINT.format("carpet")) for folder in folders)
    assert first["settings"] == second["settings"]
    assert first["settings"]["prompts"]["n_pro_ab"] == 4
    assert torch.equal(first["normal_prototypes"], second["normal_prototypes"])
    assert torch.equal(first["abnormal_prototypes"], second["abnormal_prototypes"])
    assert without_seconds(only_row(folders[0])) == without_seconds(only_row(folders[1]))


def test_images_that_are_far_from_square_are_named(drawn: Path, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.mkdir()
    for number in range(2):
        with Image.open(drawn / "demo" / "carpet" / "train" / "good" / f"00{number}.png") as image:
            image.resize((300, 100)).save(good / f"{number}.png")
    outcome = call("train", "--good", good, "--name", "rail", "--root-dir", tmp_path / "result", *TINY, *LIGHTEST)
    assert outcome.code == 0, outcome.errors
    assert "pictures of 300 x 100 pixels are squeezed to a square" in outcome.output
