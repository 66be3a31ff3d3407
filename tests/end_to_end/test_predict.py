"""A user's own part: trained on good images only, then used to predict others."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from helpers import LIGHT, LIGHTEST, TINY, Own, Trained, assert_refused, call, contents, read_lines
from matplotlib.figure import Figure
from PIL import Image

from promptad import PromptAD
from promptad.data.images import read_image
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.runtime import judge
from promptad.runtime import predict as runtime_predict
from promptad.runtime.predict import predict
from promptad.runtime.predictions import LOCK, ONE_IMAGE

pytestmark = pytest.mark.slow


def test_the_part_has_a_folder_of_its_own(own: Own) -> None:
    assert contents(own.part).keys() == {"detector.pt", "diagnostics.json", "diagnostics.png"}


def test_each_image_has_a_line_and_an_unreadable_one_does_not_stop_the_others(own: Own, tmp_path: Path) -> None:
    lines = own.lines(tmp_path)
    assert [line["path"] for line in lines] == [str(path) for path in sorted(own.new.iterdir())]
    for line in lines:
        if line["path"].endswith("broken.png"):
            assert set(line) == {"path", "error"}
            assert "not a picture" in line["error"]
            continue
        assert (line["decision"] == "anomaly") == (line["raw"] > line["threshold"]) == (line["score"] > 0.5)
        assert len(line["explanation"]["most_like"]) == 2
        size = read_image(line["path"]).size
        for region in line["regions"]:
            assert 0 <= region["left"] <= region["x"] < region["right"] <= size[0]
            assert 0 <= region["top"] <= region["y"] < region["bottom"] <= size[1]
            assert region["peak"] > 0.5


def test_batches_of_any_size_give_the_same_lines(own: Own, tmp_path: Path) -> None:
    complete, small = own.lines(tmp_path / "whole"), own.lines(tmp_path / "small", "--batch-size", "2")
    assert [line["path"] for line in complete] == [line["path"] for line in small]
    for one, other in zip(complete, small, strict=True):
        assert one.get("raw") == pytest.approx(other.get("raw"), abs=1e-3)


def test_beside_a_gpu_the_next_pictures_are_read_while_it_computes(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [path for path in sorted(own.new.iterdir()) if path.name != "broken.png"][:4]
    begun = {str(path): threading.Event() for path in pictures}
    seen: list[bool] = []

    def read(path: str | Path, bit_depth: int | None) -> Image.Image:
        begun[str(path)].set()
        return read_image(path, bit_depth)

    def run(self: MultiPrototypeDetector, squares: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(seen != [] or all(begun[str(path)].wait(10) for path in pictures[2:]))
        return computed(self, squares)

    computed, usual = MultiPrototypeDetector.run, own.lines(tmp_path / "usual", "--batch-size", "2")
    monkeypatch.setattr(runtime_predict, "read_image", read)
    monkeypatch.setattr(MultiPrototypeDetector, "run", run)
    monkeypatch.setattr(MultiPrototypeDetector, "on_gpu", True)
    outcome = call("predict", own.part, *pictures, "--output", tmp_path / "beside", "--batch-size", "2")
    assert (outcome.code, seen) == (0, [True, True])
    by_path = {line["path"]: line for line in usual}
    assert read_lines(tmp_path / "beside") == [by_path[str(path)] for path in pictures]


def test_the_rate_moves_the_threshold_and_nothing_else(own: Own, tmp_path: Path) -> None:
    strict, lax = (own.lines(tmp_path / rate, "--false-alarm-rate", rate) for rate in ("0.001", "0.3"))
    usual = own.lines(tmp_path / "usual")
    for low, middle, high in zip(lax, usual, strict, strict=True):
        if "error" not in low:
            assert low["threshold"] < middle["threshold"] < high["threshold"]
            assert low["raw"] == middle["raw"] == high["raw"]


def test_a_rate_at_training_is_kept(own: Own, tmp_path: Path) -> None:
    learn = ("train", "--good", own.good, "--name", "my carpet", "--root-dir", tmp_path, *TINY, *LIGHT)
    assert call(*learn, "--false-alarm-rate", "0.3").code == 0
    again = Own(own.good, tmp_path / "my_carpet", own.new).lines(tmp_path / "again")
    lax = own.lines(tmp_path / "lax", "--false-alarm-rate", "0.3")
    # Of two trainings, whose last bits differ on a busy machine.
    assert again[-1]["threshold"] == pytest.approx(lax[-1]["threshold"], rel=1e-4)


def test_the_exit_code_reports_rejected_and_unreadable_images(own: Own, tmp_path: Path) -> None:
    good = sorted(own.good.iterdir())[0]
    fail = ("--output", tmp_path, "--fail-on-anomaly")
    assert call("predict", own.part / "detector.pt", good, *fail, "--false-alarm-rate", "1e-9").code == 0
    assert call("predict", own.part, good, *fail, "--false-alarm-rate", "0.999999999").code == 3
    assert call("predict", own.part, good, own.new / "broken.png", *fail, "--false-alarm-rate", "1e-9").code == 3
    assert call("predict", own.part, good, own.new / "broken.png", "--output", tmp_path).code == 0
    assert call("predict", own.part, own.new / "broken.png", "--output", tmp_path).code == 2


def test_overlays_are_drawn_and_not_predicted_the_next_time(own: Own, tmp_path: Path) -> None:
    new = shutil.copytree(own.new, tmp_path / "new")
    for _ in range(2):
        assert call("predict", own.part, new, "--output", new / "judged", "--overlays").code == 0
        lines = read_lines(new / "judged")
        assert len(lines) == len(list(own.new.iterdir()))
        assert all(Path(line["overlay"]).is_file() for line in lines if "error" not in line)


def test_files_and_patterns_are_accepted_too(own: Own, tmp_path: Path) -> None:
    files = sorted(own.good.iterdir())
    together = ",".join(map(str, files[:2]))
    learn = ("train", "--name", "c", "--root-dir", tmp_path, *TINY, *LIGHTEST)
    outcome = call(*learn, "--good", together, "--good", files[2], "--k-shot", "2")
    assert outcome.code == 0, outcome.errors
    assert "learning from 2 of 3 pictures" in outcome.output
    assert call("predict", tmp_path / "c", own.good / "*.png", "--output", tmp_path / "out").code == 0
    assert len(read_lines(tmp_path / "out")) == 3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--name", "a/b"), ("--name 'a/b'", "plain name")),
        ((), ("--name is missing",)),
        (("--name", "c", "--class-name", "d"), ("--class-name d", "--good")),
        (("--name", "c", "--seeds", "0-2"), ("--seeds", "leave it out")),
        (("--name", "c", "--dataset", "demo"), ("--dataset demo", "leave it out")),
        (("--name", "c", "--k-shot", "5"), ("--k-shot 5", "found 3")),
        (("--name", "c", "--false-alarm-rate", "1"), ("--false-alarm-rate 1:", "between 0 and 1")),
    ],
)
def test_options_that_do_not_go_with_good_are_refused(
    own: Own, tmp_path: Path, more: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_refused(call("train", "--good", own.good, "--root-dir", tmp_path, *TINY, *LIGHT, *more), *words)
    assert contents(tmp_path) == {}


def test_a_name_without_good_is_refused() -> None:
    assert_refused(call("train", "--name", "c"), "--good")


def test_predict_refuses_wrong_input_with_the_reason(own: Own, tmp_path: Path) -> None:
    to = ("--output", tmp_path / "out")
    assert_refused(call("predict", tmp_path, own.new, *to), "no checkpoint")
    (tmp_path / "empty").mkdir()
    assert_refused(call("predict", own.part, tmp_path / "empty", *to), "no pictures in")
    assert_refused(call("predict", own.part, own.new, *to, "--false-alarm-rate", "2"), "between 0 and 1")
    assert_refused(call("predict", own.part, own.new, *to, "--batch-size", "0"), "--batch-size 0")
    assert not (tmp_path / "out").exists()


def test_the_baseline_is_refused_by_predict_and_has_scores_alone(own: Own, tmp_path: Path) -> None:
    learn = ("train", "--good", own.good, "--name", "c", "--root-dir", tmp_path, *TINY, "--system", "single-anchor")
    assert call(*learn, "--Epoch", "1", "--resolution", "32").code == 0
    for command in (("predict", tmp_path / "c", own.new, "--output", tmp_path), ("threshold", tmp_path / "c")):
        assert_refused(call(*command), "single-anchor baseline", "decides nothing")
    prediction = PromptAD.load(tmp_path / "c" / "detector.pt", system="single-anchor").predict(
        sorted(own.good.iterdir())
    )
    assert prediction.threshold is None
    assert (prediction.raw_score == prediction.score).all()
    assert isinstance(prediction.plot(0), Figure)
    with pytest.raises(ValueError, match="decides nothing"):
        _ = prediction.label


def test_a_checkpoint_of_an_older_format_is_refused(own: Own, tmp_path: Path) -> None:
    content = torch.load(own.part / "detector.pt", weights_only=True)
    torch.save(content | {"format_version": 1}, tmp_path / "old.pt")
    assert_refused(
        call("predict", tmp_path / "old.pt", own.new, "--output", tmp_path), "older", "train the class again"
    )


def test_a_prediction_equals_what_predict_writes_and_can_be_displayed(own: Own, tmp_path: Path) -> None:
    lines = [line for line in own.lines(tmp_path) if "error" not in line]
    paths = [line["path"] for line in lines]
    prediction = PromptAD.load(own.part / "detector.pt").predict(paths)
    np.testing.assert_allclose(prediction.raw_score, [line["raw"] for line in lines], atol=1e-3)
    assert list(prediction.label) == [line["decision"] for line in lines]
    assert [len(prediction.regions(n)) for n in range(len(lines))] == [len(line["regions"]) for line in lines]
    assert len(prediction) == len(lines)
    assert len(prediction.plot().axes) == 2 * len(lines)
    assert len(prediction.plot([1]).axes) == 2
    shown = prediction._repr_jpeg_()
    assert shown is not None
    assert shown.startswith(b"\xff\xd8")
    assert repr(prediction).startswith(
        f"Prediction({len(lines)} pictures, {prediction.label.count('anomaly')} rejected"
    )


def test_a_single_good_image_gives_a_warning(own: Own, tmp_path: Path) -> None:
    (good, *_) = sorted(own.good.iterdir())
    learn = ("train", "--good", good, "--name", "c", "--root-dir", tmp_path, *TINY, *LIGHTEST)
    for outcome in (call(*learn), call("predict", tmp_path / "c", good, "--output", tmp_path)):
        assert outcome.code == 0, outcome.errors
        assert ONE_IMAGE in outcome.output


def interrupted_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next predictions end by Ctrl-C after so many images."""

    def some(*arguments: Any, **options: Any) -> Iterator[Any]:
        for number, item in enumerate(predict(*arguments, **options)):
            if number == count:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(judge, "predict", some)


def test_an_interrupted_run_keeps_its_lines_and_goes_on(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = own.lines(tmp_path / "whole", "--overlays")
    output = tmp_path / "out"
    arguments = ("predict", own.part, own.new, "--output", output, "--overlays")
    with monkeypatch.context() as patch:
        interrupted_after(3, patch)
        outcome = call(*arguments)
        assert (outcome.code, outcome.errors) == (130, "promptad: interrupted; what was finished is kept\n")
    assert not (output / "predictions.jsonl").exists()
    part = output / "predictions.jsonl.part"
    assert len(part.read_text().splitlines()) == 3
    part.write_text(part.read_text() + '{"path": "cut sho')  # as a killed process may leave it
    outcome = call(*arguments)
    assert outcome.code == 0
    assert "going on behind 3 pictures" in outcome.output
    again = read_lines(output)
    assert [line["path"] for line in again] == [line["path"] for line in complete]
    for one, other in zip(again, complete, strict=True):
        assert one.get("score") == pytest.approx(other.get("score"), abs=1e-4)
    names = {LOCK, "predictions.jsonl", "predictions.csv", "run.json", "overlays"}
    assert {path.name for path in output.iterdir()} == names
    with monkeypatch.context() as patch:
        interrupted_after(2, patch)
        assert call(*arguments).code == 130
    assert read_lines(output) == again  # the finished run stays until the next one ends
    assert "going on" not in call("predict", own.part, own.new / "good.png", "--output", output).output


def test_a_mistyped_path_keeps_the_earlier_predictions(own: Own, tmp_path: Path) -> None:
    before = own.lines(tmp_path)
    outcome = call("predict", own.part, own.new / "god.png", "--output", tmp_path)
    assert_refused(outcome, "no picture at", "god.png: check the path")
    assert read_lines(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {LOCK, "predictions.jsonl", "predictions.csv", "run.json"}


def test_overlays_of_an_earlier_run_go_and_are_never_images(own: Own, tmp_path: Path) -> None:
    new = shutil.copytree(own.new, tmp_path / "new")
    output = new / "out"
    call("predict", own.part, new, "--output", output, "--overlays")
    assert len(list((output / "overlays").iterdir())) == len(list(own.new.iterdir())) - 1
    (output / "overlays" / "own.png").write_bytes(b"the user's")
    call("predict", own.part, new / "good.png", "--output", output, "--overlays")
    assert {path.name for path in (output / "overlays").iterdir()} == {"0001_good.png", "own.png"}
    found = call("predict", own.part, new, "--output", tmp_path / "elsewhere")
    assert f"{len(list(own.new.iterdir()))} pictures" in found.output


def test_a_long_name_and_a_vanished_image_stop_nobody(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(own.new / "good.png", new / f"{'a' * 240}.png")
    for name in ("b", "c"):
        shutil.copy(own.new / "good.png", new / f"{name}.png")

    def vanishing(*arguments: Any, **options: Any) -> Iterator[Any]:
        for item in predict(*arguments, **options):
            (new / "b.png").unlink(missing_ok=True)
            yield item

    monkeypatch.setattr(judge, "predict", vanishing)
    outcome = call("predict", own.part, new, "--output", tmp_path / "out", "--overlays")
    assert outcome.code == 0, outcome.errors
    lines = read_lines(tmp_path / "out")
    assert ["error" in line for line in lines] == [False, True, False]
    assert [Path(line["overlay"]).is_file() for line in lines if "error" not in line] == [True, True]


def test_a_detector_is_found_by_its_folder_or_its_name(
    own: Own, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = own.new / "good.png"
    assert call("predict", trained.folder, good, "--output", tmp_path / "a").code == 0
    monkeypatch.chdir(own.part.parents[1])
    assert call("predict", "my carpet", good, "--output", tmp_path / "b").code == 0
    shutil.copytree(trained.folder / "checkpoint", tmp_path / "two")
    shutil.copy(own.part / "detector.pt", tmp_path / "two")
    (tmp_path / "two" / "detector.pt").rename(tmp_path / "two" / "other.pt")
    assert_refused(call("predict", tmp_path / "two", good, "--output", tmp_path / "c"), "my carpet", "name the file")
    assert_refused(call("predict", own.new, good, "--output", tmp_path / "c"), "holds no checkpoint")


def test_an_empty_name_is_refused(own: Own, tmp_path: Path) -> None:
    assert_refused(call("predict", own.part, "", "--output", tmp_path / "a"), "the name of a picture is empty")
    assert list(tmp_path.iterdir()) == []


def test_two_commands_do_not_write_into_one_folder(own: Own, tmp_path: Path) -> None:
    with FileLock(tmp_path / LOCK):  # as another command holds it
        outcome = call("predict", own.part, own.new, "--output", tmp_path)
        assert_refused(outcome, f"--output {tmp_path} is in use by another promptad")
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert own.lines(tmp_path)
