"""The figure of a sweep: for each setting that varies, what its values do, and all settings behind them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from promptad.reports.comparison.differences import Pair
from promptad.reports.comparison.significance import Verdict
from promptad.reports.framed_figure import Words, framed_figure, legend_mark
from promptad.reports.sweep.lines import Effect, SweepLine, SweepTable
from promptad.reports.sweep.tables import headlines, sweep_explanation, sweep_title
from promptad.results.columns import Metric
from promptad.visualization.figures import (
    BLUE,
    GREY,
    ORANGE,
    panel_title,
    percent_scale,
    save,
)

PANEL_WIDTH, PANEL_HEIGHT, LEAST_WIDTH = 3.6, 2.9, 8.0  # inches
VALUE_WIDTH = 0.55  # inches, at least
ASIDE = 0.13  # of a value's place: where single settings are drawn
LONGEST = 14  # letters of a value beside its neighbours
MARKERS = {  # shapes and colours differ
    Verdict.BETTER: ("^", BLUE),
    Verdict.NOT_TOLD_APART: ("o", "#555555"),
    Verdict.WORSE: ("v", ORANGE),
}
FIRST_MARK = ("s", GREY)


def draw_sweep(table: SweepTable, file: Path) -> None:
    """Draw image AUROC and AUPRO over the values of each setting that varies."""
    effects = table.effects or (_as_effect(table),)
    metrics = headlines(table)
    most = max(len(effect.lines) for effect in effects)
    width = max(LEAST_WIDTH, 0.8 + max(PANEL_WIDTH, VALUE_WIDTH * most) * len(effects))
    words = Words(sweep_title(table), _small_print(table), is_warning=_is_warning(table))
    figure, body = framed_figure(words, _legend_marks(table), (width, PANEL_HEIGHT * len(metrics)), margin=0.1)
    grid = body.subplots(len(metrics), len(effects), squeeze=False, sharey="row")
    for axes_row, metric in zip(grid, metrics, strict=True):
        for axes, effect in zip(axes_row, effects, strict=True):
            _draw_panel(axes, effect, metric, table.lines if table.effects else ())
    save(figure, file, "output")


def _draw_panel(axes: Axes, effect: Effect, metric: Metric, settings: Sequence[SweepLine]) -> None:
    """One metric over the values of one setting; each of the `settings` is a dot behind."""
    column, names = metric.column, [line.values[effect.name] for line in effect.lines]
    for line in settings:
        if pair := line.mean.get(column):
            axes.plot(names.index(line.values[effect.name]) + ASIDE, pair.ours.mean, ".", color=GREY, alpha=0.7, ms=5)
    drawn = [(place, line.mean[column]) for place, line in enumerate(effect.lines) if column in line.mean]
    axes.plot([place for place, _ in drawn], [pair.ours.mean for _, pair in drawn], color=GREY, lw=1)
    for place, pair in drawn:
        _draw_value(axes, place, pair)
    long = any(len(name) > LONGEST and "\n" not in name for name in names)
    axes.set_xticks(range(len(names)), names, rotation=25 if long else 0, ha="right" if long else "center")
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
    axes.set_xlim(-0.5, len(names) - 0.5)
    percent_scale(axes, "y")
    panel_title(axes, f"{metric.title} by {effect.name}", "in %")


def _draw_value(axes: Axes, place: int, pair: Pair) -> None:
    """The mean of one value, with its standard deviation over seeds."""
    marker, colour = FIRST_MARK if place == 0 else MARKERS[pair.verdict]
    style: dict[str, Any] = {"ms": 8, "elinewidth": 1.6, "capsize": 0, "mew": 1.4, "zorder": 3}
    inside = "white" if place == 0 else colour
    axes.errorbar(place, pair.ours.mean, pair.ours.deviation, fmt=marker, color=colour, mfc=inside, **style)


def _as_effect(table: SweepTable) -> Effect:
    """All settings as the values of one: of the only one that varies, or of none where some were not measured."""
    names = list(table.lines[0].values)
    if len(names) == 1:
        return Effect(names[0], table.lines)
    between = ",\n" if table.search else ", "  # the lines of a search are two, and have room below
    return Effect(
        "setting",
        tuple(replace(line, values={"setting": line.name.replace(", ", between)}) for line in table.lines),
    )


def _small_print(table: SweepTable) -> str:
    bars = "Bars are standard deviations over seeds. " if len(table.seeds) > 1 else ""
    means = "A mark is the mean over all settings with this value, the others varying. " if table.effects else ""
    return f"{means}{bars}Classes: {', '.join(table.classes)}. {sweep_explanation(table)}"


def _is_warning(table: SweepTable) -> bool:
    return table.search is not None and table.search.objective.is_of_reported


def _legend_marks(table: SweepTable) -> list[Line2D]:
    verdicts = [legend_mark(*mark, str(verdict)) for verdict, mark in MARKERS.items()]
    single = [legend_mark(".", GREY, "a single setting")] if table.effects else []
    return [
        legend_mark(*FIRST_MARK, "the first setting" if table.search else "the first value", "white"),
        *verdicts,
        *single,
    ]
