"""Both systems on all beds, in one matrix: the page on which a method is chosen, and then reported.

python benchmarks/beds.py [--real DIR] [--draws choosing] [--json FILE]

k = 2. Choices are made on `--draws choosing`, whose production lines and support images are others than those of the
default, `reporting`: what is reported never chose anything. Finished classes are stored in --work, and a second start
goes on from there.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import demo_accuracy
import demo_bed
import real_images
from demo_bed import (
    ANCHORS,
    BASELINE,
    BOTH,
    EMBEDDED,
    MEMORY,
    RANDOM,
    TEXT,
    UNCUED,
    WORDS,
    Place,
    add_processes,
    draw_place,
    load_tiny,
)
from real_images import spread
from rich.console import Console
from rich.table import Table

from promptad.backbones.clip import Backbone
from promptad.cli.values import names, numbers
from promptad.data.datasets import class_names, read_class
from promptad.data.demo import DEMO_CLASSES, HELD_OUT_CLASSES
from promptad.structures import ClassDataset
from promptad.utils.files import whole_file

SHOTS = (2,)
LINES = {"reporting": (200, 201), "choosing": (210, 211)}
SEEDS = {"reporting": (0, 1, 2), "choosing": (10, 11, 12)}
DEMO_BEDS: dict[str, dict[str, Any]] = {  # what is special about each; a bed of 15 classes has the first seed alone
    "told": {},
    "part": {"called": "part"},
    "unseen": {"classes": HELD_OUT_CLASSES},
    "uncued": {"weights": UNCUED},
    "random": {"weights": RANDOM},
}
REAL = "real"
KEYS = {WORDS: "words", TEXT: "text", MEMORY: "memory", BOTH: "both", ANCHORS: "baseline_text", BASELINE: "baseline"}
METRICS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AUPRO"}


@dataclass(frozen=True)
class BedClass:
    """One class on one bed: its images, its backbone, and what it is called in the prompts."""

    bed: str
    place: Place  # of real images only the class counts
    folder: Path  # where its images are, or are drawn

    @property
    def called(self) -> str:
        """Its name in the prompts."""
        return str(DEMO_BEDS.get(self.bed, {}).get("called", self.place.class_name))

    def images(self) -> ClassDataset:
        """Return its images; drawn ones are drawn if they do not exist yet."""
        if self.bed == REAL:
            return read_class("folder", self.folder, self.place.class_name)
        return draw_place(self.folder, "normal", self.place)

    def backbone(self) -> Backbone:
        """Load the backbone of the bed."""
        return load_tiny(DEMO_BEDS.get(self.bed, {}).get("weights", EMBEDDED))


Figures = dict[str, tuple[float, float] | None]  # of one system on one bed: mean and deviation of each metric


def main() -> None:
    """Measure what is not measured yet; print the matrices and, if requested, write them."""
    options, started = _parse(), time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    beds: dict[str, dict[str, Figures]] = {}
    for name, special in DEMO_BEDS.items():
        if name in options.beds:
            console.rule(name)
            rows = demo_accuracy.run(demo_protocol(options, **special), options.processes, console)
            beds[name] = figures(rows, KEYS)
    if options.real:
        console.rule(REAL)
        rows = real_images.run(real_protocol(options), options.processes, console)
        beds[REAL] = figures(rows, {key: key for key in KEYS.values()})
    minutes = (time.monotonic() - started) / 60
    for metric, title in METRICS.items():
        console.print(matrix(beds, metric, title))
    console.print(f"{options.draws}, {minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps(summary(beds) | {"minutes": minutes}, indent=2) + "\n")


def demo_protocol(
    options: argparse.Namespace,
    classes: tuple[str, ...] = DEMO_CLASSES,
    called: str | None = None,
    weights: str = EMBEDDED,
) -> demo_accuracy.Protocol:
    """Return the protocol of a bed of drawn classes."""
    seeds = SEEDS[options.draws]
    return demo_accuracy.Protocol(
        classes=classes,
        shots=SHOTS,
        seeds=seeds[:1] if classes == DEMO_CLASSES else seeds,
        lines=LINES[options.draws],
        difficulty="normal",
        epochs=None,
        called=called,
        weights=weights,
        work=options.work,
    )


def real_protocol(options: argparse.Namespace) -> real_images.Protocol:
    """Return the protocol of the bed of real images."""
    return real_images.Protocol(
        data_root=options.real,
        classes=class_names("folder", options.real),
        shots=SHOTS,
        seeds=SEEDS[options.draws],
        weights=EMBEDDED,
        tiles=(1, 1),
        work=options.work,
    )


def figures(rows: Sequence[dict[str, Any]], keys: Mapping[str, str]) -> dict[str, Figures]:
    """Return every metric's mean and deviation for each system, by its key."""
    return {
        key: {metric: spread([row for row in rows if row["system"] == system], metric) for metric in METRICS}
        for system, key in keys.items()
    }


def matrix(beds: Mapping[str, Mapping[str, Figures]], metric: str, title: str) -> Table:
    """Return a metric of all systems, a row each, on all beds, a column each."""
    table = Table(title=f"{title}, k = 2, mean over classes in % ± deviation over draws and lines")
    for name in ("system", *beds):
        table.add_column(name, justify="left" if name == "system" else "right")
    for system, key in KEYS.items():
        found = [own[key][metric] for own in beds.values()]
        table.add_row(demo_bed.TITLES[system], *("" if of is None else f"{of[0]:.1f} ± {of[1]:.1f}" for of in found))
    return table


def summary(beds: Mapping[str, Mapping[str, Figures]]) -> dict[str, Any]:
    """Return image AUROC in % by bed and system; "details" has mean and deviation of every metric."""
    image = {
        name: {key: figures["image_auroc"][0] for key, figures in own.items() if figures["image_auroc"] is not None}
        for name, own in beds.items()
    }
    return {"beds": image, "details": beds}


def add_beds(parser: argparse.ArgumentParser, lines: Sequence[int], work: str) -> None:
    """Add the options that `classes_of` reads: beds, production lines, and folders."""
    parser.add_argument("--real", type=Path, help="folder of real classes in MVTec AD's layout: a bed more")
    parser.add_argument("--beds", type=chosen_beds, default=tuple(DEMO_BEDS), help="of drawn classes, by commas")
    parser.add_argument("--lines", type=numbers, default=tuple(lines), help="production lines")
    parser.add_argument("--seeds", type=numbers, default=(0,), help="each draws its own support images")
    parser.add_argument("--work", type=Path, default=Path("result") / work, help="for pictures")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    add_processes(parser)


def classes_of(options: argparse.Namespace) -> list[BedClass]:
    """Return the classes of all beds that are asked for, on all lines."""
    found = []
    for bed in options.beds:
        classes = DEMO_BEDS[bed].get("classes", DEMO_CLASSES)
        found += [BedClass(bed, Place(line, name), options.work) for line in options.lines for name in classes]
    if options.real:
        found += [BedClass(REAL, Place(0, name), options.real) for name in class_names("folder", options.real)]
    return found


def beds_of(options: argparse.Namespace) -> list[tuple[BedClass, ...]]:
    """Return the classes that are asked for, those of each bed and line together."""
    return [tuple(own) for _, own in groupby(classes_of(options), lambda own: (own.bed, own.place.line))]


def chosen_beds(text: str) -> tuple[str, ...]:
    """Read names of beds of drawn classes, by commas."""
    chosen = names(text)
    if unknown := set(chosen) - DEMO_BEDS.keys():
        raise argparse.ArgumentTypeError(f"unknown beds: {', '.join(sorted(unknown))}")
    return chosen


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, help="folder of real classes in MVTec AD's layout: a bed more")
    parser.add_argument("--beds", type=chosen_beds, default=tuple(DEMO_BEDS), help="of drawn classes, by commas")
    parser.add_argument("--draws", choices=tuple(LINES), default="reporting", help="lines and support images")
    parser.add_argument("--work", type=Path, default=Path("result") / "beds", help="for images, features and rows")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    add_processes(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
