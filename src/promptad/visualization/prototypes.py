"""Figures of a detector's prototypes: their usage, cosines and verdicts; colours are safe for the colour-blind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill, shorten
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from promptad.settings import HEALTHY_SEPARATION, HEALTHY_USAGE
from promptad.structures import prototype_names
from promptad.utils.numbers import decimal
from promptad.visualization.figures import (
    BLUE,
    DPI,
    GREEN,
    GREY,
    INK,
    ORANGE,
    TOP_LEFT,
    number_text,
    panel_title,
    plain_frame,
    save,
)

MOST_WITH_NUMBERS = 16  # prototypes; more leave no room for a number at each
MOST_WITH_LINES = 6  # prototypes whose names may have two lines
LETTERS_OF_NAME = 20  # in a line of what a prototype is nearest to
LETTERS_PER_LINE = 170  # across the whole diagnostics figure


def draw_diagnostics(diagnostics: Mapping[str, Any], abnormal_cosines: np.ndarray, file: Path) -> None:
    """Draw the usage of the prototypes, the cosines `[M, M]` between abnormal ones and their separation from normal.

    `diagnostics` is the content of the diagnostics file; usages are shares in [0, 1].
    """
    verdicts = diagnostics["verdicts"]
    texts = [verdict_text(verdict, LETTERS_PER_LINE // len(verdicts)) for verdict in verdicts]
    strip_height = 0.35 + 0.21 * max((f"{heading}\n{details}".count("\n") for heading, details in texts), default=0)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(13, 6 + strip_height), dpi=DPI, facecolor="white", layout=layout)
    title = f"{diagnostics['class_name']}, k = {diagnostics['k']}"
    figure.suptitle(title, fontsize=16, fontweight="bold", color=INK, parse_math=False)  # a name may hold a "$"
    panels, strip = figure.subfigures(2, 1, height_ratios=[5.5, strip_height], squeeze=False)[:, 0]
    names = [prototype_names(diagnostics, side) for side in ("normal", "abnormal")]
    grid = panels.add_gridspec(2, 3, width_ratios=[1.2, 1.2, 1])
    draw_normal_usage(panels.add_subplot(grid[0, 0]), diagnostics["normal_prototype_frequencies"], verdicts, names[0])
    draw_abnormal_usage(panels.add_subplot(grid[1, 0]), diagnostics["abnormal_prototype_frequencies"], names[1])
    draw_cosines(panels.add_subplot(grid[:, 1]), abnormal_cosines, diagnostics["abnormal_collapse"]["mean"])
    draw_separation(panels.add_subplot(grid[:, 2]), diagnostics["abnormal_to_mean_normal"], ())
    draw_verdicts(strip, texts, [verdict["healthy"] for verdict in verdicts], strip_height)
    save(figure, file)


def draw_normal_usage(
    axes: Axes, usage: Sequence[float], verdicts: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> None:
    """Bars of the normal prototypes' shares of patches over the healthy band; bars outside it have another colour."""
    fair = 1 / len(usage)
    bands = [verdict["limit"] for verdict in verdicts if isinstance(verdict["limit"], (list, tuple))]
    low, high = bands[0] if bands else (fair * (1 - HEALTHY_USAGE), min(fair * (1 + HEALTHY_USAGE), 1))
    axes.axvspan(low, high, color=GREEN, alpha=0.15, lw=0)
    draw_bars(axes, usage, [BLUE if low <= share <= high else ORANGE for share in usage], names)
    axes.set_xlim(0, 1.2 * max(*usage, high))
    panel_title(axes, "Usage of normal prototypes", f"share of patches, healthy from {low:.0%} to {high:.0%}")


def draw_abnormal_usage(axes: Axes, usage: Sequence[float], names: Sequence[str]) -> None:
    """Bars of the abnormal prototypes' shares of patches."""
    draw_bars(axes, usage, [GREY] * len(usage), names)
    axes.set_xlim(0, max(1.2 * max(usage), 0.01))
    panel_title(axes, "Usage of abnormal prototypes", "share of patches")


def draw_bars(axes: Axes, usage: Sequence[float], colours: Sequence[str], names: Sequence[str]) -> None:
    """Bars with their shares and the prototypes' names, the first on top."""
    bars = axes.barh(np.arange(1, len(usage) + 1), usage, color=colours, height=0.65)
    axes.set_ylim(len(usage) + 0.6, 0.4)
    if len(usage) <= MOST_WITH_NUMBERS:
        size = 9 if len(usage) <= 10 else 7
        axes.bar_label(bars, [f"{share:.0%}" for share in usage], padding=2, fontsize=size, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
    plain_frame(axes)
    name_rows(axes, len(usage), names)


def name_rows(axes: Axes, count: int, names: Sequence[str]) -> None:
    """Write the number of each prototype, counted from 1, and what it is nearest to, beside its row."""
    if count > MOST_WITH_NUMBERS:
        return
    words = (short_name(name, lines=2 if count <= MOST_WITH_LINES else 1) for name in names)
    named = [f"{word} {number}" for number, word in enumerate(words, 1)]
    axes.set_yticks(range(1, count + 1), named or list(map(str, range(1, count + 1))))
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
        label.set_fontsize(9 if count <= 10 else 7)


def short_name(name: str, lines: int) -> str:
    """Return the nearest of a prototype's words in so many short lines.

    >>> short_name("a close-up photo of the bottle, damaged", 2).splitlines(), short_name("with hole, torn", 1)
    (['a close-up photo of', 'the bottle'], 'with hole')
    """
    return fill(shorten(name.split(", ", maxsplit=1)[0], lines * LETTERS_OF_NAME, placeholder=" …"), LETTERS_OF_NAME)


def draw_cosines(axes: Axes, cosines: np.ndarray, mean: float | None) -> None:
    """The matrix `[M, M]` of cosines between abnormal prototypes; its diagonal, always 1, stays grey."""
    count = len(cosines)
    pairs = np.where(np.eye(count, dtype=bool), np.nan, cosines)
    edges = (0.5, count + 0.5, count + 0.5, 0.5)  # counts from 1, downwards
    axes.set(facecolor="#D8D8D8", anchor="N")
    image = axes.imshow(pairs, cmap="RdBu_r", vmin=-1, vmax=1, extent=edges)
    if count <= MOST_WITH_NUMBERS:
        for row, column in np.argwhere(~np.isnan(pairs)):
            cosine = pairs[row, column]
            style: dict[str, Any] = {"color": "white" if abs(cosine) > 0.6 else INK, "fontsize": min(11, 90 / count)}
            axes.text(column + 1, row + 1, decimal(cosine), ha="center", va="center", **style)
        axes.set(xticks=range(1, count + 1), yticks=range(1, count + 1))
    bar = axes.figure.colorbar(image, ax=axes, orientation="horizontal", fraction=0.04, pad=0.03, aspect=35)
    bar.set_ticks([-1, -0.5, 0, 0.5, 1])
    plain_frame(axes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    note = "a single prototype has no pairs" if mean is None else f"mean of pairs {decimal(mean)}"
    panel_title(axes, "Cosines between abnormal prototypes", note)


def draw_separation(axes: Axes, cosines: Sequence[float], names: Sequence[str]) -> None:
    """The cosine of each abnormal prototype to the mean normal one, their mean, and the limit of the mean."""
    places = np.arange(1, len(cosines) + 1)
    mean = float(np.mean(cosines))
    colours = [BLUE if cosine < HEALTHY_SEPARATION else ORANGE for cosine in cosines]
    axes.axvspan(-1.1, HEALTHY_SEPARATION, color=GREEN, alpha=0.15, lw=0)
    axes.axvline(HEALTHY_SEPARATION, color=GREEN, lw=1.5, ls="--")
    axes.axvline(mean, color=INK, lw=1.2)
    axes.hlines(places, 0, cosines, color=colours, lw=2)
    axes.scatter(cosines, places, s=60, color=colours, zorder=3)
    axes.set(xlim=(-1.1, 1.1), ylim=(len(cosines) + 0.5, 0.5), xticks=[-1, -0.5, 0, 0.5, 1])
    axes.set_yticks([])
    plain_frame(axes)
    name_rows(axes, len(cosines), names)
    note = f"mean {decimal(mean)} (solid line), healthy below {HEALTHY_SEPARATION} (dashed)"
    panel_title(axes, "Cosines to the mean normal", note)


def verdict_text(verdict: Mapping[str, Any], letters: int) -> tuple[str, str]:
    """A verdict's heading, and its value, limit and, if it is unhealthy, advice, in lines of at most `letters`."""
    mark = "✓ healthy" if verdict["healthy"] else "✗ unhealthy"
    details = f"{number_text(verdict['value'])}, limit {number_text(verdict['limit'])}"
    if not verdict["healthy"]:
        details += "\n" + fill(verdict["advice"], letters)
    return fill(f"{mark}: {verdict['name'].replace('_', ' ')}", int(0.75 * letters)), details


def draw_verdicts(
    strip: SubFigure, texts: Sequence[tuple[str, str]], healthy: Sequence[bool], strip_height: float
) -> None:
    """The verdicts side by side, in a strip of `strip_height` inches."""
    for number, ((heading, details), good) in enumerate(zip(texts, healthy, strict=True)):
        left = 0.015 + 0.985 * number / len(texts)
        below = 1 - 0.25 * (1 + heading.count("\n")) / strip_height
        strip.text(left, 1, heading, **TOP_LEFT, fontsize=12, fontweight="bold", color=BLUE if good else ORANGE)
        strip.text(left, below, details, **TOP_LEFT, fontsize=10, color=INK)
