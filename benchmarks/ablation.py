"""What each part of the method is worth: every setting changed in turn, on the demo data.

python benchmarks/ablation.py [--json FILE]

15 classes, two production lines, one draw of k = 2 support images each, the embedded `tiny`; the last epoch, and no
test label anywhere but in the metrics. Every picture is encoded once for all rows.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from demo_accuracy import (
    BASELINE,
    MEMORY,
    METRICS,
    TEXT,
    TITLES,
    WORDS,
    Place,
    figures,
    in_processes,
    settings_of,
    trained,
)
from rich.console import Console
from rich.table import Table

from promptad.backbone.clip import Backbone
from promptad.backbone.loading import choose_device, load_backbone
from promptad.data.demo import DEMO_CLASSES, DIFFICULTIES, make_demo_class
from promptad.data.layouts import read_class
from promptad.data.support import choose_support
from promptad.detection import Subject
from promptad.evaluation import read_test_split
from promptad.files import whole_file
from promptad.fitting import encode_support
from promptad.options import names, numbers
from promptad.records import ImageFeatures
from promptad.settings import EMBEDDED, MULTI_PROTOTYPE, SINGLE_ANCHOR, BackboneSettings, Settings

K = 2
Changes = Mapping[str, Mapping[str, Any]]  # part of the settings, then the setting
VARIANTS: dict[str, Changes] = {
    "as it is": {},
    "without the contrastive loss": {"weights": {"contrastive": 0.0}},
    "without the margin loss": {"weights": {"margin": 0.0}},
    "without the balance loss": {"weights": {"balance": 0.0}},
    "without the steadiness loss": {"weights": {"steadiness": 0.0}},
    "without the repulsion loss": {"weights": {"repulsion": 0.0}},
    "without the closeness loss": {"weights": {"closeness": 0.0}},
    "with the matching loss": {"weights": {"matching": 1.0}},
    "with the grouping loss": {"weights": {"grouping": 1.0}},
    "random starts": {"prompts": {"start": "random"}},
    "1 normal prototype": {"prompts": {"n_pro": 1}},
    "5 normal prototypes": {"prompts": {"n_pro": 5}},
    "4 abnormal prototypes": {"prompts": {"n_pro_ab": 4}},
    "8 abnormal prototypes": {"prompts": {"n_pro_ab": 8}},
    "contexts of 2 vectors": {"prompts": {"n_ctx": 2}},
    "contexts of 8 vectors": {"prompts": {"n_ctx": 8}},
    "10 epochs": {"training": {"epochs": 10}},
    "30 epochs": {"training": {"epochs": 30}},
    "300 epochs": {"training": {"epochs": 300}},
    "8 views": {"training": {"views": 8}},
    "calibrated place by place": {"scoring": {"calibration": "position"}},
    "not calibrated": {"scoring": {"calibration": "none"}},
    "score of the class token": {"scoring": {"image_score": "class-token"}},
    "score of the patches": {"scoring": {"image_score": "patches"}},
}
SYSTEMS = {TEXT: "", MEMORY: " + memory"}


@dataclass(frozen=True)
class Protocol:
    """What is run."""

    classes: tuple[str, ...]
    lines: tuple[int, ...]
    seeds: tuple[int, ...]
    variants: tuple[str, ...]
    difficulty: str
    called: str | None  # what every class is called in the prompts; None: by its name
    work: Path


def main() -> None:
    """Run every variant; print and, if asked, write the table."""
    options, started = _parse(), time.monotonic()
    protocol = Protocol(**{name: value for name, value in vars(options).items() if name not in ("json", "processes")})
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    places = [Place(line, name) for line in protocol.lines for name in protocol.classes]
    jobs = [(protocol, place) for place in places]
    rows = list(chain.from_iterable(in_processes(_run, jobs, options.processes, console)))
    minutes = (time.monotonic() - started) / 60
    console.print(ablation_table(rows))
    console.print(f"{len(places)} classes and lines in {minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps({"rows": rows, "minutes": minutes}) + "\n")


def measure_place(protocol: Protocol, place: Place, backbone: Backbone) -> Iterator[dict[str, Any]]:
    """Train and measure every variant and draw of one class on one line; yield a row each."""
    root = protocol.work / f"{protocol.difficulty}_line_{place.line}"
    make_demo_class(root, place.class_name, line=place.line, difficulty=protocol.difficulty)
    pictures = read_class("demo", root, place.class_name)
    split = read_test_split(backbone, pictures.test, Settings().scoring.resolution, batch_size=32, taps=True)
    for seed in protocol.seeds:
        chosen = choose_support(pictures.normal, K, seed)
        subject = Subject("demo", protocol.called or place.class_name, tuple(path.name for path in chosen), "")

        @cache
        def support(views: int, system: str, seed: int = seed, chosen: tuple[Path, ...] = chosen) -> ImageFeatures:
            plain = settings_of(system, seed, None)
            return encode_support(backbone, chosen, replace(plain, training=replace(plain.training, views=views)))

        for title, settings in settings_of_variants(protocol.variants, seed):
            known = support(settings.training.views, settings.system)
            for system, detector in trained(backbone, subject, known, settings):
                if system == WORDS and title != "as it is":
                    continue
                name = title + SYSTEMS[system] if system in SYSTEMS else TITLES[system]
                yield {"variant": name, "seed": seed, **vars(place), **figures(detector, split)}


def settings_of_variants(variants: Sequence[str], seed: int) -> Iterator[tuple[str, Settings]]:
    """Yield each variant's title and settings, and the baseline's."""
    for title in variants:
        settings = settings_of(MULTI_PROTOTYPE, seed, None)
        yield title, changed(settings, VARIANTS[title])
    yield TITLES[BASELINE], settings_of(SINGLE_ANCHOR, seed, None)


def changed(settings: Settings, changes: Changes) -> Settings:
    """Return settings with some of them changed."""
    weights = replace(settings.training.weights, **changes.get("weights", {}))
    return replace(
        settings,
        prompts=replace(settings.prompts, **changes.get("prompts", {})),
        training=replace(settings.training, weights=weights, **{"k_shot": K} | dict(changes.get("training", {}))),
        scoring=replace(settings.scoring, **changes.get("scoring", {})),
    )


def ablation_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return means over classes ± deviation over lines and draws, and the share of healthy trainings, in %."""
    table = Table(title="Mean over classes in % ± deviation over lines and draws")
    for title in ("variant", *METRICS.values(), "healthy"):
        table.add_column(title, justify="left" if title == "variant" else "right")
    for variant in dict.fromkeys(row["variant"] for row in sorted(rows, key=_order)):
        own = [row for row in rows if row["variant"] == variant]
        health = [all(row["healthy"].values()) for row in own if row["healthy"]]
        cells = [_spread(own, metric) for metric in METRICS]
        table.add_row(variant, *cells, f"{100 * np.mean(health):.0f}" if health else "")
    return table


def _order(row: dict[str, Any]) -> int:
    titles = [title + end for title in VARIANTS for end in SYSTEMS.values()]
    return titles.index(row["variant"]) if row["variant"] in titles else -1


def _spread(rows: Sequence[dict[str, Any]], metric: str) -> str:
    runs: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        runs.setdefault((row["line"], row["seed"]), []).append(row[metric])
    means = [np.mean(values) for values in runs.values()]
    return f"{np.mean(means):.1f}" + (f" ± {np.std(means, ddof=1):.1f}" if len(means) > 1 else "")


def _run(job: tuple[Protocol, Place]) -> list[dict[str, Any]]:
    protocol, place = job
    device, _ = choose_device(None)
    return list(measure_place(protocol, place, load_backbone(BackboneSettings(name=EMBEDDED), device)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=names, default=DEMO_CLASSES, help="by commas (default: MVTec AD's fifteen)")
    parser.add_argument("--lines", type=numbers, default=(200, 201), help="production lines")
    parser.add_argument("--seeds", type=numbers, default=(0,), help="each draws its own support images")
    parser.add_argument("--variants", type=names, default=tuple(VARIANTS), help="by commas (default: all)")
    parser.add_argument("--difficulty", choices=DIFFICULTIES, default="normal")
    parser.add_argument("--called", help="what to call every class in the prompts, such as part (default: its name)")
    parser.add_argument("--work", type=Path, default=Path("result") / "demo_accuracy", help="for pictures")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count(), help="of one thread each")
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
