"""The figure of a search: its objective by trial, and by the values of each setting that varies."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import ceil
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from promptad.reports.framed_figure import Words, framed_figure, legend_mark
from promptad.reports.sweep.trials import trials_explanation, trials_title
from promptad.results.search import Range, Search, Trial
from promptad.visualization.figures import BLUE, GREY, ORANGE, panel_title, percent_scale, save

PANEL_WIDTH, PANEL_HEIGHT = 3.6, 2.9  # inches
IN_A_ROW = 3  # panels, at most
LONGEST = 8  # letters of a value beside its neighbours
OTHER, FIRST, CHOSEN, FAILED = (".", GREY), ("s", GREY), ("^", BLUE), ("x", ORANGE)


def draw_trials(search: Search, file: Path) -> None:
    """Draw the objective of all trials by their number, with the best so far, and by each setting that varies."""
    count = 1 + len(search.scales)
    columns = 2 if count == 4 else min(count, IN_A_ROW)
    rows = ceil(count / columns)
    words = Words(trials_title(search), trials_explanation(search), is_warning=search.objective.is_of_reported)
    size = 0.8 + PANEL_WIDTH * max(columns, 2), PANEL_HEIGHT * rows
    figure, body = framed_figure(words, _legend_marks(search), size, margin=0.1)
    panels = body.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    _draw_progress(panels[0], search)
    for axes, (name, scale) in zip(panels[1:], search.scales.items(), strict=False):
        _draw_setting(axes, search, name, scale)
    for axes in panels[count:]:
        axes.remove()
    for number, axes in enumerate(panels[:count]):
        percent_scale(axes, "y")
        axes.margins(y=0.12)
        axes.tick_params(labelleft=number % columns == 0)
    save(figure, file, "output")


def _draw_progress(axes: Axes, search: Search) -> None:
    """The objective by trial, and the best one so far."""
    done = [trial for trial in search.trials if trial.objective is not None]
    best: list[Trial] = list(accumulate(done, _better_of(search)))
    axes.step(
        [trial.number for trial in done], [trial.objective or 0 for trial in best], where="post", color=BLUE, lw=1
    )
    _draw_marks(axes, search, [float(trial.number) for trial in search.trials])
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlim(0.3, len(search.trials) + 0.7)
    panel_title(axes, f"{search.objective.metric.title} by trial", "in %; the line is the best so far")


def _better_of(search: Search) -> Callable[[Trial, Trial], Trial]:
    return lambda before, trial: max(before, trial, key=search.gain)


def _draw_setting(axes: Axes, search: Search, name: str, scale: Range | Sequence[str]) -> None:
    """The objective by the values of a setting."""
    words = [trial.values[name] for trial in search.trials]
    if isinstance(scale, Range):
        _draw_marks(axes, search, [float(value) for value in words])
        _number_scale(axes, scale)
        note = "in %; in logarithm" if scale.log else "in %"
    else:
        _draw_marks(axes, search, [float(scale.index(value)) for value in words])
        long = any(len(value) > LONGEST for value in scale)
        axes.set_xticks(range(len(scale)), scale, rotation=25 if long else 0, ha="right" if long else "center")
        axes.set_xlim(-0.5, len(scale) - 0.5)
        note = "in %"
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
    panel_title(axes, f"{search.objective.metric.title} by {name}", note)


def _number_scale(axes: Axes, scale: Range) -> None:
    if scale.log:
        axes.set_xscale("log")
        reach = (scale.high / scale.low) ** 0.04
        axes.set_xlim(scale.low / reach, scale.high * reach)
        subs = (1, 2, 5) if scale.high / scale.low < 1000 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
        axes.xaxis.set_major_formatter(_plain_number)
        axes.xaxis.set_minor_formatter(NullFormatter())
        return
    margin = 0.04 * (scale.high - scale.low)
    axes.set_xlim(scale.low - margin, scale.high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=isinstance(scale.low, int)))


def _plain_number(value: float, _: object = None) -> str:
    return f"{value:g}"


def _draw_marks(axes: Axes, search: Search, places: Sequence[float]) -> None:
    """Each trial at its place: those that could not be trained at the foot, the first and the chosen one on top."""
    foot = min(trial.objective for trial in search.trials if trial.objective is not None)
    for trial, place in zip(search.trials, places, strict=True):
        marker, colour = _mark(search, trial)
        inside = "white" if trial is search.first and trial is not search.chosen else colour
        size = 7 if marker == "." else 8
        height = foot if trial.objective is None else trial.objective
        order = 4 if trial is search.chosen else 3
        axes.plot(place, height, marker, color=colour, mfc=inside, ms=size, mew=1.4, zorder=order)


def _mark(search: Search, trial: Trial) -> tuple[str, str]:
    if trial.objective is None:
        return FAILED
    if trial is search.chosen:
        return CHOSEN
    return FIRST if trial is search.first else OTHER


def _legend_marks(search: Search) -> list[Line2D]:
    first = "the first setting" + (", and chosen" if search.first is search.chosen else "")
    marks = [legend_mark(*OTHER, "a trial")]
    if search.first is search.chosen:
        marks.append(legend_mark(*CHOSEN, first))
    else:
        marks += [legend_mark(*FIRST, first, "white"), legend_mark(*CHOSEN, "chosen")]
    if any(trial.objective is None for trial in search.trials):
        marks.append(legend_mark(*FAILED, "not trained"))
    return [*marks]
