"""Does a detector tell when the pictures have changed, and only then? And does it find the part among many?

python benchmarks/drift.py [--beds told,unseen] [--real DIR] [--shots 1,2,4] [--seeds 0-2] [--json FILE]

Each class of a bed is trained, default settings. Streams are drawn from its test and unused training pictures: 300 as
they are, with shares of defective ones; or 150 as they are and 150 changed, 5 % of all defective; or 50 changed ones
from the first on. The part is asked of every detector of the bed on the same production line.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from beds import LINES, REAL, BedClass, add_beds, beds_of
from demo_bed import Place, in_processes, settings_of
from false_alarms import trained
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from promptad.backbones.clip import Backbone
from promptad.cli.values import numbers
from promptad.data.few_shot import choose_support
from promptad.data.images import read_image
from promptad.data.squares import square_image
from promptad.features import ImageFeatures
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.support import encode_support, with_bit_depth
from promptad.runtime.drift import WINDOW, Drift, follow
from promptad.runtime.look import look_of
from promptad.runtime.parts import match_of
from promptad.runtime.records import PredictionRecord
from promptad.settings import MULTI_PROTOTYPE
from promptad.structures import Explanation, Look
from promptad.utils.files import whole_file

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "light x 0.7": lambda image: image.point(lambda level: int(0.7 * level + 0.5)),
    "light x 1.3": lambda image: image.point(lambda level: min(255, int(1.3 * level + 0.5))),
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(max(image.size) / 170)),
}
OTHER_LINE, OTHER_PART = "other line", "other part"
UNCHANGED = (0.0, 0.05, 0.2)  # shares of defective pictures
USUAL = 0.05  # that of a stream that changes
STREAMS, BEFORE, AFTER = 5, 150, 150  # of each kind, and their pictures
MOST = 40  # good pictures of a class that streams are drawn from, and as many defective ones


@dataclass(frozen=True)
class Pictures:
    """Features and looks of pictures."""

    features: ImageFeatures
    looks: tuple[Look, ...]


def main() -> None:
    """Train, follow and count; print and, if requested, write the shares."""
    options, started = _parse(), time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    jobs = [(own, bed, options.shots, options.seeds) for bed in beds_of(options) for own in bed]
    rows = [row for found in in_processes(run, jobs, options.processes, console) for row in found]
    which = list(recognised(rows))
    for table in (drift_table(rows), which_table(which)):
        console.print(table)
    minutes = (time.monotonic() - started) / 60
    console.print(f"{len(rows)} detectors in {minutes:.1f} minutes")
    if options.json:
        plain = [{name: value for name, value in row.items() if name != "lacks"} for row in rows]
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps({"rows": plain, "which": which, "minutes": minutes}, indent=2) + "\n")


def run(job: tuple[BedClass, Sequence[BedClass], Sequence[int], Sequence[int]]) -> list[dict[str, Any]]:
    """Return a row for each draw and k of one class: shares of streams with a line, and what pictures lack of it."""
    own, bed, shots, seeds = job
    backbone, images, rows = own.backbone(), own.images(), []
    for seed in seeds:
        chosen = choose_support(images.normal, max(shots), seed)
        for k in shots:
            plain = with_bit_depth(settings_of(MULTI_PROTOTYPE, seed, None), chosen[:k])
            scoring, training = replace(plain.scoring, memory=False), replace(plain.training, k_shot=k)
            settings = replace(plain, scoring=scoring, training=training)
            detector = next(trained(backbone, own.called, encode_support(backbone, chosen[:k], settings), settings))
            row = {"bed": own.bed, **vars(own.place), "seed": seed, "k": k}
            rows.append(row | streams_of(detector, own, bed, set(chosen), seed) | {"lacks": lacks_of(detector, bed)})
    return rows


def streams_of(
    detector: MultiPrototypeDetector, own: BedClass, bed: Sequence[BedClass], chosen: set[Path], seed: int
) -> dict[str, float]:
    """Return for each kind of stream the share that has a line where it should, or should not."""
    generator, looks = np.random.default_rng(seed), detector.looks
    pools = [judged(detector, own, kind, "", chosen) for kind in (False, True)]
    found: dict[str, float] = {}

    def drawn(count: int, share: float, of: Sequence[Sequence[PredictionRecord]]) -> list[PredictionRecord]:
        return [
            one[int(generator.integers(len(one)))] for one in (of[generator.random() < share] for _ in range(count))
        ]

    for share in UNCHANGED:
        told = [bool(follow(Drift(looks), drawn(BEFORE + AFTER, share, pools))) for _ in range(STREAMS)]
        found[f"{share:g}"] = float(np.mean(told))
    for change, changed in changes_of(detector, own, bed, chosen):
        later, at_once = [], []
        for _ in range(STREAMS):
            drift = Drift(looks)
            follow(drift, drawn(BEFORE, USUAL, pools))
            later.append(bool(follow(drift, drawn(AFTER, USUAL, changed))))
            at_once.append(bool(follow(Drift(looks), drawn(WINDOW, USUAL, changed))))
        found |= {change: float(np.mean(later)), f"{change}, at once": float(np.mean(at_once))}
    return found


def changes_of(
    detector: MultiPrototypeDetector, own: BedClass, bed: Sequence[BedClass], chosen: set[Path]
) -> Iterator[tuple[str, list[list[PredictionRecord]]]]:
    """Yield each change with the good and the defective pictures behind it."""
    for change in CHANGES:
        yield change, [judged(detector, own, kind, change, chosen) for kind in (False, True)]
    if own.bed != REAL:
        other = replace(own, place=Place(own.place.line + 1, own.place.class_name))
        yield OTHER_LINE, [judged(detector, other, kind, "") for kind in (False, True)]
    others = [one for one in bed if one != own]
    other = others[sum(map(ord, own.place.class_name)) % len(others)]
    yield OTHER_PART, [judged(detector, other, kind, "") for kind in (False, True)]


def judged(
    detector: MultiPrototypeDetector,
    own: BedClass,
    defective: bool,
    change: str,
    besides: set[Path] = frozenset(),  # type: ignore[assignment]
) -> list[PredictionRecord]:
    """Return what a detector says of the good or defective pictures of a class, but those besides."""
    paths, pictures = pictures_of(own, defective, change)
    scores = detector.score(pictures.features)
    labels = detector.to_prediction(scores).label
    distance = detector.head.distance
    assert distance is not None
    distances = distance.of(pictures.features.class_token).tolist()
    return [
        PredictionRecord(str(path), label, explanation=Explanation(1, (), None, None, None, None, far), look=look)
        for path, label, far, look in zip(paths, labels, distances, pictures.looks, strict=True)
        if path not in besides
    ]


@cache
def pictures_of(own: BedClass, defective: bool, change: str) -> tuple[list[Path], Pictures]:
    """Return the good or defective pictures of a class, changed so."""
    images, backbone = own.images(), backbone_of(own)
    known = [image.path for image in images.test if image.is_anomalous == defective]
    paths = [*known, *(() if defective else images.normal)][:MOST]
    read = [read_image(path) for path in paths]
    shown = [CHANGES[change](image) for image in read] if change else read
    looks = tuple(look_of(square_image(image, backbone.resize, backbone.resize)) for image in shown)
    return paths, Pictures(backbone.encode_images(shown, 32), looks)


@cache
def backbone_of(own: BedClass) -> Backbone:
    """Return the backbone of the bed of a class."""
    return own.backbone()


def lacks_of(detector: MultiPrototypeDetector, bed: Sequence[BedClass]) -> dict[str, list[list[float]]]:
    """Return what the good and the defective pictures of each class of a bed lack of a detector's part."""
    likeness = detector.head.likeness
    assert likeness is not None
    kinds = {
        one.place.class_name: [pictures_of(one, kind, "")[1].features.patch_tokens for kind in (False, True)]
        for one in bed
    }
    return {name: [likeness.lack(tokens).tolist() for tokens in of_both] for name, of_both in kinds.items()}


def recognised(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield for the detectors of each bed, line, draw and k the shares of pictures whose part is found."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["bed"], row["line"], row["seed"], row["k"]

    for of, same in groupby(sorted(rows, key=key), key):
        parts = {row["class_name"]: row["lacks"] for row in same}
        found = dict(zip(("bed", "line", "seed", "k"), of, strict=True))
        for number, kind in enumerate(("good", "defective")):
            matches = [
                (name, match_of(list(parts), lacks))
                for name in parts
                for lacks in np.stack([own[name][number] for own in parts.values()], 1)
            ]
            right = np.array([match.part == name for name, match in matches])
            found[kind] = float(right.mean())
            for words in ("sure", "likely", "a guess", "unlike all parts"):
                said = np.array([match.words == words for _, match in matches])
                found |= {f"{kind}, {words}": float(said.mean())}
                found |= {f"{kind}, {words}, right": float(right[said].mean()) if said.any() else 1.0}
        yield found


def drift_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return for each bed and k the shares in % of streams with a line: unchanged ones, and changed ones (at once)."""
    table = Table(title="Streams with a line, in %: later (at once)")
    columns = list(dict.fromkeys(chain.from_iterable(row for row in rows)))
    names = [name for name in columns if f"{name}, at once" in columns]
    for title in ("bed", "k", *(f"{100 * share:g} % defective" for share in UNCHANGED), *names):
        table.add_column(title, justify="left" if title == "bed" else "right")
    for bed, k in dict.fromkeys((row["bed"], row["k"]) for row in rows):
        own = [row for row in rows if (row["bed"], row["k"]) == (bed, k)]
        cells = [f"{100 * np.mean([row[f'{share:g}'] for row in own]):.1f}" for share in UNCHANGED]
        for name in names:
            later, at_once = ([row[of] for row in own if of in row] for of in (name, f"{name}, at once"))
            cells.append(f"{100 * np.mean(later):.0f} ({100 * np.mean(at_once):.0f})" if later else "")
        table.add_row(bed, str(k), *cells)
    return table


def which_table(found: Sequence[dict[str, Any]]) -> Table:
    """Return for each bed and k the shares in % of pictures whose part is found, and how often that was called sure."""
    table = Table(title="Pictures whose part is found, in %")
    kinds = "good", "defective"
    for title in ("bed", "k", *kinds, *(f"{kind}: sure (right)" for kind in kinds), "defective: unlike all"):
        table.add_column(title, justify="left" if title == "bed" else "right")
    for bed, k in dict.fromkeys((row["bed"], row["k"]) for row in found):
        own = [row for row in found if (row["bed"], row["k"]) == (bed, k)]

        def mean(name: str, own: Sequence[dict[str, Any]] = own) -> float:
            return 100 * float(np.mean([row[name] for row in own]))

        sure = [f"{mean(f'{kind}, sure'):.0f} ({mean(f'{kind}, sure, right'):.1f})" for kind in kinds]
        unlike = f"{mean('defective, unlike all parts'):.1f}"
        table.add_row(bed, str(k), *(f"{mean(kind):.1f}" for kind in kinds), *sure, unlike)
    return table


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shots", type=numbers, default=(1, 2, 4), help="numbers of support images")
    add_beds(parser, LINES["reporting"], "drift")
    return parser.parse_args()


if __name__ == "__main__":
    main()
