"""How accurate the systems are on the demo data: the baseline with its memory bank, and ours with and without one.

python benchmarks/demo_accuracy.py [--json FILE]

15 classes, k = 1, 2, 4, three draws of the support images, two production lines; the default settings, the last epoch
(and of ours the first, the starting words alone), no test label anywhere but in the metrics. Every picture is encoded
once. A class that is done is kept in --work, and a second start goes on from there.

Two checks on how much of this the embedded `tiny` was told: `--classes gear,brick` are parts that it was never trained
on, with a kind of defect that it never saw; with `--random-weights` neither words nor pictures mean anything to it.
"""

import argparse
import hashlib
import json
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from open_clip.model import CLIP
from rich.console import Console
from rich.table import Table

import promptad
from promptad.backbone.clip import Backbone
from promptad.backbone.embedded import embedded_config
from promptad.backbone.loading import load_backbone, make_backbone
from promptad.data.demo import DEFECT_FOLDERS, DEMO_CLASSES, DIFFICULTIES, HELD_OUT_CLASSES, make_demo_class
from promptad.data.demo.writer import PICTURES_A_DEFECT
from promptad.data.layouts import read_class
from promptad.data.support import choose_support
from promptad.detection import AnomalyDetector, Subject
from promptad.detector import Detector
from promptad.diagnostics import diagnose
from promptad.evaluation import TestSplit, evaluate, read_test_split
from promptad.files import whole_file
from promptad.fitting import encode_support
from promptad.metrics import image_auroc
from promptad.options import names, numbers
from promptad.progress import add_task, progress_bar
from promptad.records import ClassPictures, ImageFeatures
from promptad.settings import EMBEDDED, MULTI_PROTOTYPE, SINGLE_ANCHOR, BackboneSettings, Settings, default_settings
from promptad.single_anchor.detector import AnchorDetector
from promptad.systems import Pupil, learn

ANCHORS, BASELINE, WORDS, TEXT, MEMORY = "baseline_text", "baseline", "words", "multi", "multi_memory"
TITLES = {
    ANCHORS: "baseline, text alone",
    BASELINE: "baseline + memory",
    WORDS: "ours, unlearned",
    TEXT: "ours",
    MEMORY: "ours + memory",
}
METRICS = {
    "image_auroc": "I-AUROC",
    "image_ap": "I-AP",
    "image_f1_max": "I-F1",
    "pixel_auroc": "P-AUROC",
    "aupro": "P-PRO",
}
RANDOM_SEED = 111  # of random weights

Job = TypeVar("Job")
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is run."""

    classes: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    lines: tuple[int, ...]
    difficulty: str
    epochs: int | None
    called: str | None  # what every class is called in the prompts; None: by its name
    random_weights: bool  # in the place of the embedded ones
    work: Path


@dataclass(frozen=True)
class Place:
    """One class on one production line."""

    line: int
    class_name: str


def main() -> None:
    """Run what is not there yet; print and, if asked, write the summary."""
    options, started = _parse(), time.monotonic()
    protocol = Protocol(**{name: value for name, value in vars(options).items() if name not in ("json", "processes")})
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    places = [Place(line, name) for line in protocol.lines for name in protocol.classes]
    missing = [place for place in places if not rows_file(protocol, place).exists()]
    deque(in_processes(_run, [(protocol, place) for place in missing], options.processes, console), maxlen=0)
    rows = [row for place in places for row in json.loads(rows_file(protocol, place).read_text())]
    minutes = (time.monotonic() - started) / 60
    console.print(accuracy_table(rows, protocol))
    console.print(kinds_table(rows, protocol))
    console.print(health_table(rows, protocol))
    console.print(f"{len(missing)} of {len(places)} classes and lines in {minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps(summary(rows, protocol) | {"minutes": minutes}, indent=2) + "\n")


def in_processes(
    run: Callable[[Job], Found],
    jobs: Sequence[Job],
    processes: int,
    console: Console,
    called: str = "classes and lines",
) -> Iterator[Found]:
    """Yield what `run` returns of each job, in processes of one thread each, in whatever order they end."""
    with (
        progress_bar(console) as progress,
        multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as pool,
    ):
        task = add_task(progress, called, len(jobs))
        for found in pool.imap_unordered(run, jobs):
            progress.advance(task)
            yield found


def load_tiny(*, random_weights: bool = False) -> Backbone:
    """Load the embedded backbone, or build it with random weights: those that CLIP starts its training from."""
    settings, device = BackboneSettings(name=EMBEDDED), torch.device("cpu")
    if not random_weights:
        return load_backbone(settings, device)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(RANDOM_SEED)
        clip = CLIP(**embedded_config())
    return make_backbone(clip, settings, device)


def draw_place(work: Path, difficulty: str, place: Place) -> ClassPictures:
    """Draw a class on a line, if it is not there yet, and return its pictures."""
    root = work / f"{difficulty}_line_{place.line}"
    make_demo_class(root, place.class_name, line=place.line, difficulty=difficulty)
    return read_class("demo", root, place.class_name)


def measure_place(protocol: Protocol, place: Place, backbone: Backbone) -> Iterator[dict[str, Any]]:
    """Train and measure every system, k and draw of one class on one line; yield a row each."""
    pictures = draw_place(protocol.work, protocol.difficulty, place)
    split = read_test_split(backbone, pictures.test, Settings().scoring.resolution, batch_size=32, taps=True)
    for seed in protocol.seeds:
        chosen = choose_support(pictures.normal, max(protocol.shots), seed)
        for system in (SINGLE_ANCHOR, MULTI_PROTOTYPE):
            settings = settings_of(system, seed, protocol.epochs)
            known = encode_support(backbone, chosen, settings)
            for k in protocol.shots:
                own = replace(settings, training=replace(settings.training, k_shot=k))
                subject = Subject(
                    "demo", protocol.called or place.class_name, tuple(path.name for path in chosen[:k]), ""
                )
                support = known.rows(slice(0, k * settings.support_views))
                for name, detector in trained(backbone, subject, support, own):
                    found = figures(detector, split, place.class_name)
                    yield {"k": k, "seed": seed, "system": name, **vars(place), **found}


def trained(
    backbone: Backbone, subject: Subject, support: ImageFeatures, settings: Settings
) -> Iterator[tuple[str, AnomalyDetector]]:
    """Train a system and yield its detectors: ours learns the same with and without a memory bank."""
    steps = learn(backbone, [Pupil(subject, support, settings)])
    (start,) = next(steps)
    (last,) = deque(chain([(start,)], steps), maxlen=1).pop()
    if not isinstance(last.detector, Detector):
        assert isinstance(last.detector, AnchorDetector)
        yield (
            ANCHORS,
            replace(last.detector, settings=replace(settings, scoring=replace(settings.scoring, memory=False))),
        )
        yield BASELINE, last.detector
        return
    assert isinstance(start.detector, Detector)
    yield WORDS, replace(start.detector, memory=None)
    yield TEXT, replace(last.detector, memory=None)
    yield MEMORY, last.detector


def figures(detector: AnomalyDetector, split: TestSplit, class_name: str) -> dict[str, Any]:
    """Return metrics in %, image AUROC by kind of defect and, where there are prototypes, which verdicts are healthy.

    The class's own name tells what kind a folder holds; the detector may call it by another.
    """
    if not detector.settings.scoring.memory or (isinstance(detector, Detector) and detector.memory is None):
        split = replace(split, features=replace(split.features, taps=None))
    evaluation, prediction = evaluate(detector, split)
    verdicts = diagnose(detector, split.features)["verdicts"] if isinstance(detector, Detector) else []
    return {name: 100 * getattr(evaluation, name) for name in METRICS} | {
        "kinds": auroc_by_kind(prediction.score, split, class_name),
        "healthy": {verdict["name"]: verdict["healthy"] for verdict in verdicts},
    }


def auroc_by_kind(scores: np.ndarray, split: TestSplit, class_name: str) -> dict[str, float]:
    """Return the image AUROC in % of all good pictures against the defective ones of each kind, by scores [N]."""
    kinds = np.array([DEFECT_FOLDERS[class_name].get(picture.defect, "") for picture in split.pictures])
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
        backbone=BackboneSettings(name=EMBEDDED),
        training=training,
        scoring=replace(plain.scoring, memory=True),
    )


def accuracy_table(rows: Sequence[dict[str, Any]], protocol: Protocol) -> Table:
    """Return the means over classes, ± their deviation over draws and lines."""
    drawn = f"difficulty {protocol.difficulty}" + ", random weights" * protocol.random_weights
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
    """Return the image AUROC of each kind of defect, a row each, and how many pictures show it."""
    table = Table(title="Image AUROC by kind of defect, mean over its classes, k, draws and lines in %")
    for title in ("kind", "pictures", *TITLES.values()):
        table.add_column(title, justify="left" if title == "kind" else "right")
    for kind, means in kind_means(rows).items():
        table.add_row(kind, str(pictures_of(kind, protocol)), *(f"{means[system]:.1f}" for system in TITLES))
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


def pictures_of(kind: str, protocol: Protocol) -> int:
    """Return how many different test pictures show a kind of defect."""
    folders = sum(list(DEFECT_FOLDERS[name].values()).count(kind) for name in protocol.classes)
    return folders * PICTURES_A_DEFECT * len(protocol.lines)


def health_table(rows: Sequence[dict[str, Any]], protocol: Protocol) -> Table:
    """Return for each class in how many of its trainings each verdict on our prototypes is healthy."""
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


def spread(rows: Sequence[dict[str, Any]], metric: str) -> tuple[float, float]:
    """Return mean and sample deviation, over draws and lines, of a metric's mean over classes."""
    runs: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        runs.setdefault((row["line"], row["seed"]), []).append(row[metric])
    means = [float(np.mean(values)) for values in runs.values()]
    return float(np.mean(means)), float(np.std(means, ddof=1)) if len(means) > 1 else 0.0


def summary(rows: Sequence[dict[str, Any]], protocol: Protocol) -> dict[str, Any]:
    """Return mean image AUROC for each k and system.

    Under "details" are all means and deviations, under "kinds" means by kind of defect, under "healthy" the classes.
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
    """Where the rows of one class on one line are kept; other code, weights or settings have a file of their own."""
    asked = protocol.shots, protocol.seeds, protocol.epochs, protocol.called, protocol.random_weights
    digest = hashlib.sha256(repr(asked).encode())
    for file in sorted(Path(promptad.__file__).parent.rglob("*")):
        if file.suffix in (".py", ".safetensors", ".json"):
            digest.update(file.read_bytes())
    return (
        protocol.work / "rows" / f"{digest.hexdigest()[:12]}_{protocol.difficulty}_{place.line}_{place.class_name}.json"
    )


def _run(job: tuple[Protocol, Place]) -> None:
    protocol, place = job
    rows = list(measure_place(protocol, place, load_tiny(random_weights=protocol.random_weights)))
    with whole_file(rows_file(protocol, place)) as temporary:
        temporary.write_text(json.dumps(rows) + "\n")


def _of(rows: Sequence[dict[str, Any]], k: int, system: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["k"], row["system"]) == (k, system)]


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
    """Add what the benchmarks have in common that train in several processes."""
    parser.add_argument("--called", help="what to call every class in the prompts, such as part (default: its name)")
    add_processes(parser)


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add the option of every benchmark that works in several processes."""
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count(), help="of one thread each")


def _parse() -> argparse.Namespace:
    parser = demo_parser(__doc__.splitlines()[0])
    add_training_options(parser)
    parser.add_argument("--shots", type=numbers, default=(1, 2, 4), help="numbers of support images")
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2), help="each draws its own support images")
    parser.add_argument("--epochs", type=int, help="of training (default: each system's own)")
    parser.add_argument("--random-weights", action="store_true", help="in the place of the embedded ones")
    return parser.parse_args()


if __name__ == "__main__":
    main()
