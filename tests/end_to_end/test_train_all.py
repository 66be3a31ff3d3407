"""The command train-all: it resumes unfinished work, after a class that fails and after it was killed."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import (
    CHECKPOINT,
    CLASSES,
    CSV,
    LIGHT,
    LIGHTEST,
    ONLY_CARPET,
    TINY,
    Trained,
    assert_refused,
    call,
    only_row,
    read_checkpoint,
    without_seconds,
)
from PIL import Image

from promptad.results.table import read_results

pytestmark = pytest.mark.slow


def change_times(folder: Path) -> dict[str, int]:
    return {name: (folder / CHECKPOINT.format(name)).stat().st_mtime_ns for name in CLASSES}


def test_train_all_resumes_unfinished_work(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "demo" / "k_2"
    data = ("--dataset", "demo", "--data-root", drawn, "--classes", ",".join(CLASSES))
    command = ("train-all", *data, "--root-dir", tmp_path, *LIGHTEST)

    def assert_trains(classes: set[str], *more: str) -> None:
        before = change_times(folder)
        outcome = call(*command, *more)
        assert (outcome.code, outcome.errors) == (0, "")
        after = change_times(folder)
        assert {name for name in CLASSES if after[name] != before[name]} == classes
        for name in CLASSES:
            assert (f"{name}: finished before" in outcome.output) == (name not in classes)
        assert [row["class"] for row in read_results(folder / CSV)] == list(CLASSES)

    first = call(*command)
    assert (first.code, first.errors) == (0, "")
    assert "mean of 2" in first.output
    assert_trains(set())
    (folder / CHECKPOINT.format("grid")).write_bytes(b"")
    assert_trains({"grid"})
    assert_trains(set(CLASSES), "--Epoch", "2")
    checkpoint = folder / CHECKPOINT.format("carpet")
    checkpoint.write_bytes(checkpoint.read_bytes()[:2000])
    assert_trains({"carpet"}, "--Epoch", "2")
    assert_trains(set(), "--Epoch", "2")


def test_side_by_side_training_gives_the_results_of_one_by_one(drawn: Path, tmp_path: Path) -> None:
    data = ("--dataset", "demo", "--data-root", drawn, "--classes", ",".join(CLASSES), "--seeds", "0,1")
    for system in ("multi-prototype", "single-anchor"):
        folders = []
        for together in ("False", "True"):
            root = tmp_path / system / together
            more = ("--Epoch", "12", "--views", "2", "--resolution", "32", "--system", system, "--together", together)
            outcome = call("train-all", *data, "--root-dir", root, *more)
            assert (outcome.code, outcome.errors) == (0, "")
            assert ("carpet, Epoch 12/12:" in outcome.output) == (together == "True")
            folders.append(root / "demo" / "k_2")
        for seed in (0, 1):
            alone, beside = (read_results(folder / "csv" / f"Seed_{seed}-results.csv") for folder in folders)
            for one, other in zip(alone, beside, strict=True):
                assert one["run"] == other["run"]
                assert float(one["i_roc"]) == pytest.approx(float(other["i_roc"]), abs=1e-4)
                assert float(one["p_roc"]) == pytest.approx(float(other["p_roc"]), abs=1e-3)


def test_side_by_side_only_unfinished_classes_are_trained(drawn: Path, tmp_path: Path) -> None:
    command = ("train-all", "--dataset", "demo", "--data-root", drawn, "--root-dir", tmp_path, *LIGHTEST)
    assert call(*command, *ONLY_CARPET).code == 0
    outcome = call(*command, "--classes", ",".join(CLASSES), "--together", "True")
    assert (outcome.code, outcome.errors) == (0, "")
    assert "carpet: finished before" in outcome.output
    assert [row["class"] for row in read_results(tmp_path / "demo" / "k_2" / CSV)] == list(CLASSES)


def test_a_class_that_fails_side_by_side_does_not_stop_the_others(drawn: Path, tmp_path: Path) -> None:
    data = tmp_path / "data" / "mvtec"
    shutil.copytree(drawn / "demo", data)
    shutil.copytree(data / "grid", data / "tile")
    (data / "carpet" / "test" / "good" / "000.png").write_bytes(b"no picture")
    command = ("train-all", "--dataset", "mvtec", "--data-root", data.parent, "--root-dir", tmp_path, *TINY, *LIGHTEST)
    outcome = call(*command, "--together", "True")
    assert "going on one by one" in outcome.output
    assert_refused(outcome, "1 of 3 classes failed; carpet: not a picture")
    rows = read_results(tmp_path / "mvtec" / "k_2" / CSV)
    assert [row["class"] for row in rows] == ["grid", "tile"]


def test_train_all_trains_only_what_was_deleted(copied: Trained, drawn: Path) -> None:
    command = ("train-all", "--dataset", "demo", "--data-root", drawn, "--root-dir", copied.results, *LIGHT)
    assert call(*command, "--classes", "carpet,grid").code == 0
    carpet, grid = (copied.folder / CHECKPOINT.format(name) for name in CLASSES)
    unchanged = carpet.stat().st_mtime_ns
    grid.unlink()
    outcome = call(*command, "--classes", "carpet,grid")
    assert "carpet: finished before" in outcome.output
    assert grid.is_file()
    assert carpet.stat().st_mtime_ns == unchanged


def test_train_all_measures_again_if_the_row_is_lost(copied: Trained, drawn: Path) -> None:
    row = only_row(copied.folder)
    (copied.folder / CSV).unlink()
    command = ("train-all", "--dataset", "demo", "--data-root", drawn, "--root-dir", copied.results, *LIGHT)
    assert call(*command, *ONLY_CARPET).code == 0
    assert without_seconds(only_row(copied.folder)) == without_seconds(row)


def test_a_class_that_fails_does_not_stop_the_others(mvtec: Path, drawn: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn / "demo" / "grid", mvtec.parent / "grid")
    for image in (mvtec / "train" / "good").iterdir():
        image.write_bytes(b"no picture")
    results = tmp_path / "result"
    options = ("--dataset", "mvtec", "--data-root", mvtec.parent.parent, "--root-dir", results, *TINY, *LIGHTEST)
    outcome = call("train-all", *options)
    assert_refused(outcome, "1 of 2 classes failed", "carpet", "not a picture")
    assert only_row(results / "mvtec" / "k_2")["class"] == "grid"


def assert_readable(folder: Path) -> None:
    """Every file with one of the documented names can be read, whenever its writer was killed."""
    for file in folder.rglob("[!.]*"):
        if file.suffix == ".pt":
            assert read_checkpoint(file)["class_name"] in CLASSES
        elif file.suffix == ".csv":
            with file.open(newline="") as lines:
                assert {row["class"] for row in csv.DictReader(lines)} <= set(CLASSES)
            read_results(file)
        elif file.suffix == ".json":
            assert json.loads(file.read_text())["verdicts" if file.parent.name == "diagnostics" else "pictures"]
        elif file.suffix == ".png":
            with Image.open(file) as image:
                image.load()


def test_a_killed_run_leaves_nothing_unreadable_and_resumes(
    drawn: Path, tmp_path: Path, killable: Callable[[list[str], Callable[[], bool]], None]
) -> None:
    folder = tmp_path / "demo" / "k_2"
    options = ("--dataset", "demo", "--data-root", drawn, "--classes", ",".join(CLASSES), "--root-dir", tmp_path)
    command = ["train-all", *map(str, options), *LIGHTEST[:-1], "True"]
    mean_and_std: list[Callable[[], bool]] = [
        lambda: any(folder.rglob("checkpoint/.*.pt")),  # in the middle of the first checkpoint
        lambda: any(folder.rglob("checkpoint/[!.]*.pt")),  # after it, with no row yet
        lambda: any(folder.rglob("diagnostics/*grid*.json")),  # late, in the second class
    ]
    for moment in mean_and_std:
        killable(command, moment)
        assert_readable(folder)
    outcome = call(*command)
    assert (outcome.code, outcome.errors) == (0, "")
    assert_readable(folder)
    assert [row["class"] for row in read_results(folder / CSV)] == list(CLASSES)


def test_train_all_trains_again_if_a_support_image_was_replaced(mvtec: Path, tmp_path: Path) -> None:
    results = tmp_path / "result"
    options = ("--dataset", "mvtec", "--data-root", mvtec.parent.parent, "--root-dir", results, *TINY, *LIGHTEST)
    assert call("train-all", *options).code == 0
    for image in (mvtec / "train" / "good").iterdir():
        shutil.copy(mvtec / "test" / "good" / image.name, image)
    assert "finished before" not in call("train-all", *options).output


def test_train_all_measures_again_if_a_test_image_was_replaced(mvtec: Path, tmp_path: Path) -> None:
    results = tmp_path / "result"
    options = ("--dataset", "mvtec", "--data-root", mvtec.parent.parent, "--root-dir", results, *TINY, *LIGHTEST)
    assert call("train-all", *options).code == 0
    before = only_row(results / "mvtec" / "k_2")["data"]
    first, second, *_ = sorted((mvtec / "test" / "good").iterdir())
    shutil.copy(first, second)
    assert "finished before" not in call("train-all", *options).output
    assert only_row(results / "mvtec" / "k_2")["data"] != before
    assert "finished before" in call("train-all", *options).output
