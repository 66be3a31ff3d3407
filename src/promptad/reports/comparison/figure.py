"""The figure of a comparison: where ours is better, where worse, and whether by more than the spread."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from promptad.reports.comparison.differences import Block, Comparison, Line, Pair
from promptad.reports.comparison.significance import Verdict
from promptad.reports.comparison.tables import cell, comparison_title, explanation, protocol
from promptad.results.columns import METRIC_TITLES
from promptad.visualization.figures import (
    BLUE,
    DPI,
    GREY,
    INK,
    ORANGE,
    TOP_LEFT,
    panel_title,
    percent_text,
    plain_frame,
    save,
)

DRAWN = ("i_roc", "p_pro")
ROW_HEIGHT = 0.27  # inches
PANEL_WIDTH = 4.2
TITLE_LETTERS, SMALL_LETTERS = 7, 14.5  # per inch
MEAN = "mean of classes"
APART = 0.17  # of a row, from its middle to either system
MARKERS = {  # shapes and colours differ
    Verdict.BETTER: (">", BLUE),
    Verdict.NOT_TOLD_APART: ("o", "#555555"),
    Verdict.WORSE: ("<", ORANGE),
}


def draw_comparison(comparison: Comparison, file: Path) -> None:
    """Draw both systems with their spreads, class by class, the best difference on top: image AUROC and AUPRO."""
    blocks = comparison.blocks
    metrics = [metric for metric in DRAWN if any(metric in line.pairs for line in _lines(blocks))]
    orders = {metric: class_order(blocks, metric) for metric in metrics}
    panels = [[(metric, block) for block in blocks] for metric in metrics]
    if len(blocks) == 1:
        panels = [[row[0] for row in panels]]
    rows = 1 + max(map(len, orders.values()))
    width = 1.2 + PANEL_WIDTH * max(2, len(panels[0]))
    title = fill(comparison_title(comparison), int(TITLE_LETTERS * width), break_on_hyphens=False)
    note = fill(small_print(comparison), int(SMALL_LETTERS * width), break_on_hyphens=False)
    heights = [
        0.75 + 0.27 * title.count("\n"),
        (1 + ROW_HEIGHT * rows) * len(panels),
        0.4 + 0.17 * note.count("\n"),
    ]
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure((width, sum(heights)), DPI, facecolor="white", layout=layout)
    head, body, foot = figure.subfigures(3, 1, height_ratios=heights, squeeze=False)[:, 0]
    draw_head(head, title, comparison, 0.12 / width)
    foot.text(0.12 / width, 1, note, **TOP_LEFT, fontsize=9, color=INK)
    grid = body.subplots(len(panels), len(panels[0]), squeeze=False)
    for axes_row, panel_row in zip(grid, panels, strict=True):
        for axes, (metric, block) in zip(axes_row, panel_row, strict=True):
            draw_panel(axes, block, metric, orders[metric], axes is axes_row[0] or len(blocks) == 1)
            axes.set_xlim(limits(blocks, metric))
    save(figure, file, "output")


def draw_head(head: SubFigure, title: str, comparison: Comparison, left: float) -> None:
    """The title over the legend."""
    colour = ORANGE if comparison.test_labels_chose else INK
    head.text(left, 0.88, title, **TOP_LEFT, fontsize=16, fontweight="bold", color=colour)
    ours = comparison.choice.ours
    handles = [_legend_mark("o", GREY, comparison.choice.baseline, "white")]
    handles += [
        _legend_mark(*mark, f"{ours}: {verdict}" if verdict == Verdict.BETTER else verdict)
        for verdict, mark in MARKERS.items()
    ]
    head.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(left, 0), ncols=4, frameon=False, fontsize=11, borderpad=0
    )


def small_print(comparison: Comparison) -> str:
    """The meaning of the marks and the protocol of the numbers."""
    measured_with = "; ".join(f"{name}: {text}" for name, text in protocol(comparison).items())
    bars = "Bars are standard deviations over seeds. " if len(comparison.seeds) > 1 else ""
    return f"{bars}{explanation(comparison)} {measured_with}."


def class_order(blocks: Sequence[Block], metric: str) -> list[str]:
    """The classes that have the metric, those with the largest mean difference first."""
    differences: dict[str, list[float]] = {}
    for block in blocks:
        for line in block.classes:
            if metric in line.pairs:
                differences.setdefault(line.name, []).append(line.pairs[metric].difference.mean)
    return sorted(differences, key=lambda name: (-fmean(differences[name]), name))


def limits(blocks: Sequence[Block], metric: str) -> tuple[float, float]:
    """The same scale for every k, with room for the longest bar."""
    ends = [
        spread.mean + sign * (spread.deviation or 0)
        for line in _lines(blocks)
        if (pair := line.pairs.get(metric))
        for spread in (pair.baseline, pair.ours)
        for sign in (-1, 1)
    ]
    room = max(1.0, 0.04 * (max(ends) - min(ends)))
    return min(ends) - room, max(ends) + room


def draw_panel(axes: Axes, block: Block, metric: str, order: Sequence[str], with_names: bool) -> None:
    """One metric at one k: the mean on top, then a row a class, with the differences as numbers on the right."""
    by_name = {line.name: line for line in block.classes}
    rows = [block.mean, *(by_name.get(name) for name in order)]
    for place, line in enumerate(rows):
        if line and metric in line.pairs:
            draw_pair(axes, place, line.pairs[metric], bold=place == 0)
    axes.axhspan(-0.5, 0.5, color=GREY, alpha=0.2, lw=0)
    for place in range(2, len(rows), 2):
        axes.axhspan(place - 0.5, place + 0.5, color=GREY, alpha=0.07, lw=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [MEAN, *order] if with_names else [])
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(percent_text)
    axes.grid(axis="x", color="#E4E4E4", lw=0.8)
    axes.set_axisbelow(True)
    plain_frame(axes)
    axes.tick_params(axis="y", length=0)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
        label.set_fontweight("bold" if label.get_text() == MEAN else "normal")
    panel_title(axes, f"{METRIC_TITLES[metric]}, k = {block.k}", "in %, difference on the right")


def draw_pair(axes: Axes, place: int, pair: Pair, bold: bool) -> None:
    """Baseline above, ours below it, each with its standard deviation, and the difference as a number."""
    marker, colour = MARKERS[pair.verdict]
    size = 8 if bold else 6.5
    style: dict[str, Any] = {"ms": size, "elinewidth": 1.6, "capsize": 0}
    before, now = pair.baseline, pair.ours
    style |= {"fmt": "o", "color": GREY, "mfc": "white", "mew": 1.4}
    axes.errorbar(before.mean, place - APART, xerr=before.deviation, **style)
    style |= {"fmt": marker, "color": colour, "mfc": colour}
    axes.errorbar(now.mean, place + APART, xerr=now.deviation, **style)
    axes.annotate(
        cell(pair, "difference"),
        (1, place),
        (6, 0),
        ("axes fraction", "data"),
        "offset points",
        va="center",
        fontsize=9,
        color=colour,
        fontweight="normal" if pair.verdict == Verdict.NOT_TOLD_APART else "bold",
    )


def _lines(blocks: Sequence[Block]) -> list[Line]:
    return [line for block in blocks for line in (*block.classes, block.mean)]


def _legend_mark(marker: str, colour: str, label: str, inside: str | None = None) -> Line2D:
    return Line2D([], [], ls="", marker=marker, ms=7.5, mew=1.4, color=colour, mfc=inside or colour, label=label)
