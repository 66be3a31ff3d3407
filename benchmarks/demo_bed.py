"""The harness of the benchmarks: classes on production lines, training of both systems, and their metrics."""

import argparse
import hashlib
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from controls import memory_alone, with_memory
from open_clip.model import CLIP
from rich.console import Console

import promptad
from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.backbones.frozen_clip import clip_of, make_backbone
from promptad.backbones.tiny_clip import load_tiny_clip, tiny_config
from promptad.cli.values import names, numbers
from promptad.data.datasets import read_class
from promptad.data.demo import DEFECT_FOLDERS, DEMO_CLASSES, DIFFICULTIES, HELD_OUT_CLASSES, make_demo_class
from promptad.evaluation.diagnostics import diagnose
from promptad.evaluation.evaluator import TestSplit, evaluate
from promptad.evaluation.metrics import image_auroc
from promptad.features import ImageFeatures, SupportFeatures
from promptad.models.base import AnomalyDetector, Subject, TrainTask
from promptad.models.memory_bank import LeftOut
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.threshold import Thresholds
from promptad.models.registry import train
from promptad.models.single_anchor.detector import SingleAnchorDetector
from promptad.settings import TINY_BACKBONE, BackboneSettings, Settings, default_settings
from promptad.structures import ClassDataset
from promptad.utils.progress import add_task, progress_bar

ANCHORS, BASELINE, WORDS, TEXT = "baseline_text", "baseline", "words", "multi"
MEMORY, BOTH = "memory", "multi_memory"
TITLES = {
    ANCHORS: "baseline, text alone",
    BASELINE: "baseline + memory",
    WORDS: "ours, unlearned",
    TEXT: "ours",
    MEMORY: "our memory alone",
    BOTH: "ours + memory",
}
EMBEDDED, UNCUED, RANDOM = "embedded", "uncued", "random"  # weights of the tiny architecture
UNCUED_FILE = Path(__file__).parent / "uncued" / "weights.safetensors"
METRICS = {
    "image_auroc": "I-AUROC",
    "image_ap": "I-AP",
    "image_f1_max": "I-F1",
    "pixel_auroc": "P-AUROC",
    "aupro": "AUPRO",
}
RANDOM_SEED = 111  # of random weights

Job = TypeVar("Job")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Place:
    """One class on one production line."""

    line: int
    class_name: str


def in_processes(
    run: Callable[[Job], Found],
    jobs: Sequence[Job],
    processes: int,
    console: Console,
    called: str = "classes and lines",
) -> Iterator[Found]:
    """Yield the result of `run` for each job, in processes of one thread each, in the order in which they end."""
    with (
        progress_bar(console) as progress,
        multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as pool,
    ):
        task = add_task(progress, called, len(jobs))
        for found in pool.imap_unordered(run, jobs):
            progress.advance(task)
            yield found


@cache
def code_sha256(weights: str) -> str:
    """Return the SHA-256 of the package and of these weights: results are kept as long as it stays the same."""
    package = Path(promptad.__file__).parent
    files = [file for suffix in ("py", "json") for file in package.rglob(f"*.{suffix}")]
    files += {EMBEDDED: list(package.rglob("*.safetensors")), UNCUED: [UNCUED_FILE]}.get(weights, [])
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def load_tiny(weights: str = EMBEDDED) -> Backbone:
    """Load the bundled backbone, or its architecture with other weights.

    `uncued` learned from captions alone; `random` is as CLIP is initialised before its training.
    """
    settings, device = BackboneSettings(name=TINY_BACKBONE), torch.device("cpu")
    if weights == EMBEDDED:
        return load_backbone(settings, device)
    if weights == UNCUED:
        side = tiny_config()["vision_cfg"]["image_size"]
        return make_backbone(load_tiny_clip(side, UNCUED_FILE), settings, device)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(RANDOM_SEED)
        clip = CLIP(**tiny_config())
    return make_backbone(clip, settings, device)


def with_layers(backbone: Backbone, depths: Sequence[float]) -> Backbone:
    """Return a backbone whose memory-bank layers are at these shares of its depth."""
    settings = replace(backbone.settings, memory_layers=tuple(depths))
    return backbone if settings == backbone.settings else make_backbone(clip_of(backbone), settings, backbone.device)


def draw_place(work: Path, difficulty: str, place: Place) -> ClassDataset:
    """Draw a class on a line, if it does not exist yet, and return its images."""
    root = work / f"{difficulty}_line_{place.line}"
    make_demo_class(root, place.class_name, line=place.line, difficulty=difficulty)
    return read_class("demo", root, place.class_name)


def trained(
    backbone: Backbone, subject: Subject, support: SupportFeatures, settings: Settings
) -> Iterator[tuple[str, AnomalyDetector]]:
    """Train a system and yield its detectors: ours is trained once, with and without a memory bank."""
    steps = train(backbone, [TrainTask(subject, support, settings)])
    (start,) = next(steps)
    (last,) = deque(chain([(start,)], steps), maxlen=1).pop()
    if not isinstance(last.detector, MultiPrototypeDetector):
        assert isinstance(last.detector, SingleAnchorDetector)
        yield (
            ANCHORS,
            replace(last.detector, settings=replace(settings, scoring=replace(settings.scoring, memory=False))),
        )
        yield BASELINE, last.detector
        return
    assert isinstance(start.detector, MultiPrototypeDetector)
    known = support.views  # with distances to the bank, if there is one, without their own image
    detectors = {WORDS: with_memory(start.detector, None), TEXT: with_memory(last.detector, None)}
    if last.detector.head.memory is not None:
        weights = last.detector.head.memory.bank.weights
        left_out = LeftOut.measured(support, settings.training.views, settings.scoring.memory_distances)
        known = left_out.added_to(support, weights).views
        detectors |= {MEMORY: memory_alone(last.detector), BOTH: last.detector}
    for name, detector in detectors.items():
        yield name, replace(detector, head=detector.head.with_thresholds(ranking_thresholds(detector, known)))


def ranking_thresholds(detector: MultiPrototypeDetector, support: ImageFeatures) -> Thresholds:
    """Return thresholds for metrics of ranks, which need none: at the most unusual view of the support images.

    All numbers in README.md are of scores that were normalised so. They matter in the last digit alone, where maps
    saturate in float32.
    """
    scores = detector.score(support)
    scale = torch.tensor(2.0)
    return Thresholds(scores.image.max(), scores.patches.quantile(0.995), scale, scale)


def figures(detector: AnomalyDetector, split: TestSplit, class_name: str) -> dict[str, Any]:
    """Return metrics in %, image AUROC by kind of defect and, if there are prototypes, which verdicts are healthy.

    The class's own name determines the kind of a folder; the detector may use another name for the class.
    """
    split = seen_by(detector, split)
    evaluation, prediction = evaluate(detector, split)
    verdicts = diagnose(detector, split.features)["verdicts"] if isinstance(detector, MultiPrototypeDetector) else []
    return {name: 100 * getattr(evaluation, name) for name in METRICS} | {
        "kinds": auroc_by_kind(prediction.score, split, class_name),
        "healthy": {verdict["name"]: verdict["healthy"] for verdict in verdicts},
    }


def seen_by(detector: AnomalyDetector, split: TestSplit) -> TestSplit:
    """Return a split with distances to the detector's memory bank, or without layers if it uses none."""
    ours = isinstance(detector, MultiPrototypeDetector)
    uses_none = detector.head.memory is None if ours else not detector.settings.scoring.memory
    if uses_none:
        return replace(split, features=replace(split.features, layers=()))
    return replace(split, features=detector.add_memory_distances(split.features))


def auroc_by_kind(scores: np.ndarray, split: TestSplit, class_name: str) -> dict[str, float]:
    """Return the image AUROC in % of all normal images against the anomalous ones of each kind, by scores [N]."""
    kinds = np.array([DEFECT_FOLDERS[class_name].get(image.defect, "") for image in split.images])
    found = {}
    for kind in sorted(set(kinds[split.labels])):
        chosen = ~split.labels | (kinds == kind)
        found[str(kind)] = 100 * image_auroc(scores[chosen], split.labels[chosen])
    return found


def settings_of(system: str, seed: int, epochs: int | None) -> Settings:
    """Return a system's default settings on `tiny`, with a memory bank."""
    plain = default_settings(system)
    training = replace(plain.training, seed=seed, epochs=plain.training.epochs if epochs is None else epochs)
    return replace(
        plain,
        backbone=BackboneSettings(name=TINY_BACKBONE),
        training=training,
        scoring=replace(plain.scoring, memory=True),
    )


def spread(rows: Sequence[dict[str, Any]], metric: str) -> tuple[float, float]:
    """Return mean and sample standard deviation, over draws and lines, of a metric's mean over classes."""
    runs: dict[tuple[int | None, int], list[float]] = {}  # real images have no line
    for row in rows:
        runs.setdefault((row.get("line"), row["seed"]), []).append(row[metric])
    means = [float(np.mean(values)) for values in runs.values()]
    return float(np.mean(means)), float(np.std(means, ddof=1)) if len(means) > 1 else 0.0


def demo_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark that runs over classes and lines of the demo."""
    parser = argparse.ArgumentParser(description=description)
    unseen = ", ".join(HELD_OUT_CLASSES)
    told = f"by commas (default: MVTec AD's fifteen; tiny was not trained on {unseen})"
    parser.add_argument("--classes", type=names, default=DEMO_CLASSES, help=told)
    parser.add_argument("--lines", type=numbers, default=(200, 201), help="production lines")
    parser.add_argument("--difficulty", choices=DIFFICULTIES, default="normal")
    parser.add_argument("--work", type=Path, default=Path("result") / "demo_accuracy", help="for pictures and rows")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    return parser


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the common options of the benchmarks that train in several processes."""
    parser.add_argument("--called", help="what to call every class in the prompts, such as part (default: its name)")
    add_processes(parser)


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add the option of every benchmark that works in several processes."""
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count(), help="of one thread each")
