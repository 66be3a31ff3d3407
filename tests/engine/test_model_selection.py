"""Which epoch is kept, and that test labels affect the choice only if the test oracle is selected by name."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import torch
from helpers import CSV, TINY, assert_refused, call, read_checkpoint, refusal
from PIL import Image

from promptad import PromptAD, Settings
from promptad.engine.model_selection import ModelSelection
from promptad.models.base import AnomalyDetector, EpochState
from promptad.results.table import read_results
from promptad.settings import TrainingSettings

LOSSES = (0.1, 0.9, 0.3, 0.3, 0.5)  # of epochs 0 to 4
FIGURES = (0.99, 0.6, 0.5, 0.8, 0.8)
RUN = ("--Epoch", "4", "--views", "2", "--resolution", "32", "--save-diagnostics", "False", "--lr", "0.05")


@dataclass(frozen=True)
class Dummy:
    """A stand-in for the detector of an epoch."""

    number: int


def metric_of(detector: AnomalyDetector) -> float:
    return FIGURES[cast(Dummy, detector).number]


def forbidden(_: AnomalyDetector) -> float:
    pytest.fail("the test split was looked at")


def kept(select: str, oracle: bool = True, epochs: int = 4) -> int:
    selection = ModelSelection(TrainingSettings(select=select, epochs=epochs), metric_of if oracle else forbidden)
    for number in range(epochs + 1):
        selection.update(EpochState(number, LOSSES[number], lambda n=number: cast(AnomalyDetector, Dummy(n))))  # type: ignore[misc]
    return cast(Dummy, selection.detector()).number


def test_each_rule_keeps_its_epoch() -> None:
    assert kept("last", oracle=False) == 4
    assert kept("train-loss", oracle=False) == 2  # the first of two equal ones; the start does not count
    assert kept("test-oracle") == 3


@pytest.mark.parametrize("select", ["last", "train-loss", "test-oracle"])
def test_the_start_is_kept_if_there_is_no_other(select: str) -> None:
    assert kept(select, epochs=0) == 0


def test_the_oracle_needs_a_test_split() -> None:
    assert "needs a test split" in refusal(ModelSelection, TrainingSettings(select="test-oracle"))
    estimator = PromptAD("carpet", backbone="tiny", settings=Settings(training=TrainingSettings(select="test-oracle")))
    image = torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()
    assert "needs a test split" in refusal(estimator.fit, [image])


def train(mvtec: Path, results: Path, *more: str) -> dict[str, torch.Tensor]:
    data = ("--dataset", "mvtec", "--data-root", mvtec.parent.parent, "--class-name", "carpet")
    outcome = call("train", *data, "--root-dir", results, *TINY, *RUN, *more)
    assert (outcome.code, outcome.errors) == (0, "")
    assert ("TEST LABELS" in outcome.output) == ("test-oracle" in more)
    checkpoint = read_checkpoint(next(results.rglob("[!.]*check_point.pt")))
    return {name: value for name, value in checkpoint.items() if isinstance(value, torch.Tensor)}


def invert_labels(mvtec: Path) -> None:
    """Label the normal test images as anomalous, and those of a defect as normal."""
    defect = next(folder for folder in (mvtec / "test").iterdir() if folder.name != "good")
    masks = mvtec / "ground_truth" / defect.name
    shutil.rmtree(masks)
    (mvtec / "test" / "good").rename(mvtec / "test" / "aside")
    defect.rename(mvtec / "test" / "good")
    (mvtec / "test" / "aside").rename(defect)
    masks.mkdir(parents=True)
    for image in defect.iterdir():
        Image.new("L", Image.open(image).size, 255).save(masks / f"{image.stem}_mask.png")


@pytest.mark.parametrize("system", ["multi-prototype", "single-anchor"])
@pytest.mark.parametrize("select", ["last", "train-loss"])
def test_inverted_labels_do_not_change_the_detector(mvtec: Path, tmp_path: Path, system: str, select: str) -> None:
    more = ("--system", system, "--select", select, "--memory-bank")
    first = train(mvtec, tmp_path / "first", *more)
    invert_labels(mvtec)
    again = train(mvtec, tmp_path / "again", *more)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("level", ["image", "pixel"])
def test_the_oracle_keeps_an_epoch_at_least_as_good_as_the_last(mvtec: Path, tmp_path: Path, level: str) -> None:
    for select in ("last", "test-oracle"):
        train(mvtec, tmp_path, "--system", "single-anchor", "--level", level, "--select", select)
    rows = {row["select"]: row for row in read_results(tmp_path / "mvtec" / "k_2" / CSV)}
    figures = [float(rows[select]["i_roc" if level == "image" else "p_roc"]) for select in ("last", "test-oracle")]
    assert figures[1] >= figures[0]


def test_the_oracle_without_a_test_split_is_refused(bracket: Path, tmp_path: Path) -> None:
    options = ("--dataset", "folder", "--data-root", bracket, "--class-name", "bracket", "--root-dir", tmp_path / "r")
    assert_refused(call("train", *options, *TINY, *RUN, "--select", "test-oracle"), "needs a test split")
    assert not any((tmp_path / "r").rglob("*.pt"))
