"""What verdicts of an inspector teach: false alarms and misses after 0, 5, 10, 20 and 50 of them.

python benchmarks/confirm.py [--real DIR] [--beds told] [--rates 0.01] [--json FILE]

k = 2, with and without a memory bank. Pictures come in a stream, and people look at the rejected ones alone: their
verdicts are what a detector is taught, each time that a mark is reached. It is measured on other pictures. Of real
classes one half of the test split is the stream, by seed; to drawn ones, which are few, further pictures of their line
are drawn. Where the stream ends before a mark, the last detector is measured again.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from beds import LINES, REAL, SEEDS, BedClass, add_beds, classes_of
from demo_bed import Place, in_processes, settings_of
from false_alarms import trained
from rich.console import Console
from rich.table import Table

from promptad.backbones.clip import Backbone
from promptad.cli.values import shares
from promptad.data.demo import DEFECT_FOLDERS, draw_image, draw_twins, instance_seed, style_seed
from promptad.data.demo import LINES as DEMO_LINES
from promptad.data.demo.scene import PAINTERS
from promptad.data.demo.writer import visibility
from promptad.data.few_shot import choose_support
from promptad.data.images import ImageLike
from promptad.data.reading import Reading
from promptad.features import ImageFeatures
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.teaching import taught_by
from promptad.models.multi_prototype.verdicts import Verdict
from promptad.models.support import encode_support, with_bit_depth
from promptad.settings import MULTI_PROTOTYPE
from promptad.utils.files import whole_file

K, MARKS = 2, (0, 5, 10, 20, 50)
STREAM = 80  # good pictures that are drawn for it, and as many defective ones
STEP = 10  # pictures of the stream that are judged together
A_LINE = 100  # instance seeds of one line


def main() -> None:
    """Teach and measure; print and, if requested, write the shares."""
    options, started = _parse(), time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    jobs = [
        (own, seed, options.rates)
        for own in classes_of(options)
        for seed in (options.seeds if own.bed == REAL else options.seeds[:1])
    ]
    rows = list(chain.from_iterable(in_processes(run, jobs, options.processes, console)))
    for bed in dict.fromkeys(row["bed"] for row in rows):
        console.print(marks_table([row for row in rows if row["bed"] == bed], options.rates, bed))
    minutes = (time.monotonic() - started) / 60
    console.print(f"{len(rows) // len(MARKS)} detectors in {minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps({"rows": rows, "minutes": minutes}, indent=2) + "\n")


def run(job: tuple[BedClass, int, Sequence[float]]) -> list[dict[str, Any]]:
    """Return the rows of one class on one bed, with one seed and these rates."""
    own, seed, rates = job
    backbone, images = own.backbone(), own.images()
    plain = with_bit_depth(settings_of(MULTI_PROTOTYPE, seed, None), images.normal)
    settings = replace(plain, training=replace(plain.training, k_shot=K))
    support = encode_support(backbone, choose_support(images.normal, K, seed), settings)
    paths, labels = [one.path for one in images.test], np.array([one.is_anomalous for one in images.test])
    test = backbone.encode_images(paths, 32, Reading.of(settings), layers=True)
    if own.bed == REAL:
        order = np.random.default_rng(seed).permutation(len(labels))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        stream, measured = ((test.rows(torch.as_tensor(rows)), labels[rows]) for rows in (first, second))
    else:
        stream, measured = drawn_stream(backbone, own.place, seed), (test, labels)
    rows = []
    for detector in trained(backbone, own.called, support, settings):
        assert detector.normal_scores is not None
        about = {"bed": own.bed, "class": images.class_name, "seed": seed, "memory": detector.head.memory is not None}
        for rate in rates:
            scoring = replace(detector.settings.scoring, false_alarm_rate=rate)
            start = detector.with_thresholds(detector.normal_scores, scoring)
            rows += [about | {"rate": rate} | row for row in teach(start, stream, measured)]
    return rows


def teach(
    untaught: MultiPrototypeDetector,
    stream: tuple[ImageFeatures, np.ndarray],
    measured: tuple[ImageFeatures, np.ndarray],
) -> Iterator[dict[str, float]]:
    """Yield a row for each mark: features and labels [N] bool are of the stream and of what is measured."""
    (pictures, labels), detector, place = stream, untaught, 0
    verdicts: list[int] = []
    row: dict[str, float] = {}
    for mark in MARKS:
        before = len(verdicts)
        while len(verdicts) < mark and place < len(labels):
            rejected = place + np.flatnonzero(judge(detector, pictures.rows(slice(place, place + STEP))))
            verdicts += rejected[: mark - len(verdicts)].tolist()
            place = verdicts[-1] + 1 if len(verdicts) == mark else place + STEP
        if len(verdicts) > before:
            given = tuple(Verdict("", str(number), "", not labels[number]) for number in verdicts)
            detector = taught_by(untaught, given, of_detector(untaught, pictures.rows(torch.tensor(verdicts))))
        if not row or len(verdicts) > before:
            rejected = judge(detector, measured[0])
            row = {
                "false_alarms": float(rejected[~measured[1]].mean()),
                "misses": float((~rejected[measured[1]]).mean()),
            }
        yield {"mark": mark, "given": len(verdicts), "good": int((~labels[verdicts]).sum()), **row}


def judge(detector: MultiPrototypeDetector, pictures: ImageFeatures) -> np.ndarray:
    """Return which of N pictures are rejected [N] bool."""
    scores = detector.score(of_detector(detector, pictures))
    return np.asarray(~(detector.thresholds.raw_scores(scores) <= detector.thresholds.image))


def of_detector(detector: MultiPrototypeDetector, pictures: ImageFeatures) -> ImageFeatures:
    """Return features with layers for a memory bank, or without."""
    return pictures if detector.head.memory is not None else replace(pictures, layers=())


def drawn_stream(backbone: Backbone, place: Place, seed: int) -> tuple[ImageFeatures, np.ndarray]:
    """Draw good and defective parts of a line that are in no split, with instance seeds of lines that nothing uses."""
    number, kinds = list(PAINTERS).index(place.class_name), list(DEFECT_FOLDERS[place.class_name].values())
    style, unused = style_seed(place.line, number), DEMO_LINES - 10 + 2 * (place.line % 5)
    pictures: list[ImageLike] = []
    for part in range(2 * STREAM):
        instance = instance_seed(unused + part // A_LINE, number, part % A_LINE)
        if part < STREAM:
            pictures.append(draw_image(place.class_name, style_seed=style, instance_seed=instance)[0])
        else:
            pictures.append(_visible(place.class_name, style, instance, kinds[part % len(kinds)]))
    order = np.random.default_rng(seed).permutation(2 * STREAM)
    features = backbone.encode_images([pictures[part] for part in order], 32, layers=True)
    return features, order >= STREAM


def _visible(class_name: str, style: int, first: int, defect: str) -> np.ndarray:
    """Draw a defective part whose defect can be seen, or the plainest of ten tries."""
    tries = []
    for instance in range(first, first + 10):
        good, defective, mask = draw_twins(
            class_name, style_seed=style, instance_seed=instance, defect=defect, difficulty="normal"
        )
        tries.append((visibility(good, defective, mask, "normal"), defective))
        if tries[-1][0] >= 1:
            break
    return max(tries, key=lambda one: one[0])[1]


def marks_table(rows: Sequence[dict[str, Any]], rates: Sequence[float], bed: str) -> Table:
    """Return the means over classes, lines and draws in %."""
    table = Table(title=f"{bed}: false alarms and misses in % after verdicts")
    for title in ("memory", "asked", "verdicts", "given", "of them good", "false alarms", "misses", "mean of both"):
        table.add_column(title, justify="right")
    for memory in (False, True):
        for rate in rates:
            for mark in MARKS:
                own = [row for row in rows if (row["memory"], row["rate"], row["mark"]) == (memory, rate, mark)]
                means = {
                    name: float(np.mean([row[name] for row in own]))
                    for name in ("given", "good", "false_alarms", "misses")
                }
                errors = 100 * means["false_alarms"], 100 * means["misses"]
                cells = (means["given"], means["good"], *errors, sum(errors) / 2)
                table.add_row("yes" if memory else "no", f"{100 * rate:g}", str(mark), *(f"{one:.1f}" for one in cells))
            table.add_section()
    return table


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=shares, default=(0.01,), help="false-alarm rates that are asked for")
    add_beds(parser, LINES["reporting"], "confirm")
    parser.set_defaults(beds=("told",), seeds=SEEDS["reporting"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
