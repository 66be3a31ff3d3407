"""Jobs are plain data, and the engine's records are made without writing or printing anything."""

import json
import pickle
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from PIL import Image

from promptad.data.datasets import read_class
from promptad.data.few_shot import choose_support
from promptad.engine.context import Job
from promptad.engine.evaluate import evaluate_detector
from promptad.evaluation.evaluator import read_test_split
from promptad.models.registry import load_detector
from promptad.results.paths import ResultFolder
from promptad.results.table import RESULT_COLUMNS
from promptad.runtime.predict import predict
from promptad.runtime.records import PredictionRecord
from promptad.settings import Settings
from promptad.structures import ANOMALY

DETECTOR = Path(__file__).parents[1] / "models" / "format_7" / "multi_prototype.pt"
CPU = torch.device("cpu")


def test_a_job_can_be_sent_to_another_process(drawn: Path, tmp_path: Path) -> None:
    dataset = read_class("demo", drawn / "demo", "carpet")
    results = ResultFolder(tmp_path, "demo", 2, 111)
    job = Job(dataset, Settings(), choose_support(dataset.normal, 2, 111), results)
    sent = pickle.dumps(job)
    assert pickle.loads(sent) == job
    assert len(sent) < 10_000


def test_an_evaluation_is_a_record_and_writes_nothing(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    detector = load_detector(DETECTOR, CPU)
    dataset = read_class("demo", drawn / "demo", "carpet")
    split = read_test_split(detector.backbone, dataset.test, detector.settings.scoring.resolution, batch_size=4)
    record = evaluate_detector(detector, split)
    row = record.row(1.5)
    assert row.keys() == set(RESULT_COLUMNS)
    assert json.loads(row["settings"]) == json.loads(json.dumps(detector.settings.to_dict()))
    assert detector.subject.support_sha256.startswith(row["support"])
    assert (row["version"], row["protocol"]) == (version("promptad"), "maps of 16 x 16 pixels of the whole picture")
    assert len(record.prediction.score) == len(dataset.test)
    assert (list(tmp_path.iterdir()), capsys.readouterr().out) == ([], "")


def test_predictions_are_records_in_order_and_write_nothing(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    paths = [drawn / "demo/carpet/test/good/000.png", broken, drawn / "demo/carpet/test/good/001.png"]
    monkeypatch.chdir(tmp_path)
    (first, first_map), (second, second_map), (third, _) = predict(load_detector(DETECTOR, CPU), paths, batch_size=2)
    assert [record.path for record in (first, second, third)] == list(map(str, paths))
    assert first_map is not None
    assert first.max_score == pytest.approx(float(first_map.max()))
    assert second_map is None
    assert second.error.startswith("not a picture")
    assert list(tmp_path.iterdir()) == [broken]
    for record in (first, second, replace(third, overlay="overlays/3.png")):
        assert PredictionRecord.from_line(record.to_line()) == record


@pytest.mark.parametrize("colour", ["black", "white", "grey", "red"])
def test_an_image_of_one_colour_is_unlike_the_part(colour: str, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), colour).save(tmp_path / "dark.png")
    ((record, anomaly_map),) = predict(load_detector(DETECTOR, CPU), [tmp_path / "dark.png"])
    assert record.label == ANOMALY
    assert record.reason == "unlike the part: one colour throughout"
    assert anomaly_map is not None
    assert PredictionRecord.from_line(record.to_line()) == record
