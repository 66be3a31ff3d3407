"""Measuring: a detector on a test split, with its row of results, its diagnostics and its drawings."""

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from promptad.backbone.clip import Backbone
from promptad.data.geometry import square_picture
from promptad.data.pictures import read_picture
from promptad.detection import BATCH_SIZE, AnomalyDetector
from promptad.detector import Detector
from promptad.diagnostics import abnormal_cosines, diagnose, diagnostics_table
from promptad.drawing import draw_diagnostics, draw_prediction
from promptad.evaluation import TestSplit, evaluate, read_test_split
from promptad.files import whole_file
from promptad.progress import add_task, progress_bar
from promptad.records import ClassPictures, ImageFeatures, Prediction
from promptad.result_folder import ResultFolder
from promptad.results import METRIC_TITLES, metric_cells, write_result
from promptad.saved_scores import write_scores
from promptad.settings import TEST_ORACLE, Settings

HASH_DIGITS = 12  # of a SHA-256 that are shown
ORACLE_WARNING = (
    "WARNING: --select test-oracle chooses the epoch by TEST LABELS, as the ancestor did: its results are too good to"
    " be compared with those of an honest choice (--select last or train-loss)"
)


class SplitReader:
    """Reads test splits, and keeps the last one: several seeds of a class measure on the same features."""

    def __init__(self) -> None:
        self.pictures: ClassPictures | None = None
        self.split: TestSplit | None = None

    def read(self, run: "Run", pictures: ClassPictures) -> TestSplit | None:
        """Encode the test split of a class with a progress bar, if there is one to measure on."""
        if not is_measurable(pictures):
            return None
        if self.split is None or self.pictures != pictures:
            settings = run.settings
            with progress_bar(run.console) as progress:
                task = add_task(progress, f"read {pictures.class_name}", len(pictures.test))
                self.split = read_test_split(
                    run.backbone,
                    pictures.test,
                    settings.scoring.resolution,
                    run.batch_size,
                    lambda count: progress.advance(task, count),
                    settings.scoring.memory,
                )
            self.pictures = pictures
        return self.split


@dataclass(frozen=True)
class Run:
    """How a run works and what it leaves behind, besides checkpoints and rows."""

    backbone: Backbone
    settings: Settings
    results: ResultFolder
    console: Console
    batch_size: int = BATCH_SIZE
    save_diagnostics: bool = True
    draw_predictions: bool = False
    splits: SplitReader = field(default_factory=SplitReader)  # runs that differ in nothing but their seed share it


def is_measurable(pictures: ClassPictures) -> bool:
    """Return whether the test split has good and defective pictures."""
    return len({picture.is_anomalous for picture in pictures.test}) == 2


def measure(run: Run, detector: AnomalyDetector, split: TestSplit, started: float) -> None:
    """Measure, diagnose and, if asked, draw a detector on a test split; the row of results is written last."""
    evaluation, prediction = evaluate(detector, split)
    save_diagnostics(run, detector, split.features)
    if run.draw_predictions:
        _draw_predictions(run, detector, split, prediction)
    settings, subject = detector.settings, detector.subject
    name = run_id(settings, subject.support_sha256)
    write_scores(run.results.scores(subject.class_name), name, split.pictures, prediction)
    row = {
        "class": subject.class_name,
        **way_of(settings),
        "dataset": subject.dataset,
        "data": split.sha256[:HASH_DIGITS],
        "k": settings.training.k_shot,
        "seed": settings.training.seed,
        "n_pro": settings.prompts.n_pro,
        "n_pro_ab": settings.prompts.n_pro_ab,
        "epochs": settings.training.epochs,
        "backbone": settings.backbone.name,
        "weights": detector.backbone.weights_sha256[:HASH_DIGITS],
        "run": name,
        "test_images": len(split.labels),
        "seconds": time.monotonic() - started,
        **metric_cells(evaluation),
    }
    write_result(run.results.csv, row)
    run.console.print(_in_words(subject.class_name, row), soft_wrap=True)
    if settings.training.select == TEST_ORACLE:
        run.console.print(ORACLE_WARNING, style="bold red", soft_wrap=True)


def way_of(settings: Settings) -> dict[str, str]:
    """Return the cells of a row that name a way of working."""
    return {
        "system": settings.system,
        "level": settings.level,
        "memory": "yes" if settings.scoring.memory else "no",
        "select": settings.training.select,
    }


def run_id(settings: Settings, support: str) -> str:
    """Return twelve digits that name a combination of settings and support images, these by their SHA-256."""
    plain = json.dumps([settings.to_dict(), support], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:HASH_DIGITS]


def save_diagnostics(run: Run, detector: AnomalyDetector, features: ImageFeatures) -> None:
    """Judge the prototypes of a detector, if asked and if it has any, and write and print what was found."""
    if not run.save_diagnostics:
        return
    if not isinstance(detector, Detector):
        run.console.print("no diagnostics: they are of prototypes, and the single-anchor system has none")
        return
    diagnostics = diagnose(detector, features)
    file, figure = (run.results.diagnostics(detector.class_name, suffix) for suffix in ("json", "png"))
    with whole_file(file) as temporary:
        temporary.write_text(json.dumps(diagnostics, indent=2) + "\n")
    draw_diagnostics(diagnostics, abnormal_cosines(detector.prototypes.abnormal).cpu().numpy(), figure)
    run.console.print(diagnostics_table(diagnostics))
    run.console.print(f"diagnostics: {file} and {figure.name}", soft_wrap=True)


def _draw_predictions(run: Run, detector: AnomalyDetector, split: TestSplit, prediction: Prediction) -> None:
    folder, backbone = run.results.pictures(detector.class_name), run.backbone
    with progress_bar(run.console) as progress:
        task = add_task(progress, f"draw {detector.class_name}", len(split.pictures))
        for number, picture in enumerate(split.pictures):
            seen = square_picture(read_picture(picture.path), *backbone.square_of(detector.settings.scoring.resolution))
            mask = None if split.masks is None else split.masks[number]
            file = folder / f"{picture.defect}_{picture.path.stem}.png"
            draw_prediction(seen, float(prediction.score[number]), prediction.map[number], mask, file)
            progress.advance(task)
    run.console.print(f"pictures: {folder}", soft_wrap=True)


def _in_words(class_name: str, row: dict[str, Any]) -> str:
    cells = (f"{title} {100 * row[metric]:.1f}" for metric, title in METRIC_TITLES.items() if row[metric] is not None)
    return f"{class_name}: {', '.join(cells)} % on {row['test_images']} pictures"
