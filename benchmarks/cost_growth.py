"""How the cost of training grows: seconds against classes, k, normal and abnormal prototypes, and test images.

python benchmarks/cost_growth.py [--figure FILE] [--json FILE]

From reading images to written results, without the cache of features. One number is varied at a time, the others are
the defaults; each point is the fastest of some runs. The bundled `tiny` on demo data, unless another architecture is
named, which gets random weights.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from rich.console import Console
from rich.table import Table
from train_speed import random_backbone

from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.data.datasets import read_class
from promptad.data.demo import make_demo_class
from promptad.data.few_shot import choose_support
from promptad.engine.all_classes import train_all
from promptad.engine.context import Job, RunContext
from promptad.results.paths import ResultFolder
from promptad.settings import TINY_BACKBONE, BackboneSettings, Settings
from promptad.structures import ClassDataset
from promptad.utils.files import whole_file
from promptad.utils.progress import add_task, progress_bar

CLASSES = ("carpet", "grid", "leather", "pill")  # 60 test images each
DEFAULTS = {"classes": 1, "k": 2, "normal prototypes": 3, "abnormal prototypes": 6, "test pictures": 60}
VARIED = {
    "classes": (1, 2, 4),
    "k": (1, 2, 4),
    "normal prototypes": (1, 3, 5),
    "abnormal prototypes": (4, 6, 8, 12),
    "test pictures": (15, 30, 60),
}

Seconds = Mapping[str, Mapping[int, float]]


def main() -> None:
    """Time every point; print and, if requested, draw and write."""
    options = _parse()
    console = Console(highlight=False)
    backbone = _backbone(options.architecture)
    seconds: dict[str, dict[int, float]] = {name: {} for name in VARIED}
    with tempfile.TemporaryDirectory() as temporary, progress_bar(console) as progress:
        classes = [_draw(Path(temporary), name) for name in CLASSES]
        task = add_task(progress, "points", sum(map(len, VARIED.values())) * options.repeats)
        for name, values in VARIED.items():
            for value in values:
                runs = []
                for _ in range(options.repeats):
                    runs.append(time_point(backbone, classes, DEFAULTS | {name: value}, Path(temporary) / "result"))
                    progress.advance(task)
                seconds[name][value] = min(runs)
    console.print(growth_table(seconds))
    if options.figure:
        draw_growth(seconds, options.figure)
    if options.json:
        with whole_file(options.json) as temporary_file:
            temporary_file.write_text(json.dumps(seconds, indent=2) + "\n")


def time_point(backbone: Backbone, classes: list[ClassDataset], point: Mapping[str, int], results: Path) -> float:
    """Return the seconds of a whole run."""
    plain = Settings(backbone=backbone.settings)
    settings = replace(
        plain,
        prompts=replace(plain.prompts, n_pro=point["normal prototypes"], n_pro_ab=point["abnormal prototypes"]),
        training=replace(plain.training, k_shot=point["k"]),
    )
    seed = settings.training.seed
    with tempfile.TemporaryDirectory(dir=results.parent) as folder:
        place, context = ResultFolder(Path(folder), "demo", point["k"], seed), RunContext(backbone, Console(quiet=True))
        jobs = []
        for images in classes[: point["classes"]]:
            step = len(images.test) // point["test pictures"]  # of normal and anomalous ones alike
            some = replace(images, test=images.test[::step])
            jobs.append(Job(some, settings, choose_support(some.normal, point["k"], seed), place))
        started = time.monotonic()
        train_all(jobs, context)
        return time.monotonic() - started


def growth_table(seconds: Seconds) -> Table:
    """Return the seconds, with a row for each number that was varied."""
    table = Table("varied", "seconds", title="Seconds of a whole run: what is varied, the others at their defaults")
    for name, own in seconds.items():
        table.add_row(name, "   ".join(f"{value}: {taken:.1f}" for value, taken in own.items()))
    return table


def draw_growth(seconds: Seconds, file: Path) -> None:
    """Draw a panel for each number that was varied."""
    figure, panels = plt.subplots(1, len(seconds), figsize=(3 * len(seconds), 2.8), sharey=True, layout="constrained")
    for panel, (name, own) in zip(panels, seconds.items(), strict=True):
        panel.plot(list(own), list(own.values()), marker="o", color="#1f5f8b")
        panel.set(xlabel=name, xticks=list(own), ylim=(0, None))
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("seconds")
    with whole_file(file) as temporary:
        figure.savefig(temporary, dpi=110)


def _backbone(architecture: str) -> Backbone:
    if architecture != TINY_BACKBONE:
        return random_backbone(architecture)
    return load_backbone(BackboneSettings(name=TINY_BACKBONE), torch.device("cpu"))


def _draw(folder: Path, class_name: str) -> ClassDataset:
    make_demo_class(folder, class_name)
    return read_class("demo", folder, class_name)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--architecture", default=TINY_BACKBONE, help="'tiny', or one of open_clip's with random weights"
    )
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--figure", type=Path, help="picture file to draw to")
    parser.add_argument("--json", type=Path, help="file to write the seconds to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
