"""The threshold after the fact: shown, set for one run or for good, and as a table for spreadsheets."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Own, assert_refused, call, read_lines

from promptad.models.registry import load_with_thresholds
from promptad.runtime import Session
from promptad.runtime.records import PredictionRecord
from promptad.runtime.table import COLUMNS, write_table
from promptad.structures import Explanation, Prediction, Region

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")


@pytest.fixture
def part(own: Own, tmp_path: Path) -> Path:
    """A detector that a test may change."""
    return shutil.copytree(own.part, tmp_path / "part")


def test_a_threshold_of_one_run_moves_decisions_and_leaves_the_detector(own: Own, part: Path, tmp_path: Path) -> None:
    before = (part / "detector.pt").read_bytes()
    outcome = call("predict", part, own.new, "--output", tmp_path / "out", "--threshold", "1e6")
    assert "0 anomalies" in outcome.output
    assert {line["threshold"] for line in read_lines(tmp_path / "out") if "error" not in line} == {1e6}
    assert (part / "detector.pt").read_bytes() == before
    page = tmp_path / "r.html"
    assert call("report", "--predictions", tmp_path / "out", "--output", page).code == 0
    text = page.read_text()
    assert "was set by hand" in text
    assert "What other thresholds would have done" in text


def test_a_threshold_is_set_for_good_by_hand_or_by_a_rate(own: Own, part: Path, tmp_path: Path) -> None:
    shown = call("threshold", part)
    assert "threshold for 1 % of false alarms, estimated from 3 good pictures" in shown.output
    assert "0.1 %" in shown.output
    usual = load_with_thresholds(part / "detector.pt", CPU).metadata
    assert "written" in call("threshold", part, "--threshold", "-4.5").output
    by_hand = load_with_thresholds(part / "detector.pt", CPU)
    assert (by_hand.metadata.threshold, by_hand.false_alarm_range) == (-4.5, None)
    assert by_hand.findings()[-1] == "threshold -4.5, set by hand"
    assert {line["threshold"] for line in own_lines(own, part, tmp_path) if "error" not in line} == {-4.5}
    assert "for 5 % of false alarms" in call("threshold", part, "--false-alarm-rate", "5 %").output
    again = load_with_thresholds(part / "detector.pt", CPU).metadata
    assert again.threshold == pytest.approx(dict(usual.by_rate)[0.05])
    assert again.settings.scoring.threshold is None
    levels = [level for _, level in usual.by_rate]
    assert levels == sorted(levels, reverse=True)
    assert usual.threshold == pytest.approx(dict(usual.by_rate)[0.01])


def own_lines(own: Own, part: Path, folder: Path) -> list[dict[str, object]]:
    assert call("predict", part, own.new, "--output", folder / "lines").code == 0
    return read_lines(folder / "lines")


def test_numbers_that_are_no_rate_or_threshold_are_refused(part: Path, tmp_path: Path) -> None:
    assert_refused(call("threshold", part, "--false-alarm-rate", "10"), "--false-alarm-rate 10", "in per cent, 1%")
    assert_refused(call("threshold", part, "--false-alarm-rate", "110%"), "--false-alarm-rate 1.1")
    assert_refused(call("threshold", part, "--threshold", "nan"), "--threshold nan")
    assert_refused(call("threshold", part, "--threshold", "3", "--false-alarm-rate", "0.1"), "give one of them")
    (tmp_path / "c.onnx").write_bytes(b"")
    assert_refused(call("threshold", tmp_path / "c.onnx"), "decides as it was exported")


def test_the_table_has_a_row_for_each_line(own: Own, tmp_path: Path) -> None:
    lines = own.lines(tmp_path)
    text = (tmp_path / "predictions.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbfpath,decision,score")
    rows = list(csv.DictReader(text.decode("utf-8-sig").splitlines()))
    assert [row["path"] for row in rows] == [line["path"] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        assert row["error"] == line.get("error", "")
        assert row["decision"] == line.get("decision", "")
        if "error" not in line:
            assert float(row["raw"]) == pytest.approx(line["raw"], rel=1e-4)
            assert int(row["regions"]) == len(line["regions"])
            assert (row["left"] == "") == (not line["regions"])


def test_no_path_becomes_a_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    why = Explanation(1, ("with hole",), None, 2.0, None)
    odd = PredictionRecord("=cmd()", "anomaly", 0.9, 3.0, 1.0, 0.8, (Region(1, 2, 3, 4, 0.8, 1, 2),), explanation=why)
    write_table([odd, PredictionRecord("a,b.png", error='no "picture"')], tmp_path / "t.csv")
    first, second = csv.DictReader((tmp_path / "t.csv").read_text(encoding="utf-8-sig").splitlines())
    assert tuple(first) == COLUMNS
    assert (first["path"], first["reason"], first["bottom"]) == ("./=cmd()", "most like: with hole", "4")
    assert (second["path"], second["error"], second["decision"]) == ("a,b.png", 'no "picture"', "")


def test_a_third_answer_leaves_what_lies_between_two_rates_to_people(own: Own, part: Path, tmp_path: Path) -> None:
    plain = own.lines(tmp_path / "plain")
    assert "unsure above" in call("threshold", part, "--unsure", "60%").output
    known = load_with_thresholds(part / "detector.pt", CPU).metadata
    assert known.unsure_threshold is not None
    assert known.threshold is not None
    assert known.unsure_threshold < known.threshold
    by_hand = ("--threshold", "1e6", "--fail-on-anomaly")
    readable = [line["path"] for line in plain if "error" not in line]
    outcome = call("predict", part, *readable, "--output", tmp_path / "out", *by_hand)
    lines = read_lines(tmp_path / "out")
    assert [line["decision"] for line in lines].count("unsure") == outcome.output.count("unsure ") > 0
    assert outcome.code == 4
    for line in lines:
        between = known.unsure_threshold < line["raw"]
        assert line["decision"] == ("unsure" if between else "good")
        assert line["raw"] == pytest.approx(next(old["raw"] for old in plain if old["path"] == line["path"]), abs=1e-3)
    assert call("report", "--predictions", tmp_path / "out", "--output", tmp_path / "r.html").code == 0
    assert "left to you to decide" in (tmp_path / "r.html").read_text()
    rows = csv.DictReader((tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8-sig").splitlines())
    assert {row["reason"].startswith("most like") for row in rows if row["decision"] == "unsure"} == {True}
    assert call("export", part, "--output", tmp_path / "c.onnx").code == 0
    assert Session(tmp_path / "c.onnx").metadata.unsure_threshold == pytest.approx(known.unsure_threshold)
    assert_refused(call("threshold", part, "--unsure", "0.5%"), "--unsure 0.005", "above the false-alarm rate, 0.01")


def test_three_labels_lie_between_two_thresholds() -> None:
    raw = np.array([1.0, 2.0, 2.5, 3.0, 3.5, np.nan])
    prediction = Prediction(raw, np.zeros((6, 1, 1)), raw, 3.0, 2.0)
    assert prediction.label == ("good", "good", "unsure", "unsure", "anomaly", "anomaly")
    assert Prediction(raw, np.zeros((6, 1, 1)), raw, 3.0).label[2] == "good"
    assert Prediction(raw, np.zeros((6, 1, 1)), raw, 2.0, 3.0).label[2] == "anomaly"  # by hand below the other
