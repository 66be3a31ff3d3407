"""The paired differences between two systems, class by class and draw by draw: means, spreads and what they tell."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from promptad.errors import InputError
from promptad.reports.comparison.rows import MARK, Choice, SavedRow
from promptad.reports.comparison.significance import (
    Interval,
    Verdict,
    classes_interval,
    signed_rank_p,
    verdict_of,
)
from promptad.results.columns import METRIC_TITLES, METRICS, Metric
from promptad.settings import TEST_ORACLE

NOTHING = "left out, as the systems have no class and seed in common"

Values = Mapping[str, Mapping[int, float]]  # of one metric and system, by class and seed


@dataclass(frozen=True)
class Spread:
    """Numbers in percent over seeds."""

    mean: float
    deviation: float | None  # sample standard deviation; None for a single seed


@dataclass(frozen=True)
class Pair:
    """One metric of both systems over the seeds that both have."""

    baseline: Spread
    ours: Spread
    difference: Spread  # of ours less baseline, seed by seed
    seeds: tuple[int, ...]
    interval: Interval | None  # of the mean difference; None if nothing tells it
    p_value: float | None  # of a test over classes; None of a single class
    verdict: Verdict  # on ours


@dataclass(frozen=True)
class Line:
    """A class, or a mean over several: its metrics, without those that cannot be compared."""

    name: str
    pairs: Mapping[str, Pair]
    test_images: int
    marked: bool = False  # whether a result of another version is in it


@dataclass(frozen=True)
class Block:
    """All classes at one k, and their means."""

    k: int
    classes: tuple[Line, ...]
    mean: Line  # over classes, each counting the same
    image_mean: Line  # over images: each class counts by its number of test images
    notes: tuple[str, ...]  # what was left out, in words

    @property
    def lines(self) -> tuple[Line, ...]:
        """The classes, then the means."""
        return *self.classes, self.mean, self.image_mean


@dataclass(frozen=True)
class Comparison:
    """Two systems under one protocol."""

    choice: Choice
    select: str
    backbone: str
    weights: str
    pixel_level: str  # training level of the systems in the pixel metrics
    baseline_settings: str
    ours_settings: str
    measured_on: str  # how pixels were counted; empty if only older versions measured
    packages: tuple[str, ...]  # the versions of promptad that measured
    seeds: tuple[int, ...]  # all that any number is from
    blocks: tuple[Block, ...]  # by k
    notes: tuple[str, ...]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that both systems have somewhere."""
        measured = {column for block in self.blocks for line in block.lines for column in line.pairs}
        return tuple(metric for metric in METRICS if metric.column in measured)

    @property
    def test_labels_chose(self) -> bool:
        """Whether test labels chose the epoch, so that the numbers do not hold for other images."""
        return self.select == TEST_ORACLE


def compare(rows: Sequence[SavedRow], choice: Choice) -> Comparison:
    """Compare the two systems of `choice` in rows that agree in all that `comparable_rows` checks.

    Raises:
        InputError: no class was measured with both systems at the same k and seed.
    """
    level = "pixel" if any(row.level == "pixel" for row in rows) else "image"
    ks = sorted({row.k for row in rows})
    blocks = [compare_k([row for row in rows if row.k == k], choice, level) for k in ks]
    compared = tuple(block for block in blocks if block.classes)
    if not compared:
        raise InputError(
            f"{choice.baseline} and {choice.ours} have no class, k and seed in common: train both with the same"
        )
    pairs = [pair for block in compared for line in block.classes for pair in line.pairs.values()]
    return Comparison(
        choice=choice,
        select=rows[0].select,
        backbone=rows[0].backbone,
        weights=rows[0].weights,
        pixel_level=level,
        baseline_settings=settings_in_words(rows, choice.baseline),
        ours_settings=settings_in_words(rows, choice.ours),
        measured_on="; ".join(sorted({row.protocol for row in rows} - {""})),
        packages=tuple(sorted({row.package for row in rows})),
        seeds=tuple(sorted({seed for pair in pairs for seed in pair.seeds})),
        blocks=compared,
        notes=(
            *(f"k = {block.k}: {note}" for block in blocks for note in (block.notes if block.classes else (NOTHING,))),
            *notes_on_provenance(rows),
        ),
    )


def compare_k(rows: Sequence[SavedRow], choice: Choice, level: str) -> Block:
    """Compare the rows of one k; pixel metrics are taken from rows of `level`."""
    pairs: dict[str, dict[str, Pair]] = defaultdict(dict)  # by class and metric
    means, image_means = dict[str, Pair](), dict[str, Pair]()
    notes: dict[str, list[str]] = defaultdict(list)  # metrics by note
    images = {row.class_name: row.test_images for row in rows}
    for metric in METRICS:
        alike = [row for row in rows if row.level == (level if metric.of_pixels else "image")]
        ours = values_of(alike, choice.ours, metric.column)
        baseline = ours if choice.is_alone else values_of(alike, choice.baseline, metric.column)
        per_class = shared_seeds(baseline, ours)
        for name, seeds in per_class.items():
            pairs[name][metric.column] = pair_of(metric, baseline, ours, seeds, {name: 1})
        if seeds := seeds_of_all(per_class.values()):
            counts = {name: images[name] for name in per_class}
            means[metric.column] = pair_of(metric, baseline, ours, seeds, dict.fromkeys(counts, 1))
            image_means[metric.column] = pair_of(metric, baseline, ours, seeds, counts)
        for note in notes_on(baseline, ours, choice):
            notes[note].append(metric.column)
    for metric in METRICS:
        without = [name for name in sorted(pairs) if metric.column not in pairs[name]]
        if 0 < len(without) < len(pairs):
            left = f"its means are over {len(pairs) - len(without)} classes"
            notes[f"not measured of {', '.join(without)}: {left}"].append(metric.column)
    marked = {row.class_name for row in rows if row.is_of_another_version}
    classes = tuple(Line(name, pairs[name], images[name], name in marked) for name in sorted(pairs))
    total, is_marked = sum(line.test_images for line in classes), any(line.marked for line in classes)
    return Block(
        rows[0].k,
        classes,
        Line(f"mean over {len(classes)} class{'es' * (len(classes) > 1)}", means, total, is_marked),
        Line(f"mean over {total} images", image_means, total, is_marked),
        tuple(_with_metrics(note, metrics) for note, metrics in notes.items()),
    )


def values_of(rows: Iterable[SavedRow], system: str, metric: str) -> Values:
    """Return a metric of a system by class and seed."""
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        if row.system == system and metric in row.metrics:
            values[row.class_name][row.seed] = row.metrics[metric]
    return dict(values)


def shared_seeds(baseline: Values, ours: Values) -> dict[str, tuple[int, ...]]:
    """Return the seeds of each class that both systems have, without classes that have none."""
    shared = {name: tuple(sorted(baseline[name].keys() & ours[name].keys())) for name in baseline.keys() & ours.keys()}
    return {name: seeds for name, seeds in sorted(shared.items()) if seeds}


def seeds_of_all(per_class: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the seeds that every class has: a mean over classes is over the same classes for each."""
    sets = [set(seeds) for seeds in per_class]
    return tuple(sorted(set.intersection(*sets))) if sets else ()


def pair_of(metric: Metric, baseline: Values, ours: Values, seeds: tuple[int, ...], weights: Mapping[str, int]) -> Pair:
    """Pair the means over classes, which count by their weights, seed by seed.

    Of values with themselves nothing is tested.
    """
    shares = np.array(list(weights.values()), dtype=float)
    first, second = (np.array([[side[name][seed] for seed in seeds] for name in weights]) for side in (baseline, ours))
    differences = second - first  # [class, seed]
    before, now, difference = (
        spread(np.average(values, axis=0, weights=shares).tolist()) for values in (first, second, differences)
    )
    tested = ours is not baseline
    interval, p_value = (classes_interval(differences, shares), signed_rank_p(differences)) if tested else (None, None)
    return Pair(
        before,
        now,
        difference,
        seeds,
        interval,
        p_value,
        verdict_of(difference.mean, interval, p_value, metric.lower_is_better),
    )


def spread(values: Sequence[float]) -> Spread:
    """Return the mean and the sample standard deviation, which a single value does not have."""
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None)


def notes_on(baseline: Values, ours: Values, choice: Choice) -> list[str]:
    """Return notes on what one metric's columns leave out."""
    if not baseline and not ours:
        return ["not measured"]
    if not baseline or not ours:
        return [f"only {choice.ours if ours else choice.baseline} has results, left out"]
    per_class = shared_seeds(baseline, ours)
    sides = ((choice.baseline, baseline, ours), (choice.ours, ours, baseline))
    notes = [
        f"{', '.join(names)}: only {system} has results, left out"
        for system, own, other in sides
        if (names := sorted(own.keys() - other.keys()))
    ]
    if names := sorted((baseline.keys() & ours.keys()) - per_class.keys()):
        notes.append(f"{', '.join(names)}: no seed that both have, left out")
    for system, own, other in sides:
        missing_seeds: dict[str, list[str]] = defaultdict(list)
        for name in per_class:
            if missing := sorted(other[name].keys() - own[name].keys()):
                missing_seeds[", ".join(map(str, missing))].append(name)
        notes += [
            f"{', '.join(names)}: {system} lacks seed {seeds}, left out there" for seeds, names in missing_seeds.items()
        ]
    return notes + _note_on_mean(per_class)


def settings_in_words(rows: Sequence[SavedRow], system: str) -> str:
    """Return the numbers of prototypes and epochs of a system, for each level if they differ."""
    by_level = {}
    for row in sorted(rows, key=lambda row: row.level):
        if row.system == system:
            cells = zip(("n_pro", "n_pro_ab", "epochs"), row.settings, strict=True)
            by_level[row.level] = ", ".join(f"{name} {cell}" for name, cell in cells if cell)
    if len(set(by_level.values())) == 1:
        return next(iter(by_level.values()))
    return "; ".join(f"{words} ({level} level)" for level, words in by_level.items())


def notes_on_provenance(rows: Sequence[SavedRow]) -> list[str]:
    """Return notes on results of another version than this one, of several commits, and on draws that are no pairs."""
    other, notes = [row for row in rows if row.is_of_another_version], []
    if other:
        versions = ", ".join(sorted({row.package for row in other}))
        notes.append(f"{len(other)} of {len(rows)} results, marked {MARK}, are of another version: {versions}")
    if len(commits := {row.commit for row in rows if not row.is_of_another_version}) > 1:
        notes.append(f"results of several commits: {', '.join(sorted(commit or 'unknown' for commit in commits))}")
    support: dict[tuple[str, int, int], set[str]] = defaultdict(set)
    for row in rows:
        support[row.class_name, row.k, row.seed] |= {row.support} - {""}
    if unpaired := sorted({f"{name}, seed {seed}" for (name, _, seed), found in support.items() if len(found) > 1}):
        notes.append(f"learned from different support images, and so no pairs: {'; '.join(unpaired)}")
    return notes


def _note_on_mean(per_class: Mapping[str, tuple[int, ...]]) -> list[str]:
    seeds = seeds_of_all(per_class.values())
    if not per_class or all(own == seeds for own in per_class.values()):
        return []
    if not seeds:
        return ["no mean, as no seed has all classes"]
    return [f"the mean is over seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}, which all classes have"]


def _with_metrics(note: str, metrics: Sequence[str]) -> str:
    if len(metrics) == len(METRIC_TITLES):
        return note
    return f"{', '.join(METRIC_TITLES[metric] for metric in metrics)}: {note}"
