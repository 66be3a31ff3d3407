"""The figure of a comparison: where ours is better, where worse, and whether by more than the spread."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from promptad.reports.comparison.differences import Block, Comparison, Line, Pair
from promptad.reports.comparison.significance import Verdict
from promptad.reports.comparison.tables import cell, comparison_title, explanation, protocol
from promptad.reports.framed_figure import Words, framed_figure, legend_mark
from promptad.results.columns import METRIC_TITLES
from promptad.visualization.figures import (
    BLUE,
    GREY,
    ORANGE,
    panel_title,
    percent_scale,
    save,
)

DRAWN = ("i_roc", "p_pro")
ROW_HEIGHT = 0.27  # inches
PANEL_WIDTH = 4.2
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
    words = Words(comparison_title(comparison), small_print(comparison), is_warning=comparison.test_labels_chose)
    size = width, (1 + ROW_HEIGHT * rows) * len(panels)
    figure, body = framed_figure(words, legend_marks(comparison), size, margin=0.12)
    grid = body.subplots(len(panels), len(panels[0]), squeeze=False)
    for axes_row, panel_row in zip(grid, panels, strict=True):
        for axes, (metric, block) in zip(axes_row, panel_row, strict=True):
            draw_panel(axes, block, metric, orders[metric], axes is axes_row[0] or len(blocks) == 1)
            axes.set_xlim(limits(blocks, metric))
    save(figure, file, "output")


def legend_marks(comparison: Comparison) -> list[Line2D]:
    """The marks of both systems, and of what a difference tells."""
    ours = comparison.choice.ours
    verdicts = [
        legend_mark(*mark, f"{ours}: {verdict}" if verdict == Verdict.BETTER else verdict)
        for verdict, mark in MARKERS.items()
    ]
    return [legend_mark("o", GREY, comparison.choice.baseline, "white"), *verdicts]


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
    percent_scale(axes, "x")
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
