"""How far do image AUROC and false alarms move when the test pictures are disturbed?

python benchmarks/disturbances.py [--classes bottle,cable] [--lines 200] [--seeds 0] [--json FILE]

Classes of the demo, k = 2, default settings: ours without and with a memory bank, and the baseline with its own. The
baseline decides nothing, so false alarms are counted twice: at a level that the clean good TEST pictures set, their
95 % quantile, which no detector knows and which only shows movement; and those of ours at its own threshold.
"""

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import demo_bed
import false_alarms
import numpy as np
from demo_bed import BASELINE, BOTH, TEXT, TITLES, Place, add_processes, draw_place, in_processes, load_tiny, seen_by
from rich.console import Console
from rich.table import Table

from promptad.backbones.clip import Backbone
from promptad.cli.values import names, numbers
from promptad.data.corruptions import CORRUPTIONS, Corruption, corruptions_of
from promptad.data.demo import DEMO_CLASSES
from promptad.data.few_shot import choose_support
from promptad.data.reading import Reading
from promptad.engine.robustness import error_rates
from promptad.evaluation.evaluator import TestSplit
from promptad.evaluation.metrics import image_auroc
from promptad.models.base import AnomalyDetector, Subject
from promptad.models.support import encode_support
from promptad.results.disturbances import cells_of, with_change
from promptad.settings import MULTI_PROTOTYPE, SINGLE_ANCHOR
from promptad.structures import Prediction, TestImage
from promptad.utils.files import whole_file

QUANTILE = 0.95  # of the scores of clean good pictures
SHOTS = 2
SYSTEMS = (TEXT, BOTH, BASELINE)
OURS = (TEXT, BOTH)  # have a threshold
FIGURES = {
    "image_auroc": ("image AUROC", SYSTEMS),
    "above_clean": (f"good pictures above the {100 * QUANTILE:g} % quantile of clean ones", SYSTEMS),
    "false_alarms": ("good pictures rejected at its own threshold", OURS),
    "misses": ("defective pictures passed at its own threshold", OURS),
}

Job = tuple[Place, Path, tuple[int, ...], tuple[Corruption, ...]]  # with the folder for pictures, and seeds


def main() -> None:
    """Train, disturb and measure; print and, if requested, write the rows."""
    options, started = _parse(), time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    corruptions = tuple(corruptions_of(options.disturb))
    places = [Place(line, name) for line in options.lines for name in options.classes]
    jobs = [(place, options.work, options.seeds, corruptions) for place in places]
    rows = list(chain.from_iterable(in_processes(run, jobs, options.processes, console)))
    for figure in FIGURES:
        console.print(movement_table(rows, figure))
    minutes = (time.monotonic() - started) / 60
    console.print(f"{len(places)} classes and lines in {minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps({"rows": rows, "minutes": minutes}, indent=2) + "\n")


def run(job: Job) -> list[dict[str, Any]]:
    """Return the rows of one class on one line."""
    place, work, seeds, corruptions = job
    backbone, rows = load_tiny(), []
    images = draw_place(work, "normal", place)
    splits = [encoded(backbone, images.test, corruption) for corruption in (None, *corruptions)]
    for seed in seeds:
        support = choose_support(images.normal, SHOTS, seed)
        for name, detector in detectors(backbone, place.class_name, support, seed):
            rows += [{**vars(place), "seed": seed, "system": name, **found} for found in movement(detector, splits)]
    return rows


def encoded(backbone: Backbone, images: Sequence[TestImage], corruption: Corruption | None) -> TestSplit:
    """Encode disturbed test pictures; masks are not read."""
    reading = Reading(corruption=corruption)
    features = backbone.encode_images([image.path for image in images], 32, reading, layers=True)
    return TestSplit(tuple(images), features, np.array([image.is_anomalous for image in images]), None, "", reading)


def detectors(
    backbone: Backbone, class_name: str, support: Sequence[Path], seed: int
) -> Iterator[tuple[str, AnomalyDetector]]:
    """Yield ours without and with a memory bank, with their thresholds, and the baseline."""
    ours, baseline = (
        replace(plain, training=replace(plain.training, k_shot=SHOTS))
        for plain in (demo_bed.settings_of(system, seed, None) for system in (MULTI_PROTOTYPE, SINGLE_ANCHOR))
    )
    own = encode_support(backbone, support, ours)
    yield from zip(OURS, false_alarms.trained(backbone, class_name, own, ours), strict=True)
    subject = Subject("demo", class_name, (), "")
    yield deque(demo_bed.trained(backbone, subject, encode_support(backbone, support, baseline), baseline), 1).pop()


def movement(detector: AnomalyDetector, splits: Sequence[TestSplit]) -> Iterator[dict[str, Any]]:
    """Yield the figures of each split; the first is clean and sets the level."""
    level: float | None = None
    for split in splits:
        found = detector.to_prediction(detector.score(seen_by(detector, split).features))
        if level is None:
            level = float(np.quantile(found.raw_score[~split.labels], QUANTILE))
        yield cells_of(split.reading.corruption) | figures_of(found, split.labels, level)


def figures_of(prediction: Prediction, labels: np.ndarray, level: float) -> dict[str, float | None]:
    """Return the shares of one detector on one split; `labels` [N] bool, True is anomalous."""
    return {
        "image_auroc": image_auroc(prediction.raw_score, labels),
        "above_clean": float((prediction.raw_score[~labels] > level).mean()),
        **error_rates(prediction, labels),
    }


def movement_table(rows: Sequence[dict[str, Any]], figure: str) -> Table:
    """Return means over classes, lines and draws in % of one figure, with what they changed from clean pictures."""
    title, systems = FIGURES[figure]
    table = Table(title=f"{title}, in % (change)")
    table.add_column("disturbance")
    for system in systems:
        table.add_column(TITLES[system], justify="right")

    def mean(system: str, name: str, strength: int) -> float:
        asked = {"system": system, "disturbance": name, "strength": strength}.items()
        return float(np.mean([row[figure] for row in rows if asked <= row.items()]))

    for name, strength in dict.fromkeys((row["disturbance"], row["strength"]) for row in rows):
        clean = {system: mean(system, *cells_of(None).values()) if strength else None for system in systems}
        cells = (with_change(mean(system, name, strength), clean[system]) for system in systems)
        table.add_row(f"{name} {strength}" if strength else name, *cells, end_section=strength in (0, 3))
    return table


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=names, default=DEMO_CLASSES, help="of the demo, by commas")
    parser.add_argument("--lines", type=numbers, default=(200,), help="production lines")
    parser.add_argument("--seeds", type=numbers, default=(0,), help="each draws its own support images")
    parser.add_argument("--disturb", type=names, default=tuple(CORRUPTIONS), help="disturbances, by commas")
    parser.add_argument("--work", type=Path, default=Path("result") / "disturbances", help="for pictures")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    add_processes(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
