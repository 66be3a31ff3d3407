"""promptad confirm: verdicts by pictures, by lines of predictions and by the file that the page downloads."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from helpers import Own, assert_refused, call, contents

from promptad import PromptAD
from promptad.data.fingerprints import file_sha256
from promptad.runtime.verdicts_file import FORMAT


@pytest.fixture
def detector(own: Own, tmp_path: Path) -> Path:
    """A detector that a test may change."""
    return Path(shutil.copy(own.part / "detector.pt", tmp_path / "detector.pt"))


def verdicts_of(detector: Path) -> dict[str, bool]:
    return {verdict.name: verdict.is_good for verdict in PromptAD.load(detector).verdicts}


def test_pictures_are_confirmed_listed_and_undone(own: Own, detector: Path) -> None:
    before = PromptAD.load(detector).predict(own.new / "thread.png").raw_score
    outcome = call("confirm", detector, "--good", own.new / "good.png", "--defect", own.new / "thread.png", "--list")
    assert (outcome.code, outcome.errors) == (0, "")
    assert f"written: {detector}" in outcome.output
    assert "threshold, a raw score: " in outcome.output
    assert "verdicts defective, rejected: " in outcome.output
    assert "of 1, now 1" in outcome.output
    assert all(word in outcome.output for word in ("good.png", "thread.png", "defective", "+00:00"))
    assert verdicts_of(detector) == {"good.png": True, "thread.png": False}
    again = call("confirm", detector, "--defect", own.new / "thread.png")
    assert "known already: thread.png is defective" in again.output
    assert "written" not in again.output
    assert call("confirm", detector, "--undo", "thread.png").code == 0
    assert verdicts_of(detector) == {"good.png": True}
    assert "no verdict is left" in call("confirm", detector, "--undo", "all").output
    assert PromptAD.load(detector).predict(own.new / "thread.png").raw_score == before
    assert "was taught no verdict" in call("confirm", detector, "--list").output


def test_lines_of_predictions_are_confirmed(own: Own, detector: Path, tmp_path: Path) -> None:
    lines = own.lines(tmp_path / "predictions")
    numbers = {Path(line["path"]).name: number for number, line in enumerate(lines, 1)}
    named = "--predictions", tmp_path / "predictions"
    chosen = "--good-lines", str(numbers["good.png"]), "--defect-lines", str(numbers["thread.png"])
    assert call("confirm", detector, *named, *chosen).code == 0
    assert verdicts_of(detector) == {"good.png": True, "thread.png": False}
    assert_refused(call("confirm", detector, *named, "--good-lines", "99"), "--good-lines 99", "has lines 1 to")
    assert_refused(call("confirm", detector, *named), "name lines by --good-lines and --defect-lines")
    assert_refused(call("confirm", detector, "--good-lines", "1"), "are of --predictions")


def test_the_file_of_the_page_is_confirmed(own: Own, detector: Path, tmp_path: Path) -> None:
    given = [
        {"path": str(own.new / "good.png"), "verdict": "good"},
        {"path": str(own.new / "thread.png"), "verdict": "defective"},
    ]
    file = tmp_path / "verdicts.json"
    file.write_text(json.dumps({"format": FORMAT, "detector_sha256": file_sha256(detector), "verdicts": given}))
    outcome = call("confirm", detector, "--verdicts", file)
    assert outcome.code == 0
    assert "has changed since" not in outcome.output
    assert verdicts_of(detector) == {"good.png": True, "thread.png": False}
    assert "has changed since these verdicts were given" in call("confirm", detector, "--verdicts", file).output


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other"}', '{"format": "promptad verdicts", "verdicts": [{}]}'])
def test_another_file_is_refused(detector: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    assert_refused(call("confirm", detector, "--verdicts", tmp_path / "other.json"), "is no file of verdicts: download")
    assert_refused(call("confirm", detector, "--verdicts", tmp_path / "none.json"), "cannot be read")


def test_what_is_refused_changes_nothing(own: Own, detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(detector.parent)
    good, thread = own.new / "good.png", own.new / "thread.png"
    assert_refused(call("confirm", detector), "there is nothing to confirm: give --good, --defect")
    assert_refused(call("confirm", detector, "--good", good, "--defect", good), "is given as good and as defective")
    assert_refused(call("confirm", detector, "--defect", own.good / "000.png"), "000.png is one of the good pictures")
    assert_refused(call("confirm", detector, "--good", own.new / "broken.png"), "broken.png")
    assert_refused(call("confirm", detector.with_suffix(".onnx"), "--good", good), "confirm its checkpoint, and export")
    assert_refused(
        call("confirm", detector, "--undo", "thread.png"), "--undo thread.png: no verdict is of that picture"
    )
    monkeypatch.setattr("promptad.cli.detectors.os.access", lambda *_: False)
    assert_refused(call("confirm", detector, "--defect", thread), "cannot be written to")
    assert contents(detector.parent) == before


def test_a_full_disk_leaves_the_detector_as_it_was(own: Own, detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = detector.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("promptad.utils.files.os.fsync", fail)
    refused = call("confirm", detector, "--good", own.new / "good.png")
    assert_refused(
        refused, f"{detector} cannot be written anew (No space left on device) and stays as it was: free space"
    )
    assert detector.read_bytes() == before
    assert [path.name for path in detector.parent.iterdir()] == ["detector.pt"]


def test_what_cannot_be_undone_names_what_can(own: Own, detector: Path) -> None:
    assert_refused(call("confirm", detector, "--undo", "other.png"), "--undo other.png", "there are none")
    assert call("confirm", detector, "--good", own.new / "good.png").code == 0
    assert_refused(call("confirm", detector, "--undo", "other.png"), "there are good.png")
