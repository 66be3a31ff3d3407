"""Evaluate a detector on a test split into a record, which callers save, draw and print."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from promptad.data.images import read_image
from promptad.evaluation.diagnostics import abnormal_cosines, diagnose, diagnostics_table
from promptad.evaluation.evaluator import TestSplit, evaluate
from promptad.features import ImageFeatures
from promptad.models.base import AnomalyDetector
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.names import abnormal_names, normal_names
from promptad.results.columns import METRICS
from promptad.results.paths import ResultFolder
from promptad.results.scores import write_scores
from promptad.results.table import HASH_DIGITS, metric_cells, write_result
from promptad.runtime.overlay import faded, framed
from promptad.settings import TEST_ORACLE, Settings
from promptad.structures import Evaluation, Prediction
from promptad.utils.files import whole_file
from promptad.utils.provenance import package_commit, package_version
from promptad.visualization.figures import draw_prediction
from promptad.visualization.prototypes import draw_diagnostics

ORACLE_WARNING = (
    "WARNING: test-oracle chooses the epoch by TEST LABELS, as the original PromptAD did: its results are too good to"
    " be compared with those of an honest choice (last or train-loss)"
)


@dataclass(frozen=True)
class RunRecord:
    """The results of one detector on one test split."""

    detector: AnomalyDetector
    split: TestSplit
    evaluation: Evaluation  # the metrics
    prediction: Prediction  # of the split's images

    @property
    def run(self) -> str:
        """The id of its settings and support images in saved results."""
        return run_id(self.detector.settings, self.detector.subject.support_sha256)

    def row(self, seconds: float | None) -> dict[str, Any]:
        """Return its row in the table of results."""
        detector, settings, memory = self.detector, self.detector.settings, self.detector.backbone.memory
        return {
            "class": detector.class_name,
            **configuration_of(settings),
            "dataset": detector.subject.dataset,
            "data": self.split.sha256[:HASH_DIGITS],
            "k": settings.training.k_shot,
            "seed": settings.training.seed,
            "n_pro": settings.prompts.n_pro,
            "n_pro_ab": settings.prompts.n_pro_ab,
            "epochs": settings.training.epochs,
            "backbone": settings.backbone.name,
            "weights": detector.backbone.weights_sha256[:HASH_DIGITS],
            "run": self.run,
            "test_images": len(self.split.labels),
            "seconds": seconds,
            **metric_cells(self.evaluation),
            "support": detector.subject.support_sha256[:HASH_DIGITS],
            "version": package_version(),
            "commit": package_commit(),
            "protocol": self.protocol,
            "settings": json.dumps(settings.to_dict(), sort_keys=True),
            "memory_weights": memory.weights_sha256[:HASH_DIGITS] if memory else "",
        }

    @property
    def protocol(self) -> str:
        """How pixels are counted, in words: what systems must share for a comparison of maps."""
        settings, (height, width) = self.detector.settings, self.prediction.anomaly_map.shape[1:]
        shown = "the whole picture" if not settings.picture.region else "a region of the picture"
        return f"maps of {width} x {height} pixels of {shown}"


def evaluate_detector(detector: AnomalyDetector, split: TestSplit) -> RunRecord:
    """Evaluate a detector on a test split.

    Raises:
        InputError: the split has normal images only, or anomalous ones only.
    """
    return RunRecord(detector, split, *evaluate(detector, split))


def configuration_of(settings: Settings) -> dict[str, str]:
    """Return the cells of a row that name a configuration."""
    return {
        "system": settings.system,
        "level": settings.level,
        "memory": "yes" if settings.scoring.memory else "no",
        "select": settings.training.select,
    }


def run_id(settings: Settings, support: str) -> str:
    """Return twelve hexadecimal digits that identify settings and support images, the latter given by their SHA-256."""
    plain = json.dumps([settings.to_dict(), support], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:HASH_DIGITS]


def save_record(record: RunRecord, results: ResultFolder, seconds: float) -> None:
    """Write the score of each test image, then the row of results."""
    write_scores(results.scores(record.detector.class_name), record.run, record.split.images, record.prediction)
    write_result(results.csv, record.row(seconds))


def show_record(record: RunRecord, console: Console) -> None:
    """Print the metrics, and a warning if test labels chose the epoch."""
    name, count = record.detector.class_name, len(record.split.labels)
    for of_pixels, measured in ((False, f"{count} pictures"), (True, f"the pixels of {count} pictures")):
        found = [(m.title, getattr(record.evaluation, m.field)) for m in METRICS if m.of_pixels == of_pixels]
        if cells := [f"{title} {100 * value:.1f}" for title, value in found if value is not None]:
            console.print(f"{name}: {', '.join(cells)} % on {measured}", soft_wrap=True)
    if record.detector.settings.training.select == TEST_ORACLE:
        console.print(ORACLE_WARNING, style="bold red", soft_wrap=True)


def diagnostics_of(detector: AnomalyDetector, features: ImageFeatures) -> dict[str, Any] | None:
    """Return the diagnostics of a detector's prototypes by `features` of images, and their names; None without any."""
    if not isinstance(detector, MultiPrototypeDetector):
        return None
    prototypes = detector.head.prototypes
    names = {
        "normal": normal_names(detector.backbone, detector.class_name, prototypes),
        "abnormal": abnormal_names(prototypes, detector.head.states),
    }
    words = {side: [name.to_dict() for name in own] for side, own in names.items()}
    return diagnose(detector, features) | {"prototype_words": words}


def save_diagnostics(detector: AnomalyDetector, diagnostics: dict[str, Any], results: ResultFolder) -> None:
    """Write diagnostics as JSON, and draw them."""
    assert isinstance(detector, MultiPrototypeDetector)
    file, figure = (results.diagnostics(detector.class_name, suffix) for suffix in ("json", "png"))
    with whole_file(file) as temporary:
        temporary.write_text(json.dumps(diagnostics, indent=2) + "\n", encoding="utf-8")
    cosines = abnormal_cosines(detector.head.prototypes.abnormal).cpu().numpy()
    draw_diagnostics(diagnostics, cosines, figure)


def show_diagnostics(diagnostics: dict[str, Any] | None, file: Path, console: Console) -> None:
    """Print diagnostics and where they were written, or why there are none."""
    if diagnostics is None:
        console.print("no diagnostics: they are of prototypes, and this system has none")
        return
    console.print(diagnostics_table(diagnostics))
    console.print(f"diagnostics: {file} and {file.with_suffix('.png').name}", soft_wrap=True)


def draw_predictions(record: RunRecord, folder: Path, advance: Callable[[int], None] = lambda _: None) -> None:
    """Draw each test image with its anomaly map, mask and contours; `advance` is called after each."""
    split, prediction, known = record.split, record.prediction, record.detector.metadata
    for number, image in enumerate(split.images):
        read = read_image(image.path, split.reading.bit_depth)
        shown = framed(faded(read, split.reading.region_of(image.path)), known.frame, *prediction.anomaly_map.shape[1:])
        mask = None if split.masks is None else split.masks[number]
        file = folder / f"{image.defect}_{image.path.stem}.png"
        draw_prediction(shown, float(prediction.score[number]), prediction.anomaly_map[number], mask, file)
        advance(1)
