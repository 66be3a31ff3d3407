"""What does an 8-bit image encoder cost? Each class of the demo in float32 and in int8, on the same pictures.

python benchmarks/int8_accuracy.py [--json FILE]

15 classes on one production line, k = 2, default settings, with and without a memory bank. Every detector is exported
in float32 and in int8, for onnxruntime and OpenVINO, and judges the class's test pictures by the runtime. Test labels
are used by the metrics only. About 15 minutes on 2 cores, 28 beside other work.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from demo_bed import Place, demo_parser, draw_place, load_tiny
from rich.console import Console
from rich.table import Table

from promptad import PromptAD, Settings
from promptad.data.few_shot import choose_support
from promptad.evaluation.evaluator import read_test_split
from promptad.evaluation.metrics import image_auroc
from promptad.runtime.session import Session
from promptad.settings import BATCH_SIZE, ScoringSettings, TrainingSettings
from promptad.structures import ANOMALY, ClassDataset
from promptad.utils.files import whole_file
from promptad.utils.progress import add_task, progress_bar

FILES = {"float32": "float32.onnx", "int8, onnxruntime": "int8.onnx", "int8, OpenVINO": "int8.xml"}
K, SEED = 2, 200
TITLES = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "missed": "missed",
    "false_alarms": "false alarms",
    "changed": "decisions changed",
}


def main() -> None:
    """Train, export and measure all classes; print and, if requested, write."""
    options, started = _parse(), time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    rows: list[dict[str, Any]] = []
    places = [Place(line, class_name) for line in options.lines for class_name in options.classes]
    with progress_bar(console) as progress:
        task = add_task(progress, "classes", 2 * len(places))
        for place in places:
            dataset = draw_place(options.work, options.difficulty, place)
            for memory in (False, True):
                rows += measure(dataset, memory)
                progress.advance(task)
    for memory in (False, True):
        console.print(table_of([row for row in rows if row["memory"] == memory], memory))
    minutes = (time.monotonic() - started) / 60
    console.print(f"{minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps({"rows": rows, "minutes": minutes}, indent=2) + "\n")


def measure(dataset: ClassDataset, memory: bool) -> list[dict[str, Any]]:
    """Return the row of each file of one class, in % but for decisions."""
    support = choose_support(dataset.normal, K, SEED)
    settings = Settings(
        backbone=load_tiny().settings, training=TrainingSettings(seed=SEED), scoring=ScoringSettings(memory=memory)
    )
    estimator = PromptAD(dataset.class_name, settings=settings).fit(support)
    split = read_test_split(estimator.detector.backbone, dataset.test, settings.scoring.resolution, BATCH_SIZE)
    anomalous = np.array([image.is_anomalous for image in dataset.test])
    rows, usual = [], None
    with tempfile.TemporaryDirectory() as folder:
        for title, name in FILES.items():
            path = Path(folder, name)
            estimator.export(path, precision=path.stem, good=support if path.stem == "int8" else ())
            found = Session(path).predict([image.path for image in dataset.test])
            decided = np.array([label == ANOMALY for label in found.label])
            usual = decided if usual is None else usual
            assert split.masks is not None
            pixels = split.pixel_metrics(found.anomaly_map)
            rows.append(
                {
                    "class": dataset.class_name,
                    "memory": memory,
                    "file": title,
                    "image_auroc": 100 * image_auroc(found.score, split.labels),
                    "pixel_auroc": 100 * pixels.auroc,
                    "aupro": 100 * pixels.aupro,
                    "missed": 100 * float((~decided[anomalous]).mean()),
                    "false_alarms": 100 * float(decided[~anomalous].mean()),
                    "changed": 100 * float((decided != usual).mean()),
                }
            )
    return rows


def table_of(rows: Sequence[dict[str, Any]], memory: bool) -> Table:
    """Return the means over classes, in %."""
    table = Table("file", *TITLES.values(), title="with a memory bank" if memory else "text alone")
    for title in FILES:
        own = [row for row in rows if row["file"] == title]
        table.add_row(title, *(f"{np.mean([row[metric] for row in own]):.1f}" for metric in TITLES))
    return table


def _parse() -> argparse.Namespace:
    parser = demo_parser(__doc__.splitlines()[0])
    parser.set_defaults(lines=(200,))
    return parser.parse_args()


if __name__ == "__main__":
    main()
