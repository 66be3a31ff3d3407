"""The command line from end to end, on small drawn classes: what it leaves behind, resumes and refuses."""

import csv
import json
import multiprocessing
import pickle
import re
import resource
import shutil
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Outcome, assert_refused, call, contents, draw_small_class
from PIL import Image
from rich.console import Console

from promptad.command_line import RUNNERS, main
from promptad.options import COMMANDS
from promptad.results import METRIC_TITLES, read_results

CLASSES = ("carpet", "grid")
LIGHT = ("--Epoch", "2", "--views", "4", "--resolution", "64")
LIGHTEST = ("--Epoch", "1", "--views", "2", "--resolution", "32", "--save-diagnostics", "False")
TINY = ("--backbone", "tiny")
CHECKPOINT = "checkpoint/CLS-Seed_111-{}-check_point.pt"
ONLY_CARPET = ("--classes", "carpet")
CSV = "csv/Seed_111-results.csv"
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


@dataclass(frozen=True)
class Trained:
    """A finished training run of the demo's carpet; tests only read it, or work on a copy."""

    arguments: tuple[str | Path, ...]  # that name its data and results
    results: Path
    outcome: Outcome

    @property
    def folder(self) -> Path:
        """Where its results lie."""
        return self.results / "demo" / "k_2"


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a small carpet and a small grid as the demo data set."""
    root = tmp_path_factory.mktemp("drawn")
    for class_name in CLASSES:
        draw_small_class(root / "demo", class_name, tmp_path_factory.mktemp("whole"))
    return root


@pytest.fixture(scope="session")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    results = tmp_path_factory.mktemp("trained")
    arguments: list[str | Path] = ["--dataset", "demo", "--data-root", drawn, "--class-name", "carpet"]
    arguments += ["--root-dir", results]
    outcome = call("train", *arguments, *LIGHT, "--vis", "True")
    assert outcome.code == 0, outcome.errors
    return Trained(tuple(arguments), results, outcome)


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Trained:
    """The finished run in a result folder of its own, which a test may change."""
    results = tmp_path / "result"
    shutil.copytree(trained.results, results)
    return Trained((*trained.arguments, "--root-dir", results), results, trained.outcome)


@pytest.fixture
def mvtec(drawn: Path, tmp_path: Path) -> Path:
    """The folder of a carpet in MVTec AD's layout, which a test may change."""
    return shutil.copytree(drawn / "demo" / "carpet", tmp_path / "data" / "mvtec" / "carpet")


@pytest.fixture
def bracket(drawn: Path, tmp_path: Path) -> Path:
    """A plain folder with nothing but good/."""
    shutil.copytree(drawn / "demo" / "carpet" / "train" / "good", tmp_path / "bracket" / "good")
    return tmp_path / "bracket"


def read_checkpoint(file: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(file, weights_only=True)
    return checkpoint


def only_row(folder: Path) -> dict[str, str]:
    (row,) = read_results(folder / CSV)
    return row


def without_seconds(row: dict[str, str]) -> dict[str, str]:
    return {column: cell for column, cell in row.items() if column != "seconds"}


def change_times(folder: Path) -> dict[str, int]:
    return {name: (folder / CHECKPOINT.format(name)).stat().st_mtime_ns for name in CLASSES}


def train_mvtec(class_folder: Path, results: Path, *more: str) -> Outcome:
    data = ("--dataset", "mvtec", "--data-root", class_folder.parent.parent, "--class-name", class_folder.name)
    return call("train", *data, "--root-dir", results, *TINY, *LIGHTEST, *more)


def train_folder(root: Path, results: Path, *more: str | Path) -> Outcome:
    return call("train", "--dataset", "folder", "--data-root", root, "--root-dir", results, *TINY, *LIGHTEST, *more)


# What a run leaves behind.


def test_train_leaves_what_the_contract_names_and_nothing_else(trained: Trained, drawn: Path) -> None:
    visible = {name for name in contents(trained.folder) if not Path(name).name.startswith(".")}
    tested = sorted((drawn / "demo" / "carpet" / "test").rglob("*.png"))
    assert visible == {
        CHECKPOINT.format("carpet"),
        CSV,
        "diagnostics/carpet_k2_diagnostics.json",
        "diagnostics/carpet_k2_diagnostics.png",
        *(f"imgs/carpet/{path.parent.name}_{path.name}" for path in tested),
    }
    for name in visible:
        if name.endswith(".png"):
            with Image.open(trained.folder / name) as picture:
                picture.verify()


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


def test_the_row_says_what_was_run(trained: Trained) -> None:
    row = only_row(trained.folder)
    expected = {"class": "carpet", "k": "2", "seed": "111", "select": "last", "n_pro": "3", "n_pro_ab": "6"}
    assert row.items() >= (expected | {"epochs": "2", "backbone": "tiny", "test_images": "8"}).items()
    assert all(0 <= float(row[metric]) <= 100 for metric in METRIC_TITLES)


def test_the_log_reads_as_the_contract_says(trained: Trained) -> None:
    lines = trained.outcome.output.splitlines()
    start = lines.index("Epoch 2/2:")
    assert lines[start + 1].startswith("  i_roc: ")
    assert lines[start + 2].startswith("  Normal proto usage: ")
    assert lines[start + 3].startswith("  Loss: ")
    assert f"checkpoint: {trained.folder / CHECKPOINT.format('carpet')}" in lines
    assert lines[-1].startswith("carpet: I-AUROC ")
    assert lines[-1].endswith(" % on 8 pictures")


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


# All classes of a data set, and again.


def test_train_all_goes_on_where_work_is_left(drawn: Path, tmp_path: Path) -> None:
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


def test_train_all_measures_again_where_the_row_is_lost(copied: Trained, drawn: Path) -> None:
    row = only_row(copied.folder)
    (copied.folder / CSV).unlink()
    command = ("train-all", "--dataset", "demo", "--data-root", drawn, "--root-dir", copied.results, *LIGHT)
    assert call(*command, *ONLY_CARPET).code == 0
    assert without_seconds(only_row(copied.folder)) == without_seconds(row)


def test_a_class_that_fails_does_not_stop_the_others(mvtec: Path, drawn: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn / "demo" / "grid", mvtec.parent / "grid")
    for picture in (mvtec / "train" / "good").iterdir():
        picture.write_bytes(b"no picture")
    results = tmp_path / "result"
    options = ("--dataset", "mvtec", "--data-root", mvtec.parent.parent, "--root-dir", results, *TINY, *LIGHTEST)
    outcome = call("train-all", *options)
    assert_refused(outcome, "1 of 2 classes failed", "carpet", "not a picture")
    assert only_row(results / "mvtec" / "k_2")["class"] == "grid"


@pytest.fixture(scope="session")
def killable() -> Callable[[list[str], Callable[[], bool]], None]:
    """Starts a command in a process of its own, imports done, and kills it as soon as a condition holds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["promptad.command_line"])

    def start_and_kill(arguments: list[str], is_time: Callable[[], bool]) -> None:
        process = context.Process(target=main, args=(arguments,))
        process.start()
        while process.is_alive() and not is_time():
            time.sleep(0.005)
        process.kill()
        process.join(timeout=60)
        assert not process.is_alive()

    return start_and_kill


def assert_readable(folder: Path) -> None:
    """Every file under one of the contract's names can be read, whenever its writer was killed."""
    for file in folder.rglob("[!.]*"):
        if file.suffix == ".pt":
            assert read_checkpoint(file)["class_name"] in CLASSES
        elif file.suffix == ".csv":
            with file.open(newline="") as lines:
                assert {row["class"] for row in csv.DictReader(lines)} <= set(CLASSES)
            read_results(file)
        elif file.suffix == ".json":
            assert json.loads(file.read_text())["verdicts"]
        elif file.suffix == ".png":
            with Image.open(file) as picture:
                picture.load()


def test_a_killed_run_leaves_nothing_unreadable_and_goes_on(
    drawn: Path, tmp_path: Path, killable: Callable[[list[str], Callable[[], bool]], None]
) -> None:
    folder = tmp_path / "demo" / "k_2"
    options = ("--dataset", "demo", "--data-root", drawn, "--classes", ",".join(CLASSES), "--root-dir", tmp_path)
    command = ["train-all", *map(str, options), *LIGHTEST[:-1], "True"]
    moments: list[Callable[[], bool]] = [
        lambda: any(folder.rglob("checkpoint/.*.pt")),  # in the middle of the first checkpoint
        lambda: any(folder.rglob("checkpoint/[!.]*.pt")),  # after it, with no row yet
        lambda: any(folder.rglob("diagnostics/*grid*.json")),  # late, in the second class
    ]
    for moment in moments:
        killable(command, moment)
        assert_readable(folder)
    outcome = call(*command)
    assert (outcome.code, outcome.errors) == (0, "")
    assert_readable(folder)
    assert [row["class"] for row in read_results(folder / CSV)] == list(CLASSES)


# Layouts of the data.


def test_a_plain_folder_with_good_alone_trains_and_says_why_nothing_is_measured(bracket: Path, tmp_path: Path) -> None:
    outcome = train_folder(bracket.parent, tmp_path / "result", "--class-name", "bracket")
    assert (outcome.code, outcome.errors) == (0, "")
    assert "no test split with good and defective pictures: nothing to measure on" in outcome.output
    folder = tmp_path / "result" / "folder" / "k_2"
    assert read_checkpoint(folder / CHECKPOINT.format("bracket"))["dataset"] == "folder"
    assert not (folder / CSV).exists()
    again = call(
        *("train-all", "--dataset", "folder", "--data-root", bracket, "--root-dir", tmp_path / "result"),
        *(*TINY, *LIGHTEST),
    )
    assert "bracket: finished before" in again.output


def test_a_plain_folder_of_one_class_takes_any_name_and_own_states(bracket: Path, tmp_path: Path) -> None:
    results = tmp_path / "result"
    states = ("--states", "with hole, with scratch", "--save-diagnostics", "True")
    outcome = train_folder(bracket, results, "--class-name", "metal bracket", *states)
    assert (outcome.code, outcome.errors) == (0, "")
    folder = results / "folder" / "k_2"
    checkpoint = read_checkpoint(folder / CHECKPOINT.format("metal bracket"))
    assert checkpoint["settings"]["prompts"]["states"] == ("with hole", "with scratch")
    diagnostics = json.loads((folder / "diagnostics" / "metal bracket_k2_diagnostics.json").read_text())
    assert diagnostics["total_images"] == 2 * 2  # views of support images


@pytest.mark.parametrize("has_masks", [True, False])
def test_a_plain_folder_is_measured_with_masks_or_without(
    bracket: Path, drawn: Path, tmp_path: Path, has_masks: bool
) -> None:
    for name in ("test", "ground_truth")[: 1 + has_masks]:
        shutil.copytree(drawn / "demo" / "carpet" / name, bracket / name)
    outcome = train_folder(bracket, tmp_path / "result", "--class-name", "carpet")
    assert (outcome.code, outcome.errors) == (0, "")
    row = only_row(tmp_path / "result" / "folder" / "k_2")
    assert row["test_images"] == "8"
    assert row["i_roc"] != ""
    assert bool(row["p_roc"]) == has_masks


@pytest.mark.parametrize("line", ["#2: 3 1", "003.png\n001.png", "# mine\ngood/003.png\n\ngood/001.png"])
def test_a_support_list_is_followed_in_its_order(bracket: Path, tmp_path: Path, line: str) -> None:
    (bracket / "list.txt").write_text(line)
    arguments = ("--class-name", "bracket", "--support-list", bracket / "list.txt")
    outcome = train_folder(bracket, tmp_path / "result", *arguments)
    assert (outcome.code, outcome.errors) == (0, "")
    checkpoint = read_checkpoint(tmp_path / "result" / "folder" / "k_2" / CHECKPOINT.format("bracket"))
    assert checkpoint["support_images"] == ["003.png", "001.png"]


def test_the_layout_of_mvtec_ad_trains(mvtec: Path, tmp_path: Path) -> None:
    outcome = train_mvtec(mvtec, tmp_path / "result")
    assert (outcome.code, outcome.errors) == (0, "")
    assert only_row(tmp_path / "result" / "mvtec" / "k_2")["test_images"] == "8"


def test_the_layout_of_visa_trains(drawn: Path, tmp_path: Path) -> None:
    carpet, visa = drawn / "demo" / "carpet", tmp_path / "visa"
    shutil.copytree(carpet, visa / "pcb1")
    lines = ["object,split,label,image,mask"]
    lines += [f"pcb1,train,normal,pcb1/train/good/{number:03}.png," for number in range(4)]
    lines += [f"pcb1,test,normal,pcb1/test/good/{number:03}.png," for number in range(4)]
    for file in sorted((visa / "pcb1" / "ground_truth").rglob("*.png")):
        defect = file.parent.name
        Image.fromarray((np.asarray(Image.open(file)) > 0).astype(np.uint8)).save(file)  # VisA counts kinds from 1
        picture = f"pcb1/test/{defect}/{file.stem.removesuffix('_mask')}.png"
        lines.append(f"pcb1,test,anomaly,{picture},pcb1/ground_truth/{defect}/{file.name}")
    (visa / "split_csv").mkdir()
    (visa / "split_csv" / "1cls.csv").write_text("\n".join(lines) + "\n")
    outcome = call(
        *("train", "--dataset", "visa", "--data-root", tmp_path, "--class-name", "pcb1"),
        *("--root-dir", tmp_path / "result", *TINY, *LIGHTEST),
    )
    assert (outcome.code, outcome.errors) == (0, "")
    row = only_row(tmp_path / "result" / "visa" / "k_2")
    assert row["test_images"] == "8"
    assert float(row["p_roc"]) > 50


def test_pictures_of_every_kind_are_read(mvtec: Path, tmp_path: Path) -> None:
    for folder in (mvtec / "train" / "good", mvtec / "test" / "good"):
        deep, grey, clear, printed = sorted(folder.iterdir())
        levels = np.asarray(Image.open(deep).convert("L")).astype(np.uint16) * 257
        Image.fromarray(levels).save(deep)
        Image.open(grey).convert("L").save(grey)
        Image.open(clear).convert("RGBA").save(clear)
        Image.open(printed).convert("CMYK").save(printed.with_suffix(".jpg"))
        printed.unlink()
        assert Image.open(deep).mode == "I;16"
    outcome = train_mvtec(mvtec, tmp_path / "result", "--k-shot", "4")
    assert (outcome.code, outcome.errors) == (0, "")
    assert only_row(tmp_path / "result" / "mvtec" / "k_4")["test_images"] == "8"


# What a user gets wrong.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("--class-name", "carpett"), ("did you mean carpet",), id="class"),
        pytest.param(("--dataset", "mvtecc"), ("did you mean mvtec",), id="data set"),
        pytest.param(("--dataset", "mvtec", "--data-root", "nowhere"), ("unpack it there", "nowhere"), id="no MVTec"),
        pytest.param(("--dataset", "visa", "--data-root", "nowhere"), ("unpack it there", "nowhere"), id="no VisA"),
        pytest.param(("--dataset", "folder", "--data-root", "nowhere"), ("no folder at nowhere",), id="no folder"),
        pytest.param(("--k-shot", "9"), ("needs 9 normal pictures, found 4", "lower k"), id="few pictures"),
        pytest.param(("--k-shot", "0"), ("--k-shot 0", "at least 1"), id="k 0"),
        pytest.param(("--k-shot", "abc"), ("--k-shot", "'abc'"), id="k abc"),
        pytest.param(("--n_pro", "0"), ("--n_pro 0", "at least 1"), id="n_pro"),
        pytest.param(("--n_pro_ab", "-1"), ("--n_pro_ab -1", "at least 1"), id="n_pro_ab"),
        pytest.param(("--n_ctx", "99"), ("exceed CLIP's 77", "lower --n_ctx"), id="n_ctx"),
        pytest.param(("--resolution", "0"), ("--resolution 0", "at least 2"), id="resolution"),
        pytest.param(("--Epoch", "-1"), ("--Epoch -1", "at least 0"), id="epochs"),
        pytest.param(("--lr", "-0.1"), ("--lr -0.1", "at least 0"), id="lr"),
        pytest.param(("--lr", "nan"), ("--lr nan",), id="lr nan"),
        pytest.param(("--momentum", "1"), ("--momentum 1.0", "below 1"), id="momentum"),
        pytest.param(("--batch-size", "0"), ("--batch-size 0", "at least 1"), id="batch size"),
        pytest.param(("--start", "middle"), ("--start middle", "words, random"), id="start"),
        pytest.param(("--calibration", "all"), ("--calibration all", "position, prototype, none"), id="calibration"),
        pytest.param(("--states", "with hole,"), ("a state is empty",), id="states"),
        pytest.param(("--backbone", "ViT-B-61"), ("unknown backbone 'ViT-B-61'", "ViT-B-16"), id="backbone"),
        pytest.param(("--backbone", "RN50"), ("no plain-ViT CLIP",), id="no ViT"),
        pytest.param(
            ("--backbone", "ViT-B-32", "--pretrained-dataset", "mine"), ("no file, and no tag", "its tags"), id="tag"
        ),
        pytest.param(("--img-resize", "100"), ("multiple of 8", "96 or 104"), id="picture size"),
        pytest.param(("--n_prop", "3"), ("unknown option '--n-prop'", "did you mean --n-pro?"), id="near option"),
        pytest.param(("--quux", "3"), ("unknown option '--quux'", "promptad train --help"), id="option"),
        pytest.param(("--vis", "perhaps"), ("--vis", "'perhaps'"), id="truth"),
        pytest.param(("--support-list", "none.txt"), ("no support list at none.txt",), id="support list"),
        pytest.param(("--lr", "inf"), ("--lr inf",), id="lr inf"),
        pytest.param(("--lr", "1e30"), ("--lr",), id="lr huge"),
        pytest.param(("--weight-margin", "inf"), ("--weight-margin inf",), id="weight inf"),
        pytest.param(("--sigma", "inf"), ("--sigma inf",), id="sigma inf"),
        pytest.param(("--resolution", "1"), ("--resolution 1",), id="resolution 1"),
        pytest.param(("--start", "random", "--seed", str(2**70)), ("--seed",), id="seed"),
        pytest.param(("--gpu-id", "-1"), ("--gpu-id -1",), id="GPU -1"),
        pytest.param(("--data-root", __file__), ("test_command_line.py",), id="data root"),
    ],
)
def test_a_wrong_argument_is_refused_and_results_stay(
    copied: Trained, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = contents(copied.results)
    assert_refused(call("train", *copied.arguments, *LIGHT, *arguments), *words)
    assert contents(copied.results) == before


def test_a_missing_class_name_is_asked_for(drawn: Path) -> None:
    assert_refused(call("train", "--dataset", "demo", "--data-root", drawn), "--class-name is missing")


def test_a_wrong_demo_class_is_named_before_any_is_drawn(tmp_path: Path) -> None:
    outcome = call("train", "--dataset", "demo", "--data-root", tmp_path, "--class-name", "carpett")
    assert_refused(outcome, "did you mean carpet")


def test_demo_data_cannot_be_drawn_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert_refused(call("demo-data", "--output", tmp_path / "file", "--classes", "carpet"), "cannot write to")


@pytest.mark.parametrize("name", ["", "a/b", "../../escaped"])
def test_a_name_that_is_no_file_name_is_refused(bracket: Path, tmp_path: Path, name: str) -> None:
    assert_refused(train_folder(bracket, tmp_path / "result", "--class-name", name), "--class-name")


def test_brackets_in_a_name_are_printed_as_they_are(bracket: Path, tmp_path: Path) -> None:
    results = tmp_path / "result[/x]"
    outcome = train_folder(bracket, results, "--class-name", "part [b]", "--save-diagnostics", "True")
    assert outcome.code == 0
    assert f"checkpoint: {results / 'folder' / 'k_2' / CHECKPOINT.format('part [b]')}" in outcome.output
    assert "Prototypes of part [b]" in outcome.output


def test_a_detector_without_numbers_is_not_saved(bracket: Path, tmp_path: Path) -> None:
    outcome = train_folder(bracket, tmp_path / "result", "--class-name", "bracket", "--lr", "1e30")
    assert_refused(outcome, "--lr")
    assert not any(tmp_path.rglob("*.pt"))


def test_a_file_that_cannot_be_finished_is_said_and_results_stay(copied: Trained) -> None:
    before, limits = contents(copied.results), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        outcome = call("train", *copied.arguments, *LIGHTEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_refused(outcome, "cannot write to", "File too large")
    assert contents(copied.results) == before


def test_an_interrupted_command_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: dict[str, Any], __: Console) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(RUNNERS, "train", interrupt)
    try:
        outcome = call("train")
    except KeyboardInterrupt:
        pytest.fail("a traceback")
    assert outcome.code == 130
    assert outcome.errors.count("\n") == 1


@pytest.mark.parametrize(("arguments", "word"), [((), "COMMAND"), (("trian",), "'train'")])
def test_a_wrong_command_is_refused(arguments: tuple[str, ...], word: str) -> None:
    assert_refused(call(*arguments), word)


@pytest.mark.parametrize("command", ["train", "train-all", "test"])
def test_a_result_folder_beneath_a_file_is_refused(trained: Trained, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("mine")
    of_class = ("--checkpoint", trained.folder / CHECKPOINT.format("carpet")) if command == "test" else ()
    arguments = (*trained.arguments, *of_class) if command != "train-all" else (*trained.arguments[:4], *ONLY_CARPET)
    outcome = call(command, *arguments, "--root-dir", tmp_path / "file" / "result", *LIGHT)
    assert_refused(outcome, "cannot write to", "--root-dir")
    assert (tmp_path / "file").read_text() == "mine"


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def shrink(file: Path) -> None:
    Image.open(file).resize((50, 50)).save(file)


def blacken(file: Path) -> None:
    Image.new("L", Image.open(file).size).save(file)


@pytest.mark.parametrize(
    ("folder", "spoil", "words"),
    [
        ("train/good", Path.unlink, ("no pictures in", "put normal pictures of carpet there")),
        ("train/good", shorten, ("corrupt picture", "train/good", "ends early")),
        ("train/good", empty, ("empty picture", "train/good", "no bytes")),
        ("test/good", shorten, ("corrupt picture", "test/good", "ends early")),
        ("test/thread", empty, ("empty picture", "test/thread", "no bytes")),
        ("ground_truth/thread", shorten, ("corrupt picture", "_mask.png")),
        ("ground_truth/thread", shrink, ("50 x 50 pixels", "256 x 256", "_mask.png")),
        ("ground_truth/thread", Path.unlink, ("no mask for", "put it at")),
        pytest.param("ground_truth", blacken, ("_mask.png", "black")),
    ],
)
def test_a_bad_picture_is_named_and_results_stay(
    trained: Trained,
    mvtec: Path,
    tmp_path: Path,
    folder: str,
    spoil: Callable[[Path], None],
    words: tuple[str, ...],
) -> None:
    results = tmp_path / "result"
    shutil.copytree(trained.results / "demo", results / "mvtec")
    before = contents(results)
    for file in (mvtec / folder).rglob("*.png"):
        spoil(file)
    assert_refused(train_mvtec(mvtec, results), *words)
    assert contents(results) == before


# Checkpoints that cannot be tested.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", "5"), ("no checkpoint", "CLS-Seed_5-carpet", "train the class first")),
        (("--checkpoint", "none.pt"), ("no checkpoint none.pt",)),
        (("--n_pro", "4"), ("--n-pro 4", "was trained with 3")),
        (("--backbone", "ViT-B-32"), ("--backbone ViT-B-32", "was trained with tiny")),
        (("--Epoch", "3"), ("--Epoch 3", "was trained with 2")),
    ],
)
def test_another_detector_than_the_checkpoint_is_refused(
    copied: Trained, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = contents(copied.results)
    assert_refused(call("test", *copied.arguments, *arguments), *words)
    assert contents(copied.results) == before


def ancestor(file: Path) -> None:
    galleries = {"feature_gallery1": torch.zeros(4, 128), "feature_gallery2": torch.zeros(4, 128)}
    torch.save({"text_features": torch.zeros(2, 128), **galleries}, file)


def newer(file: Path) -> None:
    torch.save(read_checkpoint(file) | {"format_version": 99}, file)


def other_weights(file: Path) -> None:
    torch.save(read_checkpoint(file) | {"weights_sha256": "0" * 64}, file)


def foreign(file: Path) -> None:
    torch.save({"state_dict": torch.zeros(3)}, file)


def pickled(file: Path) -> None:
    file.write_bytes(pickle.dumps({"a": 1}, protocol=2))


def pickled_lately(file: Path) -> None:
    file.write_bytes(pickle.dumps({"a": 1}))


def text(file: Path) -> None:
    file.write_text(".hello\n")  # the unpickler stops at a full stop


def flip_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    place = data.index(read_checkpoint(file)["abnormal_prototypes"].numpy().tobytes()) + 1000
    data[place] ^= 0xFF
    file.write_bytes(data)


def incomplete(file: Path) -> None:
    checkpoint = read_checkpoint(file)
    del checkpoint["centre"]
    torch.save(checkpoint, file)


def strange_settings(file: Path) -> None:
    checkpoint = read_checkpoint(file)
    checkpoint["settings"]["prompts"]["colour"] = 1
    torch.save(checkpoint, file)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shorten, ("truncated or no checkpoint", "train the class again")),
        (empty, ("truncated or no checkpoint", "train the class again")),
        (pickled, ("no checkpoint", "train the class again")),
        (foreign, ("no checkpoint of promptad", "train the class again")),
        (ancestor, ("single-anchor PromptAD", "feature_gallery1", "train again: promptad train")),
        (newer, ("format version 99", "install a newer promptad")),
        (other_weights, ("trained on other weights of tiny", "train again")),
        pytest.param(pickled_lately, ("no checkpoint", "train the class again")),
        pytest.param(text, ("no checkpoint", "train the class again")),
        pytest.param(flip_a_byte, ("no checkpoint", "train the class again")),
        pytest.param(incomplete, ("train the class again",)),
        pytest.param(strange_settings, ("train the class again",)),
    ],
)
def test_a_checkpoint_that_is_not_one_is_refused(
    copied: Trained, spoil: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    spoil(copied.folder / CHECKPOINT.format("carpet"))
    before = contents(copied.results)
    assert_refused(call("test", *copied.arguments), *words)
    assert contents(copied.results) == before


@pytest.mark.parametrize("spoil", [shorten, pickled, foreign, ancestor, newer, pytest.param(text)])
def test_train_all_replaces_a_checkpoint_that_is_not_one(
    copied: Trained, drawn: Path, spoil: Callable[[Path], None]
) -> None:
    checkpoint, row = copied.folder / CHECKPOINT.format("carpet"), only_row(copied.folder)
    spoil(checkpoint)
    command = ("train-all", "--dataset", "demo", "--data-root", drawn, "--root-dir", copied.results, *LIGHT)
    assert call(*command, "--save-diagnostics", "False", *ONLY_CARPET).code == 0
    assert read_checkpoint(checkpoint)["class_name"] == "carpet"
    assert without_seconds(only_row(copied.folder)) == without_seconds(row)


def test_a_checkpoint_of_another_class_is_refused(copied: Trained) -> None:
    checkpoint = copied.folder / CHECKPOINT.format("carpet")
    before = contents(copied.results)
    outcome = call("test", *copied.arguments, "--class-name", "grid", "--checkpoint", checkpoint)
    assert_refused(outcome, "carpet", "grid")
    assert contents(copied.results) == before


def test_train_all_sees_that_a_support_image_was_replaced(mvtec: Path, tmp_path: Path) -> None:
    results = tmp_path / "result"
    options = ("--dataset", "mvtec", "--data-root", mvtec.parent.parent, "--root-dir", results, *TINY, *LIGHTEST)
    assert call("train-all", *options).code == 0
    for picture in (mvtec / "train" / "good").iterdir():
        shutil.copy(mvtec / "test" / "good" / picture.name, picture)
    assert "finished before" not in call("train-all", *options).output


# The machine.


def test_a_missing_gpu_is_said_in_one_line(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome = call("train", *trained.arguments, "--root-dir", tmp_path, *LIGHTEST, "--gpu-id", "0")
    assert (outcome.code, outcome.errors) == (0, "")
    assert [line for line in outcome.output.splitlines() if "CUDA" in line] == [
        "--gpu-id 0: no CUDA device here, running on the CPU"
    ]
    asked_for_none = call("train", *trained.arguments, "--root-dir", tmp_path, *LIGHTEST, "--use-cpu", "True")
    assert "CUDA" not in asked_for_none.output


def test_a_full_gpu_gets_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out_of_memory(_: dict[str, Any], __: Console) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB\nand so on")

    monkeypatch.setitem(RUNNERS, "train", run_out_of_memory)
    assert_refused(call("train"), "the GPU is out of memory", "lower --batch-size or --resolution", "--use-cpu")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_meaning_and_default_of_each_option(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # so that no line is broken at a hyphen
    output = StringIO()
    with redirect_stdout(output), pytest.raises(SystemExit, match=r"^0$"):
        main([command, "--help"])
    told = " ".join(output.getvalue().split())
    for option in COMMANDS[command][1]:
        line = rf"{option.flag} \[?{option.name.upper()}\]? {re.escape(option.help)}(?P<default> \(default: [^()]+\))?"
        match = re.search(line, told)
        assert match, option.flag
        has_default = option.default is not None or option.setting not in ("", "prompts.states")
        assert bool(match["default"]) == (has_default and "(default" not in option.help), option.flag
