"""The numbers of a sweep: each setting, and each value of what varies, paired with the first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from promptad.errors import InputError
from promptad.reports.comparison.differences import Pair, Values, pair_of, seeds_of_all, shared_seeds
from promptad.results.columns import METRICS, Metric
from promptad.results.search import Search
from promptad.results.sweep import MeasuredSetting, in_words


@dataclass(frozen=True)
class SweepLine:
    """A setting, or all settings with one value together, against the first such line."""

    values: Mapping[str, str]  # in words, by the names of the settings that vary
    folder: str  # of its results; empty of several settings
    settings: int  # whose mean it is
    mean: Mapping[str, Pair]  # of the classes, by metric
    classes: Mapping[str, Mapping[str, Pair]]  # the same of each class

    @property
    def name(self) -> str:
        """It in words."""
        return in_words(self.values)


@dataclass(frozen=True)
class Effect:
    """What one of the settings that vary does: a line for each of its values, the others as they come."""

    name: str
    lines: tuple[SweepLine, ...]


@dataclass(frozen=True)
class SweepTable:
    """All numbers of a sweep."""

    dataset: str
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    lines: tuple[SweepLine, ...]  # of each setting; all are compared with the first
    effects: tuple[Effect, ...]  # none where only one setting varies: they would say the same
    metrics: tuple[Metric, ...]  # that were measured
    notes: tuple[str, ...]  # what was left out, in words
    search: Search | None = None  # that has chosen the last line


@dataclass(frozen=True)
class _Group:
    """Settings that make a line."""

    values: Mapping[str, str]
    settings: tuple[MeasuredSetting, ...]


def make_table(settings: Sequence[MeasuredSetting], dataset: str, search: Search | None = None) -> SweepTable:
    """Compare all settings with the first one, class by class and seed by seed.

    Of a `search`, the last one is its choice, and not the effect of any one of what varies.

    Raises:
        InputError: the first setting was not measured.
    """
    if not settings[0].rows:
        raise InputError(f"the first setting, {settings[0].name}, was not measured: all others are compared with it")
    measured = [setting for setting in settings if setting.rows]
    rows = [row for setting in measured for row in setting.rows]
    lines = _lines([_Group(setting.values, (setting,)) for setting in measured])
    return SweepTable(
        dataset,
        tuple(dict.fromkeys(row["class"] for row in rows)),
        tuple(sorted({int(row["seed"]) for row in rows})),
        lines,
        _effects(measured) if len(measured) == len(settings) and search is None else (),
        tuple(metric for metric in METRICS if any(metric.column in line.mean for line in lines)),
        tuple(_notes(settings, rows)),
        search,
    )


def _effects(settings: Sequence[MeasuredSetting]) -> tuple[Effect, ...]:
    names = list(settings[0].values)
    return tuple(Effect(name, _lines(_groups_of(name, settings))) for name in names) if len(names) > 1 else ()


def _groups_of(name: str, settings: Sequence[MeasuredSetting]) -> list[_Group]:
    found = dict.fromkeys(setting.values[name] for setting in settings)
    return [_Group({name: value}, tuple(own for own in settings if own.values[name] == value)) for value in found]


def _lines(groups: Sequence[_Group]) -> tuple[SweepLine, ...]:
    means: list[dict[str, Pair]] = [{} for _ in groups]
    classes: list[dict[str, dict[str, Pair]]] = [{} for _ in groups]
    for metric in METRICS:
        first, *others = (_values_of(group.settings, metric.column) for group in groups)
        for number, own in enumerate((first, *others)):
            shared = shared_seeds(first, own)
            for name, seeds in shared.items():
                classes[number].setdefault(name, {})[metric.column] = pair_of(metric, first, own, seeds, {name: 1})
            if seeds := seeds_of_all(shared.values()):
                means[number][metric.column] = pair_of(metric, first, own, seeds, dict.fromkeys(shared, 1))
    return tuple(
        SweepLine(
            group.values, group.settings[0].folder if len(group.settings) == 1 else "", len(group.settings), mean, own
        )
        for group, mean, own in zip(groups, means, classes, strict=True)
    )


def _values_of(settings: Sequence[MeasuredSetting], metric: str) -> Values:
    """Return a metric by class and seed, as the mean of settings: of what each of them has."""
    each = [
        {(row["class"], int(row["seed"])): float(row[metric]) for row in setting.rows if row[metric]}
        for setting in settings
    ]
    values: dict[str, dict[int, float]] = {}
    for name, seed in sorted(set.intersection(*(set(own) for own in each))):
        values.setdefault(name, {})[seed] = fmean(own[name, seed] for own in each)
    return values


def _notes(settings: Sequence[MeasuredSetting], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return what the table leaves out, or holds of its own kind."""
    places = {(row["class"], row["seed"]) for row in rows}
    notes = [f"{setting.name}: not measured, left out" for setting in settings if not setting.rows]
    for setting in settings:
        lacking = sorted(places - {(row["class"], row["seed"]) for row in setting.rows})
        if setting.rows and lacking:
            missing = ", ".join(f"{name} with seed {seed}" for name, seed in lacking)
            notes.append(f"{setting.name}: {missing} not measured, and left out of its mean and differences")
    names = sorted({row["class"] for row in rows})
    pictures = {name: {row["data"] for row in rows if row["class"] == name} for name in names}
    notes += [
        f"{name}: measured on different test pictures, and so no pairs: run the sweep again"
        for name, found in pictures.items()
        if len(found) > 1
    ]
    return notes
