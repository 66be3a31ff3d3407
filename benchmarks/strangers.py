"""Does a detector pass what is not its part at all? Frames of one colour, noise, and a bed's other parts.

python benchmarks/strangers.py [--beds told,unseen] [--real DIR] [--json FILE]

Each class of a bed is trained at k = 2 (`--shots` takes others), with and without a memory bank, default settings; 8
good test images of each other class of the bed are asked, and 8 of its own beside them.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from beds import LINES, BedClass, add_beds, beds_of
from demo_bed import in_processes, settings_of
from false_alarms import trained
from PIL import Image
from rich.console import Console
from rich.table import Table

from promptad.backbones.clip import Backbone
from promptad.cli.values import numbers
from promptad.data.few_shot import choose_support
from promptad.features import ImageFeatures
from promptad.models.support import encode_support, with_bit_depth
from promptad.settings import MULTI_PROTOTYPE
from promptad.structures import GOOD
from promptad.utils.files import whole_file

ASKED = 8  # good test images of a class
COLOURS = ("white", "black", "grey", "firebrick", "navy", "gold")
KINDS = {"frames": "frames", "others": "other parts", "own": "own part, good"}


def main() -> None:
    """Train, ask and count; print and, if requested, write the shares."""
    options, started = _parse(), time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    jobs = [(own, bed, options.shots, options.seeds) for bed in beds_of(options) for own in bed]
    rows = [row for found in in_processes(run, jobs, options.processes, console) for row in found]
    console.print(strangers_table(rows))
    minutes = (time.monotonic() - started) / 60
    console.print(f"{minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps({"rows": rows, "minutes": minutes}, indent=2) + "\n")


def run(job: tuple[BedClass, Sequence[BedClass], Sequence[int], Sequence[int]]) -> list[dict[str, Any]]:
    """Return a row for each draw, k and memory of one class: the shares that it passes as good, and finds unlike it."""
    own, bed, shots, seeds = job
    backbone, images, rows = own.backbone(), own.images(), []
    asked = {
        "frames": backbone.encode_images(frames(), 32, layers=True),
        "others": ImageFeatures.joined([good_images(backbone, other) for other in bed if other != own]),
        "own": good_images(backbone, own),
    }
    for seed in seeds:
        for k in shots:
            chosen = choose_support(images.normal, k, seed)
            plain = with_bit_depth(settings_of(MULTI_PROTOTYPE, seed, None), chosen)
            settings = replace(plain, training=replace(plain.training, k_shot=k))
            support = encode_support(backbone, chosen, settings)
            for detector in trained(backbone, own.called, support, settings):
                row = {"bed": own.bed, **vars(own.place), "seed": seed, "k": k}
                row["memory"] = detector.head.memory is not None
                for kind, features in asked.items():
                    scores = detector.score(features if row["memory"] else replace(features, layers=()))
                    assert scores.lack is not None
                    passed = np.array(detector.to_prediction(scores).label) == GOOD
                    row |= {kind: float(passed.mean()), f"{kind}_unlike": float((scores.lack > 1).float().mean())}
                rows.append(row)
    return rows


def frames() -> list[Image.Image]:
    """Return an image of each colour throughout, and one of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    return [*(Image.new("RGB", (112, 112), colour) for colour in COLOURS), Image.fromarray(noise)]


def good_images(backbone: Backbone, own: BedClass) -> ImageFeatures:
    """Return the features of the first good test images of a class."""
    good = [image.path for image in own.images().test if not image.is_anomalous][:ASKED]
    return backbone.encode_images(good, 32, layers=True)


def strangers_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return for each bed, k and memory the shares in % that are passed as good, and that are found unlike the part."""
    table = Table(title="Passed as good (found unlike the part), in %")
    for title in ("bed", "k", "memory", *KINDS.values()):
        table.add_column(title, justify="left" if title == "bed" else "right")
    for (bed, k, memory), own in _grouped(rows):
        shares = [
            f"{100 * np.mean([row[kind] for row in own]):.1f}"
            f" ({100 * np.mean([row[f'{kind}_unlike'] for row in own]):.0f})"
            for kind in KINDS
        ]
        table.add_row(bed, str(k), "yes" if memory else "no", *shares)
    return table


def _grouped(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[tuple[str, int, bool], list[dict[str, Any]]]]:
    for key in dict.fromkeys((row["bed"], row["k"], row["memory"]) for row in rows):
        yield key, [row for row in rows if (row["bed"], row["k"], row["memory"]) == key]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shots", type=numbers, default=(2,), help="numbers of support images")
    add_beds(parser, LINES["reporting"][:1], "strangers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
