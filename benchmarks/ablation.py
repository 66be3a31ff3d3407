"""Ablation: the effect of each part of the method, with every setting changed in turn, on the demo data.

python benchmarks/ablation.py [--json FILE]

15 classes, two production lines, one draw of k = 2 support images each, the bundled `tiny`; the last epoch. Test
labels are used by the metrics only. Every image is encoded once for all rows.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from demo_bed import (
    BASELINE,
    BOTH,
    METRICS,
    TEXT,
    TITLES,
    WORDS,
    Place,
    add_training_options,
    demo_parser,
    draw_place,
    figures,
    in_processes,
    load_tiny,
    settings_of,
    spread,
    trained,
)
from rich.console import Console
from rich.table import Table

from promptad.backbones.clip import Backbone
from promptad.cli.values import names, numbers
from promptad.data.few_shot import choose_support
from promptad.engine.support import encode_support
from promptad.evaluation.evaluator import read_test_split
from promptad.features import SupportFeatures
from promptad.models.base import Subject
from promptad.settings import MULTI_PROTOTYPE, SINGLE_ANCHOR, Settings
from promptad.utils.files import whole_file

K = 2
Changes = Mapping[str, Mapping[str, Any]]  # part of the settings, then the setting
VARIANTS: dict[str, Changes] = {
    "as it is": {},
    "pictures teach in full": {"training": {"trust": 0.0}},
    "words trusted in full": {"training": {"trust": 1.0}},
    "without the margin loss": {"weights": {"margin": 0.0}},
    "without the balance loss": {"weights": {"balance": 0.0}},
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
    "16 views": {"training": {"views": 16}},
    "calibrated place by place": {"scoring": {"calibration": "position"}},
    "not calibrated": {"scoring": {"calibration": "none"}},
    "score of the class token": {"scoring": {"image_score": "class-token"}},
    "score of the patches": {"scoring": {"image_score": "patches"}},
    "terms summed alike": {"scoring": {"fusion": "sum"}},
    "without far views": {"scoring": {"far_views": False}},
    "places all alike": {"scoring": {"position_share": 0.0}},
}
SYSTEMS = {TEXT: "", BOTH: " + memory"}


@dataclass(frozen=True)
class Protocol:
    """The protocol of a run."""

    classes: tuple[str, ...]
    lines: tuple[int, ...]
    seeds: tuple[int, ...]
    variants: tuple[str, ...]
    difficulty: str
    called: str | None  # name of every class in the prompts; None: its own name
    work: Path


def main() -> None:
    """Run every variant; print and, if requested, write the table."""
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
    images = draw_place(protocol.work, protocol.difficulty, place)
    split = read_test_split(backbone, images.test, Settings().scoring.resolution, batch_size=32, layers=True)
    for seed in protocol.seeds:
        chosen = choose_support(images.normal, K, seed)
        subject = Subject("demo", protocol.called or place.class_name, tuple(path.name for path in chosen), "")
        support: dict[tuple[int, bool, bool], SupportFeatures] = {}  # by what is encoded of them
        for title, settings in settings_of_variants(protocol.variants, seed):
            kind = settings.support_views, settings.needs_far_views, settings.needs_disturbed
            if kind not in support:
                support[kind] = encode_support(backbone, chosen, settings)
            for system, detector in trained(backbone, subject, support[kind], settings):
                if system == WORDS and title != "as it is":
                    continue
                name = title + SYSTEMS[system] if system in SYSTEMS else TITLES[system]
                found = figures(detector, split, place.class_name)
                yield {"variant": name, "seed": seed, **vars(place), **found}


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
    """Return means over classes ± standard deviation over lines and draws, and the share of healthy trainings, in %."""
    table = Table(title="Mean over classes in % ± deviation over lines and draws")
    for title in ("variant", *METRICS.values(), "healthy"):
        table.add_column(title, justify="left" if title == "variant" else "right")
    for variant in dict.fromkeys(row["variant"] for row in sorted(rows, key=_order)):
        own = [row for row in rows if row["variant"] == variant]
        health = [all(row["healthy"].values()) for row in own if row["healthy"]]
        cells = [spread(own, metric) for metric in METRICS]
        table.add_row(
            variant,
            *(f"{mean:.1f}" + f" ± {deviation:.1f}" * (deviation > 0) for mean, deviation in cells),
            f"{100 * np.mean(health):.0f}" if health else "",
        )
    return table


def _order(row: dict[str, Any]) -> int:
    titles = [title + end for title in VARIANTS for end in SYSTEMS.values()]
    return titles.index(row["variant"]) if row["variant"] in titles else -1


def _run(job: tuple[Protocol, Place]) -> list[dict[str, Any]]:
    protocol, place = job
    return list(measure_place(protocol, place, load_tiny()))


def _parse() -> argparse.Namespace:
    parser = demo_parser(__doc__.splitlines()[0])
    add_training_options(parser)
    parser.add_argument("--seeds", type=numbers, default=(0,), help="each draws its own support images")
    parser.add_argument("--variants", type=names, default=tuple(VARIANTS), help="by commas (default: all)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
