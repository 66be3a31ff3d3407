"""Invalid input: the command line refuses it in one line, and results stay."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    CHECKPOINT,
    LIGHT,
    LIGHTEST,
    ONLY_CARPET,
    Trained,
    assert_refused,
    call,
    contents,
    empty,
    only_row,
    refusal,
    shorten,
    train_folder,
    train_mvtec,
)
from PIL import Image
from rich.console import Console

from promptad.cli.commands import RUNNERS
from promptad.engine import runs
from promptad.estimator import PromptAD

POSIX = pytest.mark.skipif(os.name != "posix", reason="the system has no such limit or device")


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
        pytest.param(("--epochs", "-1"), ("--epochs -1", "at least 0"), id="epochs"),
        pytest.param(("--lr", "-0.1"), ("--lr -0.1", "at least 0"), id="lr"),
        pytest.param(("--lr", "nan"), ("--lr nan",), id="lr nan"),
        pytest.param(("--momentum", "1"), ("--momentum 1.0", "below 1"), id="momentum"),
        pytest.param(("--batch-size", "0"), ("--batch-size 0", "at least 1"), id="batch size"),
        pytest.param(("--start", "middle"), ("--start middle", "words, random"), id="start"),
        pytest.param(("--calibration", "all"), ("--calibration all", "position, prototype, none"), id="calibration"),
        pytest.param(("--states", "with hole,"), ("a state is empty",), id="states"),
        pytest.param(("--backbone", "ViT-B-61"), ("unknown --backbone 'ViT-B-61'", "ViT-B-16"), id="backbone"),
        pytest.param(("--backbone", "RN50"), ("a ResNet, no ViT", "use one such as"), id="no ViT"),
        pytest.param(
            ("--backbone", "ViT-B-32", "--pretrained-dataset", "mine"), ("no file, and no tag", "its tags"), id="tag"
        ),
        pytest.param(("--img-resize", "100"), ("multiple of 8", "96 or 104"), id="picture size"),
        pytest.param(("--n_prop", "3"), ("unknown option '--n-prop'", "did you mean --n_pro?"), id="near option"),
        pytest.param(("--quux", "3"), ("unknown option '--quux'", "promptad train --help"), id="option"),
        pytest.param(("--vis", "perhaps"), ("--vis", "'perhaps'"), id="truth"),
        pytest.param(("--support-list", "none.txt"), ("no support list at none.txt",), id="support list"),
        pytest.param(("--states", "a\0b"), ("'a\\x00b' holds a zero byte",), id="zero byte"),
        pytest.param(("--lr", "inf"), ("--lr inf",), id="lr inf"),
        pytest.param(("--lr", "1e30"), ("--lr",), id="lr huge"),
        pytest.param(("--weight-margin", "inf"), ("--weight-margin inf",), id="weight inf"),
        pytest.param(("--sigma", "inf"), ("--sigma inf",), id="sigma inf"),
        pytest.param(("--resolution", "1"), ("--resolution 1",), id="resolution 1"),
        pytest.param(("--start", "random", "--seed", str(2**70)), ("--seed",), id="seed"),
        pytest.param(("--gpu-id", "-1"), ("--gpu-id -1",), id="GPU -1"),
        pytest.param(("--data-root", __file__), ("test_bad_input.py",), id="data root"),
    ],
)
def test_a_wrong_argument_is_refused_and_results_stay(
    copied: Trained, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = contents(copied.results)
    assert_refused(call("train", *copied.arguments, *LIGHT, *arguments), *words)
    assert contents(copied.results) == before


def test_a_missing_class_name_is_refused(drawn: Path) -> None:
    assert_refused(call("train", "--dataset", "demo", "--data-root", drawn), "--class-name is missing")


def test_a_wrong_demo_class_is_named_before_any_is_drawn(tmp_path: Path) -> None:
    outcome = call("train", "--dataset", "demo", "--data-root", tmp_path, "--class-name", "carpett")
    assert_refused(outcome, "did you mean carpet")


def test_demo_data_cannot_be_drawn_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert_refused(call("demo-data", "--output", tmp_path / "file", "--classes", "carpet"), "cannot write to")


@pytest.mark.parametrize("name", ["", "a/b", "../../escaped"])
def test_a_name_that_cannot_be_a_file_name_is_refused(bracket: Path, tmp_path: Path, name: str) -> None:
    assert_refused(train_folder(bracket, tmp_path / "result", "--class-name", name), "--class-name")


def test_brackets_in_a_name_are_printed_as_they_are(bracket: Path, tmp_path: Path) -> None:
    results = tmp_path / "result[/x]"
    outcome = train_folder(bracket, results, "--class-name", "part [b]", "--save-diagnostics", "True")
    assert outcome.code == 0
    assert f"checkpoint: {results / 'folder' / 'k_2' / CHECKPOINT.format('part [b]')}" in outcome.output
    assert "Prototypes of part [b]" in outcome.output


def test_a_detector_that_diverged_is_not_saved(bracket: Path, tmp_path: Path) -> None:
    outcome = train_folder(bracket, tmp_path / "result", "--class-name", "bracket", "--lr", "1e30")
    assert_refused(outcome, "--lr")
    assert not any(tmp_path.rglob("*.pt"))


@POSIX
def test_a_file_that_cannot_be_finished_is_refused_and_results_stay(copied: Trained) -> None:
    import resource  # noqa: PLC0415 not every system has it

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
        outcome = call("train", "--dataset", "demo", "--class-name", "carpet")
    except KeyboardInterrupt:
        pytest.fail("a traceback")
    assert outcome.code == 130
    assert outcome.errors.count("\n") == 1


@pytest.mark.parametrize(("arguments", "word"), [((), "COMMAND"), (("trian",), "did you mean train?")])
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
def test_a_bad_image_is_named_and_results_stay(
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


def test_one_black_mask_is_left_out_where_pixels_are_measured(mvtec: Path, tmp_path: Path) -> None:
    mask = mvtec / "ground_truth" / "thread" / "000_mask.png"
    image = mvtec / "test" / "thread" / "000.png"
    blacken(mask)
    outcome = train_mvtec(mvtec, tmp_path / "black")
    assert (outcome.code, outcome.errors) == (0, "")
    assert f"1 left out where pixels are measured, as their masks are all black: {image}" in outcome.output
    black = only_row(tmp_path / "black" / "mvtec" / "k_2")
    image.unlink()
    assert train_mvtec(mvtec, tmp_path / "gone").code == 0
    gone = only_row(tmp_path / "gone" / "mvtec" / "k_2")
    assert (black["p_roc"], black["p_pro"]) == (gone["p_roc"], gone["p_pro"])
    assert (black["test_images"], gone["test_images"]) == ("8", "7")


def test_python_names_the_setting_and_the_shell_its_flag() -> None:
    assert refusal(PromptAD, "carpet", n_pro=0) == "`n_pro` 0: must be a whole number of at least 1"
    outcome = call("train", "--class-name", "carpet", "--n_pro", "0")
    assert_refused(outcome, "promptad: --n_pro 0: must be a whole number of at least 1")


def test_a_misspelt_folder_of_good_images_is_named_before_any_work(tmp_path: Path) -> None:
    outcome = call("train", "--good", tmp_path / "god", "--name", "nut", "--root-dir", tmp_path / "result")
    assert_refused(outcome, "--good", "god: there is no such file or folder")
    assert list(tmp_path.iterdir()) == []


def test_advice_in_the_diagnostics_names_flags(drawn: Path, tmp_path: Path) -> None:
    options = ("--dataset", "demo", "--data-root", drawn, "--class-name", "carpet", "--root-dir", tmp_path)
    alike = ("--states", "broken,damaged", "--n_pro", "1", "--n_pro_ab", "2", "--Epoch", "1", "--views", "2")
    assert call("train", *options, *alike, "--resolution", "32").code == 0
    file = tmp_path / "demo" / "k_2" / "diagnostics" / "carpet_k2_diagnostics.json"
    advice = " ".join(verdict["advice"] for verdict in json.loads(file.read_text())["verdicts"])
    assert "(--n_pro_ab)" in advice
    assert "`" not in advice


def test_a_range_of_seeds_has_a_bound() -> None:
    assert_refused(call("train", "--class-name", "carpet", "--seeds", "0-999999999"), "--seeds", "0-999999999")


@pytest.mark.parametrize("name", ["..", ".", "../outside", "a/b", "/etc", "a\\b", "metal:bracket", "CON"])
def test_no_class_name_leads_out_of_the_result_folder(name: str, drawn: Path, tmp_path: Path) -> None:
    results, good = tmp_path / "result", drawn / "demo" / "carpet" / "train" / "good"
    shutil.copytree(good, tmp_path / "part" / "good")
    where = ("--dataset", "folder", "--data-root", tmp_path / "part", "--root-dir", results)
    before = contents(tmp_path)
    for command, setting in (
        (("train", "--good", good, "--root-dir", results, f"--name={name}"), "--name"),
        (("train", *where, f"--class-name={name}"), "--class-name"),
        (("train-all", *where, f"--classes={name},x"), "--classes"),
    ):
        assert_refused(call(*command), setting, "give a plain name")
    assert contents(tmp_path) == before


def test_no_name_of_a_visa_table_leads_out_of_the_result_folder(tmp_path: Path) -> None:
    folder = tmp_path / "visa"
    (folder / "split_csv").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    table = "object,split,label,image,mask\n../../x,train,normal,a.png,\n"
    (folder / "split_csv" / "1cls.csv").write_text(table)
    outcome = call("train-all", "--dataset", "visa", "--data-root", tmp_path, "--root-dir", tmp_path / "result")
    assert_refused(outcome, "'../../x'", "give a plain name")


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "parts/x"), OSError(36, "File name too long", "parts/x")]
)
def test_what_the_operating_system_refuses_is_one_line(
    error: OSError, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setitem(RUNNERS, "compare", refuse)
    reason = str(error.strerror).lower()
    assert_refused(call("compare"), f"parts/x: {reason}; check the path and its rights")

    plain = runs.train_class
    monkeypatch.setattr(
        runs, "train_class", lambda job, run: refuse() if job.class_name == "carpet" else plain(job, run)
    )
    arguments = ("--dataset", "demo", "--data-root", drawn, "--root-dir", tmp_path / "result", *LIGHTEST)
    outcome = call("train-all", *arguments, "--classes", "carpet,grid")
    assert_refused(outcome, f"1 of 2 classes failed; carpet: parts/x: {reason}")
    assert (tmp_path / "result" / "demo" / "k_2" / CHECKPOINT.format("grid")).is_file()


@pytest.mark.parametrize("name", ["x" * 300, "loop"])
def test_a_path_that_cannot_be_is_one_line_wherever_it_is_given(
    name: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    checkpoint = trained.folder / CHECKPOINT.format("carpet")
    for arguments in (
        ("train", *trained.arguments, "--support-list", name),
        ("train", *trained.arguments, "--data-root", name),
        ("train", *trained.arguments, "--root-dir", name),
        ("train", *trained.arguments, "--backbone", "ViT-B-32", "--pretrained-dataset", name),
        ("train", "--good", name, "--name", "part"),
        ("test", *trained.arguments, "--checkpoint", name),
        ("predict", name, tmp_path),
        ("predict", checkpoint, name),
        ("compare", "--dataset", "demo", "--root-dir", name),
        ("report", "--dataset", "demo", "--root-dir", name),
        ("report", "--predictions", name),
        ("demo-data", "--classes", "carpet", "--output", name),
    ):
        outcome = call(*arguments)
        assert outcome.code == 2, (arguments, outcome)
        assert outcome.errors.count("\n") == 1, (arguments, outcome)


def test_a_reader_that_closes_early_does_not_stop_the_work(trained: Trained, tmp_path: Path) -> None:
    checkpoint, images = trained.folder / CHECKPOINT.format("carpet"), trained.arguments[3]
    command = [sys.executable, "-m", "promptad", "predict", checkpoint, images, "--output", tmp_path / "p"]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert (tmp_path / "p" / "predictions.jsonl").is_file()


@POSIX
def test_a_full_disk_behind_the_output_is_one_line(trained: Trained, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "promptad", "report", "--dataset", "demo", "--root-dir", trained.results]
    command += ["--output", tmp_path / "page.html"]
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # output is held back
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(list(map(str, command)), stdout=full, stderr=subprocess.PIPE, env=usual, check=False)
    assert done.returncode == 2
    assert done.stderr == b"promptad: the output: no space left on device; check the path and its rights\n"
