"""How well the thresholds hold: the requested false-alarm rate against the rate on normal test images.

python benchmarks/false_alarms.py [--real DIR] [--json FILE]

All beds of `beds.py`, k = 1, 2, 4, with and without a memory bank; default settings. Thresholds come from the support
images only: test labels are used for counting only. Each process needs about 1 GB.
"""

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from beds import LINES, BedClass, add_beds, classes_of
from demo_bed import in_processes, settings_of
from rich.console import Console
from rich.table import Table

from promptad.backbones.clip import Backbone
from promptad.cli.values import numbers
from promptad.data.few_shot import choose_support
from promptad.data.reading import Reading
from promptad.features import ImageFeatures, SupportFeatures
from promptad.models.base import Subject, TrainTask
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.registry import train
from promptad.models.support import encode_support, with_bit_depth
from promptad.settings import MULTI_PROTOTYPE, Settings
from promptad.structures import ClassDataset
from promptad.utils.files import whole_file

RATES = (0.01, 0.05, 0.1)
FIGURES = {
    "false_alarms": "false alarms",
    "misses": "misses",
    "map_false_alarms": "good with a region",
    "map_misses": "defective without one",
}


def main() -> None:
    """Train, predict and count; print and, if requested, write the shares."""
    options, started = _parse(), time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    jobs = [(own, options.shots, options.seeds) for own in classes_of(options)]
    rows = list(chain.from_iterable(in_processes(run, jobs, options.processes, console)))
    for bed in dict.fromkeys(row["bed"] for row in rows):
        console.print(rates_table([row for row in rows if row["bed"] == bed], options.shots, bed))
    minutes = (time.monotonic() - started) / 60
    console.print(f"{len(rows) // len(RATES)} detectors in {minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps({"rows": rows, "minutes": minutes}, indent=2) + "\n")


def run(job: tuple[BedClass, Sequence[int], Sequence[int]]) -> list[dict[str, Any]]:
    """Return the rows of one class on one bed, with these shots and seeds."""
    own, shots, seeds = job
    rows = measure_class(own.backbone(), own.images(), own.called, shots, seeds)
    return [{"bed": own.bed} | row for row in rows]


def measure_class(
    backbone: Backbone, images: ClassDataset, called: str, shots: Sequence[int], seeds: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yield a row for each draw, k, memory and rate of one class, `called` so in the prompts."""
    plain = with_bit_depth(settings_of(MULTI_PROTOTYPE, 0, None), images.normal)
    test = backbone.encode_images([p.path for p in images.test], 32, Reading.of(plain), layers=True)
    labels = np.array([image.is_anomalous for image in images.test])
    for seed in seeds:
        chosen = choose_support(images.normal, max(shots), seed)
        for k in shots:
            own = replace(plain, training=replace(plain.training, k_shot=k, seed=seed))
            support = encode_support(backbone, chosen[:k], own)
            for detector in trained(backbone, called, support, own):
                memory = detector.head.memory is not None
                seen = test if memory else replace(test, layers=())
                row = {"class": images.class_name, "seed": seed, "k": k, "memory": memory}
                yield from (row | counted for counted in count(detector, seen, labels))


def trained(
    backbone: Backbone, class_name: str, support: SupportFeatures, settings: Settings
) -> Iterator[MultiPrototypeDetector]:
    """Yield the last epoch's detector with its normal scores, without and with a memory bank, after one training."""
    task = TrainTask(Subject("demo", class_name, (), ""), support, settings)
    ((last,),) = deque(train(backbone, [task]), maxlen=1)
    assert isinstance(last.detector, MultiPrototypeDetector)
    for memory in (None, last.detector.head.memory):
        detector = last.set_thresholds(replace(last.detector, head=last.detector.head.with_memory(memory)))
        assert isinstance(detector, MultiPrototypeDetector)
        yield detector


def count(detector: MultiPrototypeDetector, test: ImageFeatures, labels: np.ndarray) -> Iterator[dict[str, float]]:
    """Yield for each rate the shares of false alarms and misses; `labels` [N] bool, True is anomalous."""
    assert detector.normal_scores is not None
    scores = detector.score(test)
    for rate in RATES:
        prediction = detector.with_thresholds(
            detector.normal_scores, replace(detector.settings.scoring, false_alarm_rate=rate)
        ).to_prediction(scores)
        rejected, marked = prediction.score > 0.5, prediction.anomaly_map.max((1, 2)) > 0.5
        yield {
            "rate": rate,
            "false_alarms": float(rejected[~labels].mean()),
            "misses": float((~rejected[labels]).mean()),
            "map_false_alarms": float(marked[~labels].mean()),
            "map_misses": float((~marked[labels]).mean()),
        }


def rates_table(rows: Sequence[dict[str, Any]], shots: Sequence[int], bed: str) -> Table:
    """Return the means over classes, lines and draws in %, and the worst class's false alarms."""
    table = Table(title=f"{bed}: false alarms and misses in %")
    for title in ("k", "memory", "asked", *FIGURES.values(), "worst class"):
        table.add_column(title, justify="right")
    for k in shots:
        for memory in (False, True):
            for rate in RATES:
                own = [row for row in rows if (row["k"], row["memory"], row["rate"]) == (k, memory, rate)]
                means = [float(np.mean([row[name] for row in own])) for name in FIGURES]
                classes = {row["class"] for row in own}
                worst = max(np.mean([row["false_alarms"] for row in own if row["class"] == name]) for name in classes)
                cells = (f"{100 * share:.1f}" for share in (*means, float(worst)))
                table.add_row(str(k), "yes" if memory else "no", f"{100 * rate:g}", *cells)
        table.add_section()
    return table


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shots", type=numbers, default=(1, 2, 4), help="numbers of support images")
    add_beds(parser, LINES["reporting"], "false_alarms")
    return parser.parse_args()


if __name__ == "__main__":
    main()
