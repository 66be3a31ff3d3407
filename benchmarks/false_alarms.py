"""How well the decision holds: the false-alarm rate that is asked for against what good test pictures show.

python benchmarks/false_alarms.py [--json FILE]

15 demo classes with 20 good and 24 or more defective test pictures each, two production lines, k = 1, 2, 4, with and
without a memory bank; default settings, the embedded `tiny`. Thresholds come from the support images alone: test labels
are only counted by.
"""

import argparse
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from demo_bed import Place, demo_parser, draw_place, load_tiny, settings_of
from rich.console import Console
from rich.table import Table

from promptad.backbone.clip import Backbone
from promptad.data.pictures import read_picture
from promptad.data.support import choose_support
from promptad.detection import Subject
from promptad.detector import Detector
from promptad.files import whole_file
from promptad.fitting import encode_support
from promptad.options import numbers
from promptad.progress import add_task, progress_bar
from promptad.records import ClassPictures, ImageFeatures
from promptad.settings import MULTI_PROTOTYPE, Settings
from promptad.systems import Pupil, learn

RATES = (0.01, 0.05, 0.1)
FIGURES = {
    "false_alarms": "false alarms",
    "misses": "misses",
    "map_false_alarms": "good with a region",
    "map_misses": "defective without one",
}


def main() -> None:
    """Train, decide and count; print and, if asked, write the shares."""
    options, started = _parse(), time.monotonic()
    console = Console(highlight=False)
    backbone = load_tiny()
    rows: list[dict[str, Any]] = []
    with progress_bar(console) as progress:
        task = add_task(progress, "classes and lines", len(options.classes) * len(options.lines))
        for line in options.lines:
            for name in options.classes:
                pictures = draw_place(options.work, options.difficulty, Place(line, name))
                rows += measure_class(backbone, pictures, options.shots, options.seeds)
                progress.update(task, advance=1, note=name)
    console.print(rates_table(rows, options.shots))
    minutes = (time.monotonic() - started) / 60
    console.print(f"{len(rows) // len(RATES)} detectors in {minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps({"rows": rows, "minutes": minutes}, indent=2) + "\n")


def measure_class(
    backbone: Backbone, pictures: ClassPictures, shots: Sequence[int], seeds: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yield a row for each draw, k, memory and rate of one class."""
    test = backbone.encode_pictures([p.path for p in pictures.test], 32, read_picture, taps=True)
    labels = np.array([picture.is_anomalous for picture in pictures.test])
    for seed in seeds:
        settings = settings_of(MULTI_PROTOTYPE, seed, None)
        chosen = choose_support(pictures.normal, max(shots), seed)
        known = encode_support(backbone, chosen, settings)
        for k in shots:
            support = known.rows(slice(0, k * settings.support_views))
            own = replace(settings, training=replace(settings.training, k_shot=k))
            for detector in trained(backbone, pictures.class_name, support, own):
                memory = detector.memory is not None
                seen = test if memory else replace(test, taps=None)
                row = {"class": pictures.class_name, "seed": seed, "k": k, "memory": memory}
                yield from (row | counted for counted in count(detector, seen, labels))


def trained(backbone: Backbone, class_name: str, support: ImageFeatures, settings: Settings) -> Iterator[Detector]:
    """Yield the last epoch's detector with its normal scores, without and with a memory bank: both learn the same."""
    pupil = Pupil(Subject("demo", class_name, (), ""), support, settings)
    ((last,),) = deque(learn(backbone, [pupil]), maxlen=1)
    assert isinstance(last.detector, Detector)
    for memory in (None, last.detector.memory):
        detector = last.decide(replace(last.detector, memory=memory))
        assert isinstance(detector, Detector)
        yield detector


def count(detector: Detector, test: ImageFeatures, labels: np.ndarray) -> Iterator[dict[str, float]]:
    """Yield for each rate the shares of good [N] pictures that are rejected and of defective ones that are not."""
    assert detector.normal_scores is not None
    scores = detector.score(test)
    for rate in RATES:
        prediction = detector.deciding(detector.normal_scores, rate).to_prediction(scores)
        rejected, marked = prediction.score > 0.5, prediction.map.max((1, 2)) > 0.5
        yield {
            "rate": rate,
            "false_alarms": float(rejected[~labels].mean()),
            "misses": float((~rejected[labels]).mean()),
            "map_false_alarms": float(marked[~labels].mean()),
            "map_misses": float((~marked[labels]).mean()),
        }


def rates_table(rows: Sequence[dict[str, Any]], shots: Sequence[int]) -> Table:
    """Return the means over classes, lines and draws in %, and the worst class's false alarms."""
    table = Table(title="False alarms and misses on the demo data, in %")
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
    parser = demo_parser(__doc__.splitlines()[0])
    parser.add_argument("--shots", type=numbers, default=(1, 2, 4), help="numbers of support images")
    parser.add_argument("--seeds", type=numbers, default=(0,), help="each draws its own support images")
    return parser.parse_args()


if __name__ == "__main__":
    main()
