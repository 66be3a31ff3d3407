"""An upper reference for the accuracy benchmark, not a detector: a linear scorer trained on test labels.

python benchmarks/supervised_probe.py [--json FILE]

How much can a linear scorer read from the features of the bundled `tiny`? A logistic regression is trained on labels
and masks of test images, which the package itself must never use: of two other production lines, or of one half of the
line's own test images, measured on the other half, both ways. It is compared with ours at its initial words, k = 2, one
draw of support images, on the whole test split.

It is not a strict bound: 4 to 16 labelled images of each kind of defect may be worth less than words, and a memory bank
reads other layers.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from demo_bed import (
    WORDS,
    Place,
    add_processes,
    demo_parser,
    draw_place,
    figures,
    in_processes,
    load_tiny,
    settings_of,
    trained,
)
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.cli.values import numbers
from promptad.data.few_shot import choose_support
from promptad.evaluation.evaluator import TestSplit, read_test_split
from promptad.evaluation.metrics import image_auroc
from promptad.evaluation.pixel_metrics import pixel_metrics
from promptad.features import ImageFeatures
from promptad.models.anomaly_map import Scores, smooth_maps, square_maps
from promptad.models.base import Subject
from promptad.models.support import encode_support
from promptad.settings import IMAGE_SCORES, MULTI_PROTOTYPE, Settings
from promptad.structures import ClassDataset
from promptad.utils.files import whole_file

K, SEED = 2, 0  # support images of ours, and their draw
LEAST_SHARE = 0.25  # of a patch that must be defective for its label
PATCH_SLACK, CLASS_SLACK = 10.0, 1.0  # scikit-learn's C: for every image's label there are 196 of patches
OTHER_LINES, OTHER_HALF = "other_lines", "other_half"
TITLES = {OTHER_LINES: "told other lines", OTHER_HALF: "told the other half", WORDS: "ours, unlearned"}
FIGURES = {"both": "I-AUROC", "class-token": "class token", "patches": "patches", "pixel": "P-AUROC"}
BY_CLASS = ("both", "pixel")  # figures that are reported class by class


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The protocol of a run."""

    classes: tuple[str, ...]
    lines: tuple[int, ...]
    probe_lines: tuple[int, ...]
    difficulty: str
    work: Path


@dataclass(frozen=True)
class Probe:
    """Two logistic regressions trained on labels: of patch tokens and of class tokens."""

    patch: LogisticRegression
    class_token: LogisticRegression


def main() -> None:
    """Train and measure, class by class; print and, if requested, write."""
    options, started = _parse(), time.monotonic()
    protocol = Protocol(**{name: value for name, value in vars(options).items() if name not in ("json", "processes")})
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    jobs = [(protocol, name) for name in protocol.classes]
    rows = list(chain.from_iterable(in_processes(_run, jobs, options.processes, console, "classes")))
    minutes = (time.monotonic() - started) / 60
    console.print(class_table(rows, protocol))
    console.print(mean_table(rows))
    console.print(f"{len(protocol.classes)} classes in {minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps({"rows": rows, "minutes": minutes}, indent=2) + "\n")


def measure_class(protocol: Protocol, class_name: str, backbone: Backbone) -> Iterator[dict[str, Any]]:
    """Yield a row for each line and scorer of one class."""
    probe = learn_probe([_read_split(protocol, Place(line, class_name), backbone)[1] for line in protocol.probe_lines])
    for line in protocol.lines:
        images, split = _read_split(protocol, Place(line, class_name), backbone)
        row = {"class_name": class_name, "line": line}
        yield row | {"scorer": OTHER_LINES} | measure(probe, split)
        yield row | {"scorer": OTHER_HALF} | measure_halves(split)
        yield row | {"scorer": WORDS} | measure_words(images, split, backbone)


def learn_probe(splits: Sequence[TestSplit]) -> Probe:
    """Train a probe on the labels and masks of test splits of one class."""
    features = ImageFeatures.joined([split.features for split in splits])
    labels = np.concatenate([split.labels for split in splits])
    patches = features.patch_tokens  # [N, side², D]
    side = round(patches.shape[1] ** 0.5)
    patch_is_bad = np.concatenate([patch_labels(split, side) for split in splits])  # [N, side²]
    return Probe(
        _regression(patches.flatten(0, 1), patch_is_bad.ravel(), PATCH_SLACK),
        _regression(features.class_token, labels, CLASS_SLACK),
    )


def patch_labels(split: TestSplit, side: int) -> np.ndarray:
    """Return for each patch [N, side²] whether enough of it is defective."""
    assert split.masks is not None
    shares = F.adaptive_avg_pool2d(torch.from_numpy(split.masks).float()[:, None], side)  # [N, 1, side, side]
    return (shares.flatten(1) > LEAST_SHARE).numpy()


def score(probe: Probe, features: ImageFeatures, image_score: str = "both") -> Scores:
    """Score N images by class token plus largest patch, each divided by its std over these images, or by one alone."""
    patches = _answers(probe.patch, features.patch_tokens)  # [N, side²]
    class_token = _answers(probe.class_token, features.class_token)  # [N]
    by_class, by_patch = class_token / class_token.std(), patches.amax(1) / patches.std()
    image = {"both": by_class + by_patch, "class-token": by_class, "patches": by_patch}[image_score]
    return Scores(image, square_maps(patches))


def measure(probe: Probe, split: TestSplit) -> dict[str, float]:
    """Return the AUROCs in % of a probe on a test split."""
    assert split.masks is not None
    scores = {by: score(probe, split.features, by) for by in IMAGE_SCORES}
    maps = smooth_maps(scores["both"].patches.float(), Settings().scoring).numpy()
    found = {by: 100 * image_auroc(own.image.numpy(), split.labels) for by, own in scores.items()}
    return found | {"pixel": 100 * pixel_metrics(maps, split.masks).auroc}


def measure_halves(split: TestSplit) -> dict[str, float]:
    """Return the mean AUROCs in % of two probes, each trained on one half of a test split and measured on the other."""
    first, second = halves(split)
    ways = measure(learn_probe([first]), second), measure(learn_probe([second]), first)
    return {name: float(np.mean([found[name] for found in ways])) for name in FIGURES}


def halves(split: TestSplit) -> tuple[TestSplit, TestSplit]:
    """Return every other image of a test split, and the rest: each half has all its kinds of defects."""
    first, second = (_part(split, slice(start, None, 2)) for start in (0, 1))
    return first, second


def measure_words(images: ClassDataset, split: TestSplit, backbone: Backbone) -> dict[str, float]:
    """Return the AUROCs in % of ours at its initial words, which uses no label."""
    plain = settings_of(MULTI_PROTOTYPE, SEED, epochs=0)
    plain = replace(plain, training=replace(plain.training, k_shot=K), scoring=replace(plain.scoring, memory=False))
    chosen = choose_support(images.normal, K, SEED)
    subject = Subject("demo", images.class_name, tuple(path.name for path in chosen), "")
    support = encode_support(backbone, chosen, plain)
    found: dict[str, float] = {}
    for by in IMAGE_SCORES:
        settings = replace(plain, scoring=replace(plain.scoring, image_score=by))
        detectors = dict(trained(backbone, subject, support, settings))
        own = figures(detectors[WORDS], split, images.class_name)
        found |= {by: own["image_auroc"], "pixel": own["pixel_auroc"]}
    return found


def mean_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return each scorer's means over classes and lines in %, its image score made of both tokens or of one alone."""
    table = Table(title="Mean over classes in %: class token and patches together and alone, and maps")
    for title in ("scorer", *FIGURES.values()):
        table.add_column(title, justify="left" if title == "scorer" else "right")
    for scorer, title in TITLES.items():
        table.add_row(title, *(_mean(rows, scorer, name) for name in FIGURES))
    return table


def class_table(rows: Sequence[dict[str, Any]], protocol: Protocol) -> Table:
    """Return each class's means over lines in %, and the means over classes."""
    table = Table(title=f"Demo data, difficulty {protocol.difficulty}: linear scorers that are told test labels, in %")
    for title in ("class", *(f"{title}: {FIGURES[name]}" for title in TITLES.values() for name in BY_CLASS)):
        table.add_column(title, justify="left" if title == "class" else "right")
    for name in protocol.classes:
        table.add_row(name, *_cells([row for row in rows if row["class_name"] == name]))
    table.add_section()
    table.add_row("mean", *_cells(rows))
    return table


def _cells(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for scorer in TITLES:
        for name in BY_CLASS:
            yield _mean(rows, scorer, name)


def _mean(rows: Sequence[dict[str, Any]], scorer: str, name: str) -> str:
    return f"{np.mean([row[name] for row in rows if row['scorer'] == scorer]):.1f}"


def _regression(tokens: Tensor, labels: np.ndarray, slack: float) -> LogisticRegression:
    """Fit a logistic regression to tokens [N, D] and their labels [N]."""
    regression = LogisticRegression(C=slack, max_iter=500)
    regression.fit(tokens.numpy(), labels)
    return regression


def _answers(regression: LogisticRegression, tokens: Tensor) -> Tensor:
    """Return the log-odds [...] of tokens [..., D]."""
    answers = regression.decision_function(tokens.flatten(0, -2).numpy())
    return torch.from_numpy(answers).view(tokens.shape[:-1])


def _part(split: TestSplit, chosen: slice) -> TestSplit:
    assert split.masks is not None
    features, labels, masks = split.features.rows(chosen), split.labels[chosen], split.masks[chosen]
    return replace(split, images=split.images[chosen], features=features, labels=labels, masks=masks)


def _read_split(protocol: Protocol, place: Place, backbone: Backbone) -> tuple[ClassDataset, TestSplit]:
    images = draw_place(protocol.work, protocol.difficulty, place)
    return images, read_test_split(backbone, images.test, Settings().scoring.resolution, batch_size=32)


def _run(job: tuple[Protocol, str]) -> list[dict[str, Any]]:
    protocol, class_name = job
    return list(measure_class(protocol, class_name, load_tiny()))


def _parse() -> argparse.Namespace:
    parser = demo_parser(__doc__.splitlines()[0])
    add_processes(parser)
    parser.add_argument("--probe-lines", type=numbers, default=(202, 203), help="whose labels the probe is told")
    options = parser.parse_args()
    if shared := set(options.lines) & set(options.probe_lines):
        parser.error(f"--probe-lines {min(shared)}: is one of --lines too; a probe must not be told what it is asked")
    return options


if __name__ == "__main__":
    main()
