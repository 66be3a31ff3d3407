"""How accurate both systems are on images that nobody here drew, beside controls that need no words or no training.

python benchmarks/real_images.py --data-root DIR [--classes a,b] [--shots 1,2,4] [--seeds 0-2] [--tiles 1x1] [--json F]

DIR holds classes in MVTec AD's layout, with or without masks; a folder's name, with spaces, is the part's name. Test
labels are used by the metrics only. With tiles there are no controls. Features are stored in --work, and so are
finished classes: a second start goes on from there.
"""

import argparse
import hashlib
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import demo_bed
import numpy as np
from controls import memory_alone, nearest_layers, nearest_pixels, nearest_tokens, with_memory
from demo_bed import (
    EMBEDDED,
    RANDOM,
    UNCUED,
    add_processes,
    code_sha256,
    in_processes,
    load_tiny,
    settings_of,
)
from rich.console import Console
from rich.table import Table

from promptad.backbones.clip import Backbone
from promptad.backbones.feature_cache import FeatureCache
from promptad.cli.values import names, numbers, tiles
from promptad.data.datasets import class_names, read_class
from promptad.data.few_shot import choose_support
from promptad.data.fingerprints import files_sha256
from promptad.data.reading import Reading
from promptad.evaluation.evaluator import TestSplit, read_test_split
from promptad.evaluation.metrics import average_precision, image_auroc
from promptad.features import ImageFeatures
from promptad.models.base import Subject, TrainTask
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.registry import train
from promptad.models.support import encode_support, with_bit_depth, with_tiles
from promptad.settings import MULTI_PROTOTYPE, SINGLE_ANCHOR, Settings
from promptad.structures import SCORE_THRESHOLD, ClassDataset, Prediction
from promptad.utils.files import whole_file

SYSTEMS = {
    "words": "starting words",
    "text": "ours, text alone",
    "memory": "our memory alone",
    "both": "ours + memory",
    "baseline_text": "baseline, text alone",
    "baseline": "baseline + memory",
    "nn_layers": "nearest neighbour, layers",
    "nn_tokens": "nearest neighbour, patch tokens",
    "pixels": "nearest neighbour, 32 x 32 pixels",
}
METRICS = {
    "image_auroc": "I-AUROC",
    "image_ap": "I-AP",
    "false_alarms": "false alarms",
    "misses": "misses",
    "pixel_auroc": "P-AUROC",
    "aupro": "AUPRO",
}
CACHE_BYTES = 20e9


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The protocol of a run."""

    data_root: Path
    classes: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    weights: str  # of the tiny architecture
    tiles: tuple[int, int] | None  # rows and columns; None: as suits the images
    work: Path


def main() -> None:
    """Run what is not finished yet; print and, if requested, write the summary."""
    options, started = _parse(), time.monotonic()
    console = Console(highlight=False)
    classes = options.classes or class_names("folder", options.data_root)
    plain = {name: value for name, value in vars(options).items() if name not in ("json", "processes", "classes")}
    protocol = Protocol(**plain, classes=classes)
    rows = run(protocol, options.processes, console)
    minutes = (time.monotonic() - started) / 60
    for k in protocol.shots:
        console.print(systems_table(rows, k))
        console.print(classes_table(rows, k))
    console.print(f"{len(classes)} classes in {minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps(summary(rows) | {"minutes": minutes}, indent=2) + "\n")


def run(protocol: Protocol, processes: int, console: Console) -> list[dict[str, Any]]:
    """Measure the classes that are not finished yet, and return the rows of all."""
    jobs = [(protocol, name) for name in protocol.classes if not rows_file(protocol, name).exists()]
    deque(in_processes(_run_class, jobs, processes, console, "classes"), maxlen=0)
    return [row for name in protocol.classes for row in json.loads(rows_file(protocol, name).read_text())]


def measure_class(protocol: Protocol, images: ClassDataset, backbone: Backbone) -> Iterator[dict[str, Any]]:
    """Train and measure every system and control, k and draw of one class; yield a row each."""
    paths = [image.path for image in images.test]
    splits: dict[Reading, TestSplit] = {}
    for seed in protocol.seeds:
        for k in protocol.shots:
            chosen = choose_support(images.normal, k, seed)
            for name, prediction, split in _predictions(protocol, images, chosen, seed, backbone, splits):
                yield {"class": images.class_name, "k": k, "seed": seed, "system": name} | figures(prediction, split)
            reading, split = next(iter(splits.items()))
            if reading.tiles.count > 1:
                continue
            prediction = nearest_pixels(chosen, paths, reading.bit_depth, Settings().scoring)
            yield {"class": images.class_name, "k": k, "seed": seed, "system": "pixels"} | figures(prediction, split)


def _predictions(
    protocol: Protocol,
    images: ClassDataset,
    chosen: Sequence[Path],
    seed: int,
    backbone: Backbone,
    splits: dict[Reading, TestSplit],
) -> Iterator[tuple[str, Prediction, TestSplit]]:
    """Yield what every system that is made of features says of the test images, by its name."""
    for system in (SINGLE_ANCHOR, MULTI_PROTOTYPE):
        plain = with_bit_depth(settings_of(system, seed, None), chosen)
        plain = replace(plain, picture=replace(plain.picture, tiles=protocol.tiles))
        plain = with_tiles(plain, chosen, backbone.image_encoder.image_size)
        settings = replace(plain, training=replace(plain.training, k_shot=len(chosen)))
        reading = Reading.of(settings)
        if reading not in splits:
            splits[reading] = read_test_split(
                backbone, images.test, settings.scoring.resolution, 32, reading, layers=True
            )
        split = splits[reading]
        support = encode_support(backbone, chosen, settings)
        subject = Subject("folder", images.class_name, tuple(path.name for path in chosen), "")
        task = TrainTask(subject, support, settings)
        if system == MULTI_PROTOTYPE:
            yield from ((*found, split) for found in _ours(backbone, task, split.features))
            continue
        yield from ((*found, split) for found in _baseline(backbone, task, split.features))
        if reading.tiles.count > 1:
            continue
        yield "nn_layers", nearest_layers(support.views, split.features, settings.scoring), split
        yield "nn_tokens", nearest_tokens(support.views, split.features, settings.scoring), split


def _ours(backbone: Backbone, task: TrainTask, test: ImageFeatures) -> Iterator[tuple[str, Prediction]]:
    """Train once; yield the predictions of the starting words, of both terms, and of each alone."""
    states = [of_one for (of_one,) in train(backbone, [task])]
    start, last = states[0], states[-1]
    assert isinstance(last.detector, MultiPrototypeDetector)
    known = last.detector.add_memory_distances(test)
    assert isinstance(start.detector, MultiPrototypeDetector)
    detectors = {
        "words": with_memory(start.detector, None),
        "text": with_memory(last.detector, None),
        "memory": memory_alone(last.detector),
        "both": last.detector,
    }
    for name, ranking in detectors.items():
        detector = last.set_thresholds(ranking)
        yield name, detector.to_prediction(detector.score(known))


def _baseline(backbone: Backbone, task: TrainTask, test: ImageFeatures) -> Iterator[tuple[str, Prediction]]:
    ((last,),) = deque(train(backbone, [task]), maxlen=1)
    known, scoring = last.detector.add_memory_distances(test), task.settings.scoring
    yield "baseline", last.detector.to_prediction(last.detector.score(known))
    plain = replace(task.settings, scoring=replace(scoring, memory=False))
    text = replace(last.detector, settings=plain)  # type: ignore[type-var]  # a dataclass, as every detector is
    yield "baseline_text", text.to_prediction(text.score(replace(test, layers=(), distances=None)))


def figures(prediction: Prediction, split: TestSplit) -> dict[str, float | None]:
    """Return the metrics in %; None where there are no masks or, as for the baseline, no threshold."""
    labels, decided = split.labels, prediction.threshold is not None
    rejected = prediction.score > SCORE_THRESHOLD
    pixels = None if split.masks is None else split.pixel_metrics(prediction.anomaly_map)
    found = {
        "image_auroc": image_auroc(prediction.score, labels),
        "image_ap": average_precision(prediction.score, labels),
        "false_alarms": float(rejected[~labels].mean()) if decided else None,
        "misses": float((~rejected[labels]).mean()) if decided else None,
        "pixel_auroc": None if pixels is None else pixels.auroc,
        "aupro": None if pixels is None else pixels.aupro,
    }
    return {name: None if value is None else 100 * value for name, value in found.items()}


def spread(rows: Sequence[dict[str, Any]], metric: str) -> tuple[float, float] | None:
    """Return mean and sample standard deviation, over draws, of a metric's mean over the classes that have it."""
    measured = [row for row in rows if row[metric] is not None]
    return demo_bed.spread(measured, metric) if measured else None


def class_means(rows: Sequence[dict[str, Any]], metric: str) -> dict[str, float]:
    """Return a metric's mean over draws for each class that has it."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row[metric] is not None:
            found.setdefault(row["class"], []).append(row[metric])
    return {name: float(np.mean(values)) for name, values in found.items()}


def systems_table(rows: Sequence[dict[str, Any]], k: int) -> Table:
    """Return the means over classes ± their deviation over draws, and the worst class of what is decided."""
    table = Table(title=f"Real images, k = {k}, mean over classes in % ± deviation over draws; (worst class)")
    for title in ("system", *METRICS.values()):
        table.add_column(title, justify="left" if title == "system" else "right")
    for system, title in SYSTEMS.items():
        cells = []
        for metric in METRICS:
            own = _of(rows, k, system)
            found = spread(own, metric)
            worst = max(class_means(own, metric).values(), default=0.0)
            decided = f" ({worst:.0f})" if metric in ("false_alarms", "misses") else ""
            cells.append("" if found is None else f"{found[0]:.1f} ± {found[1]:.1f}{decided}")
        table.add_row(title, *cells)
    return table


def classes_table(rows: Sequence[dict[str, Any]], k: int) -> Table:
    """Return each class's image AUROC, mean over draws in %."""
    table = Table(title=f"Image AUROC by class, k = {k}, mean over draws in %")
    classes = list(dict.fromkeys(row["class"] for row in rows))
    for title in ("system", *classes):
        table.add_column(title, justify="left" if title == "system" else "right")
    for system, title in SYSTEMS.items():
        means = class_means(_of(rows, k, system), "image_auroc")
        if not means:
            continue
        table.add_row(title, *(f"{means[name]:.1f}" for name in classes))
    return table


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the image AUROC of each k and system, mean and by class; "details" has all metrics, mean and deviation."""
    shots = sorted({row["k"] for row in rows})
    image: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for k in shots:
        image[f"k{k}"], details[f"k{k}"] = {}, {}
        for system in SYSTEMS:
            own = _of(rows, k, system)
            if not own:
                continue
            classes = class_means(own, "image_auroc")
            image[f"k{k}"][system] = {"mean": float(np.mean(list(classes.values()))), "classes": classes}
            details[f"k{k}"][system] = {metric: spread(own, metric) for metric in METRICS}
            details[f"k{k}"][system]["classes"] = {metric: class_means(own, metric) for metric in METRICS}
    return image | {"details": details}


def rows_file(protocol: Protocol, class_name: str) -> Path:
    """The file of the rows of one class; other code, images or settings have a separate file."""
    images = read_class("folder", protocol.data_root, class_name)
    asked = (
        protocol.shots,
        protocol.seeds,
        protocol.weights,
        protocol.tiles,
        code_sha256(protocol.weights),
        [path.name for path in images.normal],
    )
    digest = hashlib.sha256(f"{asked}{files_sha256(images.test)}".encode())
    return protocol.work / "rows" / f"{digest.hexdigest()[:12]}_{class_name}.json"


def _run_class(job: tuple[Protocol, str]) -> None:
    protocol, name = job
    cache = FeatureCache(protocol.work / "features", CACHE_BYTES)
    backbone = replace(load_tiny(protocol.weights), cache=cache)
    rows = list(measure_class(protocol, read_class("folder", protocol.data_root, name), backbone))
    with whole_file(rows_file(protocol, name)) as temporary:
        temporary.write_text(json.dumps(rows) + "\n")


def _of(rows: Sequence[dict[str, Any]], k: int, system: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["k"], row["system"]) == (k, system)]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder of classes in MVTec AD's layout")
    parser.add_argument("--classes", type=names, help="by commas (default: all)")
    parser.add_argument("--shots", type=numbers, default=(1, 2, 4), help="numbers of support images")
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2), help="each draws its own support images")
    parser.add_argument("--weights", choices=(EMBEDDED, UNCUED, RANDOM), default=EMBEDDED, help="of the tiny CLIP")
    parser.add_argument("--tiles", type=tiles, default=(1, 1), help="rows x columns, or auto (default: 1x1)")
    parser.add_argument("--work", type=Path, default=Path("result") / "real_images", help="for features and rows")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    add_processes(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
