"""Ablation: the effect of each part of the method, with every setting changed in turn, on all beds.

python benchmarks/ablation.py [--beds told,unseen] [--real DIR] [--json FILE]

All classes of a bed, one production line, one draw of k = 2 support images each; the last epoch. Test labels are used
by the metrics only. Every image is encoded once for all rows. On the bed `told` every setting is changed, on the
others those of which beds are of two minds.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
from beds import LINES, BedClass, add_beds, classes_of
from demo_bed import (
    BASELINE,
    BOTH,
    MEMORY,
    METRICS,
    TEXT,
    TITLES,
    WORDS,
    in_processes,
    seen_by,
    settings_of,
    trained,
    with_layers,
)
from real_images import spread
from rich.console import Console
from rich.table import Table

from promptad.backbones.clip import Backbone
from promptad.cli.values import names
from promptad.data.few_shot import choose_support
from promptad.data.reading import Reading
from promptad.evaluation.diagnostics import diagnose
from promptad.evaluation.evaluator import TestSplit, evaluate, read_test_split
from promptad.features import SupportFeatures
from promptad.models.base import AnomalyDetector, Subject
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.support import encode_support, with_bit_depth
from promptad.settings import MULTI_PROTOTYPE, SINGLE_ANCHOR, Settings
from promptad.structures import ClassDataset
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
    "without the reaction loss": {"weights": {"reaction": 0.0}},
    "with the matching loss": {"weights": {"matching": 1.0}},
    "with the grouping loss": {"weights": {"grouping": 1.0}},
    "random starts": {"prompts": {"start": "random"}},
    "states in normal prompts": {"prompts": {"normal_states": True}},
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
    "terms and layers alike": {"scoring": {"fusion": "sum"}},
    "nearest rows alone": {"scoring": {"memory_distances": ("nearest",)}},
    "soft distance to the bank": {"scoring": {"memory_distances": ("soft",)}},
    "refined rows alone": {"scoring": {"memory_distances": ("refined",)}},
    "subspace of the bank": {"scoring": {"memory_distances": ("subspace",)}},
    "largest patch alone": {"scoring": {"top_share": 0.0}},
    "layers of the upper half": {"backbone": {"memory_layers": (0.5, 0.75)}},
    "five layers": {"backbone": {"memory_layers": (0.17, 0.34, 0.5, 0.67, 0.84)}},
    "full turns": {"training": {"turn": 180.0}},
    "crops down to a half": {"training": {"least_crop": 0.5}},
    "without far views": {"scoring": {"far_views": False}},
    "places all alike": {"scoring": {"position_share": 0.0}},
}
EVERYWHERE = (  # rows of all beds
    "as it is",
    "pictures teach in full",
    "words trusted in full",
    "without the closeness loss",
    "without the reaction loss",
    "states in normal prompts",
    "random starts",
    "score of the class token",
    "terms and layers alike",
    "nearest rows alone",
    "soft distance to the bank",
    "refined rows alone",
    "subspace of the bank",
    "largest patch alone",
    "layers of the upper half",
    "full turns",
    "crops down to a half",
    "without far views",
    "places all alike",
)
SYSTEMS = {TEXT: "", BOTH: " + memory"}


def main() -> None:
    """Run every variant; print and, if requested, write the tables."""
    options, started = _parse(), time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    jobs = [(own, options.seeds, options.variants or variants_of(own.bed)) for own in classes_of(options)]
    rows = list(chain.from_iterable(in_processes(run, jobs, options.processes, console)))
    minutes = (time.monotonic() - started) / 60
    for bed in dict.fromkeys(row["bed"] for row in rows):
        console.print(ablation_table([row for row in rows if row["bed"] == bed], bed))
    console.print(f"{minutes:.1f} minutes")
    if options.json:
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps({"rows": rows, "minutes": minutes}) + "\n")


def variants_of(bed: str) -> tuple[str, ...]:
    """Return the variants that are measured on a bed."""
    return tuple(VARIANTS) if bed == "told" else EVERYWHERE


def run(job: tuple[BedClass, Sequence[int], Sequence[str]]) -> list[dict[str, Any]]:
    """Return a row for each variant and draw of one class on one bed, with these seeds and variants."""
    own, seeds, variants = job
    rows = measure_class(own.images(), own.called, own.backbone(), seeds, variants)
    return [{"bed": own.bed, **vars(own.place)} | row for row in rows]


def measure_class(
    images: ClassDataset, called: str, backbone: Backbone, seeds: Sequence[int], variants: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Train and measure every variant and draw of one class, `called` so in the prompts; yield a row each."""
    plain = with_bit_depth(Settings(), images.normal)

    @cache
    def seen(depths: tuple[float, ...]) -> tuple[Backbone, TestSplit]:
        own = with_layers(backbone, depths)
        return own, read_test_split(own, images.test, plain.scoring.resolution, 32, Reading.of(plain), layers=True)

    for seed in seeds:
        chosen = choose_support(images.normal, K, seed)
        subject = Subject(images.dataset, called, tuple(path.name for path in chosen), "")
        support: dict[tuple[Any, ...], SupportFeatures] = {}  # by what is encoded of them
        for title, settings in settings_of_variants(variants, seed):
            own = replace(settings, bit_depth=plain.bit_depth)
            depths, views = own.backbone.memory_layers, (own.support_views, own.training.turn, own.training.least_crop)
            kind = depths, *views, own.needs_far_views, own.needs_disturbed, own.needs_probes
            its_backbone, split = seen(depths)
            if kind not in support:
                support[kind] = encode_support(its_backbone, chosen, own)
            for system, detector in trained(its_backbone, subject, support[kind], own):
                if system in (WORDS, MEMORY) and title != "as it is":
                    continue
                name = title + SYSTEMS[system] if system in SYSTEMS else TITLES[system]
                yield {"variant": name, "seed": seed, **figures(detector, split)}


def figures(detector: AnomalyDetector, split: TestSplit) -> dict[str, Any]:
    """Return metrics in %, None without masks, and whether the prototypes are healthy, if there are any."""
    split, healthy = seen_by(detector, split), None
    if isinstance(detector, MultiPrototypeDetector):
        healthy = all(verdict["healthy"] for verdict in diagnose(detector, split.features)["verdicts"])
    evaluation, _ = evaluate(detector, split)
    found = {name: getattr(evaluation, name) for name in METRICS}
    return {name: None if value is None else 100 * value for name, value in found.items()} | {"healthy": healthy}


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
        backbone=replace(settings.backbone, **changes.get("backbone", {})),
        prompts=replace(settings.prompts, **changes.get("prompts", {})),
        training=replace(settings.training, weights=weights, **{"k_shot": K} | dict(changes.get("training", {}))),
        scoring=replace(settings.scoring, **changes.get("scoring", {})),
    )


def ablation_table(rows: Sequence[dict[str, Any]], bed: str) -> Table:
    """Return means over classes ± standard deviation over lines and draws, and the share of healthy trainings, in %."""
    table = Table(title=f"{bed}: mean over classes in % ± deviation over lines and draws")
    for title in ("variant", *METRICS.values(), "healthy"):
        table.add_column(title, justify="left" if title == "variant" else "right")
    for variant in dict.fromkeys(row["variant"] for row in sorted(rows, key=_order)):
        own = [row for row in rows if row["variant"] == variant]
        health = [row["healthy"] for row in own if row["healthy"] is not None]
        cells = [spread(own, metric) for metric in METRICS]
        table.add_row(
            variant,
            *("" if of is None else f"{of[0]:.1f}" + f" ± {of[1]:.1f}" * (of[1] > 0) for of in cells),
            f"{100 * np.mean(health):.0f}" if health else "",
        )
    return table


def _order(row: dict[str, Any]) -> int:
    titles = [title + end for title in VARIANTS for end in SYSTEMS.values()]
    return titles.index(row["variant"]) if row["variant"] in titles else -1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", type=names, default=(), help="by commas (default: all, or those of all beds)")
    add_beds(parser, LINES["reporting"][:1], "ablation")
    return parser.parse_args()


if __name__ == "__main__":
    main()
