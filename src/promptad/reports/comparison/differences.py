"""The paired differences between two systems, seed by seed: their means and standard deviations."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from promptad.errors import InputError
from promptad.reports.comparison.rows import Choice, SavedRow
from promptad.results.table import METRIC_TITLES
from promptad.settings import TEST_ORACLE

IMAGE_METRICS = ("i_roc", "i_ap", "i_f1")  # the others are of pixels
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

    @property
    def direction(self) -> int:
        """1 where ours is better by more than the difference's standard deviation, -1 where worse, 0 otherwise."""
        mean, deviation = self.difference.mean, self.difference.deviation
        if deviation is None or abs(mean) <= deviation:
            return 0
        return 1 if mean > 0 else -1


@dataclass(frozen=True)
class Line:
    """A class, or the mean over classes: its metrics, without those that cannot be compared."""

    name: str
    pairs: Mapping[str, Pair]
    test_images: int


@dataclass(frozen=True)
class Block:
    """All classes at one k, and their mean."""

    k: int
    classes: tuple[Line, ...]
    mean: Line
    notes: tuple[str, ...]  # what was left out, in words


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
    seeds: tuple[int, ...]  # all that any number is from
    blocks: tuple[Block, ...]  # by k
    notes: tuple[str, ...]

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
        seeds=tuple(sorted({seed for pair in pairs for seed in pair.seeds})),
        blocks=compared,
        notes=tuple(
            f"k = {block.k}: {note}" for block in blocks for note in (block.notes if block.classes else (NOTHING,))
        ),
    )


def compare_k(rows: Sequence[SavedRow], choice: Choice, level: str) -> Block:
    """Compare the rows of one k; pixel metrics are taken from rows of `level`."""
    pairs: dict[str, dict[str, Pair]] = defaultdict(dict)  # by class and metric
    means: dict[str, Pair] = {}
    notes: dict[str, list[str]] = defaultdict(list)  # metrics by note
    for metric in METRIC_TITLES:
        alike = [row for row in rows if row.level == ("image" if metric in IMAGE_METRICS else level)]
        baseline, ours = (values_of(alike, system, metric) for system in (choice.baseline, choice.ours))
        per_class = shared_seeds(baseline, ours)
        for name, seeds in per_class.items():
            pairs[name][metric] = pair_of([baseline[name]], [ours[name]], seeds)
        seeds = seeds_of_all(per_class.values())
        if seeds:
            means[metric] = pair_of([baseline[name] for name in per_class], [ours[name] for name in per_class], seeds)
        for note in notes_on(baseline, ours, choice):
            notes[note].append(metric)
    images = {row.class_name: row.test_images for row in rows}
    classes = tuple(Line(name, pairs[name], images[name]) for name in sorted(pairs))
    mean = Line(f"mean of {len(classes)}", means, sum(line.test_images for line in classes))
    return Block(rows[0].k, classes, mean, tuple(_with_metrics(note, metrics) for note, metrics in notes.items()))


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


def pair_of(
    baseline: Sequence[Mapping[int, float]], ours: Sequence[Mapping[int, float]], seeds: tuple[int, ...]
) -> Pair:
    """Pair the means over classes, seed by seed; a class is given by its values by seed."""
    first, second = ([fmean(values[seed] for values in side) for seed in seeds] for side in (baseline, ours))
    return Pair(spread(first), spread(second), spread([b - a for a, b in zip(first, second, strict=True)]), seeds)


def spread(values: Sequence[float]) -> Spread:
    """Return the mean and the sample standard deviation, which a single value does not have."""
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None)


def notes_on(baseline: Values, ours: Values, choice: Choice) -> list[str]:
    """Return notes on what one metric's columns leave out."""
    if not baseline and not ours:
        return ["not measured"]
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
