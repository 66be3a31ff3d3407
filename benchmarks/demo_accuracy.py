"""How accurate the systems are on the demo data: the baseline with its memory bank, and ours with and without one.

python benchmarks/demo_accuracy.py [--json FILE]

15 classes, k = 1, 2, 4, three draws of the support images, two production lines; the default settings, the last epoch
(and of ours epoch 0 too, the initial words only). Test labels are used by the metrics only. Every image is encoded
once. Finished classes are stored in --work, and a second start resumes from there.

Two checks of how much the bundled `tiny` knows from its training: `--classes gear,brick` are parts that it was not
trained on, with a kind of defect that is new to it; with `--weights random` its text and image features are random.
"""

import argparse
import hashlib
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from demo_bed import (
    EMBEDDED,
    METRICS,
    RANDOM,
    TEXT,
    TITLES,
    UNCUED,
    Place,
    add_training_options,
    code_sha256,
    demo_parser,
    draw_place,
    figures,
    in_processes,
    load_tiny,
    settings_of,
    spread,
    trained,
)
from rich.console import Console
from rich.table import Table

from promptad.backbones.clip import Backbone
from promptad.cli.values import numbers
from promptad.data.demo import DEFECT_FOLDERS
from promptad.data.demo.writer import IMAGES_A_DEFECT
from promptad.data.few_shot import choose_support
from promptad.evaluation.evaluator import read_test_split
from promptad.models.base import Subject
from promptad.models.support import encode_support
from promptad.settings import MULTI_PROTOTYPE, SINGLE_ANCHOR, Settings
from promptad.utils.files import whole_file


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The protocol of a run."""

    classes: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    lines: tuple[int, ...]
    difficulty: str
    epochs: int | None
    called: str | None  # name of every class in the prompts; None: its own name
    weights: str  # the embedded ones, or others of the same architecture
    work: Path


def main() -> None:
    """Run what is not finished yet; print and, if requested, write the summary."""
    options, started = _parse(), time.monotonic()
    protocol = Protocol(**{name: value for name, value in vars(options).items() if name not in ("json", "processes")})
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    rows = run(protocol, options.processes, console)
    minutes = (time.monotonic() - started) / 60
    console.print(accuracy_table(rows, protocol))
    console.print(kinds_table(rows, protocol))
    console.print(health_table(rows, protocol))
    console.print(f"{len(protocol.lines) * len(protocol.classes)} classes and lines in {minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps(summary(rows, protocol) | {"minutes": minutes}, indent=2) + "\n")


def run(protocol: Protocol, processes: int, console: Console) -> list[dict[str, Any]]:
    """Measure the classes and lines that are not finished yet, and return the rows of all."""
    places = [Place(line, name) for line in protocol.lines for name in protocol.classes]
    missing = [(protocol, place) for place in places if not rows_file(protocol, place).exists()]
    deque(in_processes(_run_place, missing, processes, console), maxlen=0)
    return [row for place in places for row in json.loads(rows_file(protocol, place).read_text())]


def measure_place(protocol: Protocol, place: Place, backbone: Backbone) -> Iterator[dict[str, Any]]:
    """Train and measure every system, k and draw of one class on one line; yield a row each."""
    images = draw_place(protocol.work, protocol.difficulty, place)
    split = read_test_split(backbone, images.test, Settings().scoring.resolution, batch_size=32, layers=True)
    for seed in protocol.seeds:
        chosen = choose_support(images.normal, max(protocol.shots), seed)
        for system in (SINGLE_ANCHOR, MULTI_PROTOTYPE):
            settings = settings_of(system, seed, protocol.epochs)
            for k in protocol.shots:
                own = replace(settings, training=replace(settings.training, k_shot=k))
                subject = Subject(
                    "demo", protocol.called or place.class_name, tuple(path.name for path in chosen[:k]), ""
                )
                support = encode_support(backbone, chosen[:k], own)
                for name, detector in trained(backbone, subject, support, own):
                    found = figures(detector, split, place.class_name)
                    yield {"k": k, "seed": seed, "system": name, **vars(place), **found}


def accuracy_table(rows: Sequence[dict[str, Any]], protocol: Protocol) -> Table:
    """Return the means over classes, ± their standard deviation over draws and lines."""
    drawn = f"difficulty {protocol.difficulty}, {protocol.weights} weights"
    table = Table(title=f"Demo data, {drawn}, mean over classes in % ± deviation over draws and lines")
    for title in ("k", "system", *METRICS.values()):
        table.add_column(title, justify="left" if title == "system" else "right")
    for k in protocol.shots:
        for system, title in TITLES.items():
            cells = [spread(_of(rows, k, system), metric) for metric in METRICS]
            table.add_row(str(k), title, *(f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in cells))
        table.add_section()
    return table


def kinds_table(rows: Sequence[dict[str, Any]], protocol: Protocol) -> Table:
    """Return the image AUROC of each kind of defect, one row each, and the number of images that show it."""
    table = Table(title="Image AUROC by kind of defect, mean over its classes, k, draws and lines in %")
    for title in ("kind", "pictures", *TITLES.values()):
        table.add_column(title, justify="left" if title == "kind" else "right")
    for kind, means in kind_means(rows).items():
        table.add_row(kind, str(images_of(kind, protocol)), *(f"{means[system]:.1f}" for system in TITLES))
    return table


def kind_means(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return for each kind of defect, sorted, each system's mean image AUROC in %, every row counted the same."""
    kinds = sorted({kind for row in rows for kind in row["kinds"]})
    return {
        kind: {
            system: float(
                np.mean([row["kinds"][kind] for row in rows if row["system"] == system and kind in row["kinds"]])
            )
            for system in TITLES
        }
        for kind in kinds
    }


def images_of(kind: str, protocol: Protocol) -> int:
    """Return how many different test images show a kind of defect."""
    folders = sum(list(DEFECT_FOLDERS[name].values()).count(kind) for name in protocol.classes)
    return folders * IMAGES_A_DEFECT * len(protocol.lines)


def health_table(rows: Sequence[dict[str, Any]], protocol: Protocol) -> Table:
    """Return for each class the number of its trainings in which each verdict on our prototypes is healthy."""
    ours = [row for row in rows if row["system"] == TEXT]
    verdicts = list(ours[0]["healthy"])
    table = Table(title="Healthy prototypes, % of each class's trainings")
    for title in ("class", *verdicts, "all four"):
        table.add_column(title, justify="left" if title == "class" else "right")
    for name in protocol.classes:
        own = [row["healthy"] for row in ours if row["class_name"] == name]
        shares = [np.mean([healthy[verdict] for healthy in own]) for verdict in verdicts]
        table.add_row(name, *(f"{100 * share:.0f}" for share in (*shares, np.mean([all(h.values()) for h in own]))))
    return table


def summary(rows: Sequence[dict[str, Any]], protocol: Protocol) -> dict[str, Any]:
    """Return mean image AUROC for each k and system.

    Under "details" are all means and standard deviations, under "kinds" means by kind of defect, under "healthy" the
    classes.
    """
    details = {
        f"k{k}": {system: {metric: spread(_of(rows, k, system), metric) for metric in METRICS} for system in TITLES}
        for k in protocol.shots
    }
    image = {k: {system: found["image_auroc"][0] for system, found in own.items()} for k, own in details.items()}
    healthy = {
        f"k{k}": {
            name: float(
                np.mean([all(row["healthy"].values()) for row in _of(rows, k, TEXT) if row["class_name"] == name])
            )
            for name in protocol.classes
        }
        for k in protocol.shots
    }
    return image | {"details": details, "kinds": kind_means(rows), "healthy": healthy}


def rows_file(protocol: Protocol, place: Place) -> Path:
    """The file of the rows of one class on one line; other code, weights or settings have a separate file."""
    asked = protocol.shots, protocol.seeds, protocol.epochs, protocol.called, protocol.weights
    digest = hashlib.sha256(f"{asked}{code_sha256(protocol.weights)}".encode()).hexdigest()[:12]
    return protocol.work / "rows" / f"{digest}_{protocol.difficulty}_{place.line}_{place.class_name}.json"


def _run_place(job: tuple[Protocol, Place]) -> None:
    protocol, place = job
    rows = list(measure_place(protocol, place, load_tiny(protocol.weights)))
    with whole_file(rows_file(protocol, place)) as temporary:
        temporary.write_text(json.dumps(rows) + "\n")


def _of(rows: Sequence[dict[str, Any]], k: int, system: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["k"], row["system"]) == (k, system)]


def _parse() -> argparse.Namespace:
    parser = demo_parser(__doc__.splitlines()[0])
    add_training_options(parser)
    parser.add_argument("--shots", type=numbers, default=(1, 2, 4), help="numbers of support images")
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2), help="each draws its own support images")
    parser.add_argument("--epochs", type=int, help="of training (default: each system's own)")
    parser.add_argument("--weights", choices=(EMBEDDED, UNCUED, RANDOM), default=EMBEDDED, help="of the tiny CLIP")
    return parser.parse_args()


if __name__ == "__main__":
    main()
