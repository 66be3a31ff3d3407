"""A figure in three bands: a title with its legend, the panels, and the small print."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from promptad.visualization.figures import DPI, INK, ORANGE, TOP_LEFT

TITLE_LETTERS, SMALL_LETTERS = 7, 14.5  # per inch
LEFT = 0.12  # inches to the words
IN_A_ROW = 5  # marks of a legend, at most


@dataclass(frozen=True)
class Words:
    """What is written around the panels."""

    title: str
    small_print: str
    is_warning: bool = False  # whether the title is one


def framed_figure(
    words: Words, marks: Sequence[Line2D], size: tuple[float, float], margin: float
) -> tuple[Figure, SubFigure]:
    """Return a figure with its words and legend, and the part of it that takes the panels.

    `size` is the figure's width and the height of the panels, `margin` between panels side by side; all in inches.
    """
    width, height = size
    title = fill(words.title, int(TITLE_LETTERS * width), break_on_hyphens=False)
    note = fill(words.small_print, int(SMALL_LETTERS * width), break_on_hyphens=False)
    heights = [0.75 + 0.27 * title.count("\n"), height, 0.4 + 0.17 * note.count("\n")]
    layout = ConstrainedLayoutEngine(w_pad=margin, h_pad=0.1)
    figure = Figure((width, sum(heights)), DPI, facecolor="white", layout=layout)
    head, body, foot = figure.subfigures(3, 1, height_ratios=heights, squeeze=False)[:, 0]
    left, colour = LEFT / width, ORANGE if words.is_warning else INK
    head.text(left, 0.88, title, **TOP_LEFT, fontsize=16, fontweight="bold", color=colour)
    place = {"loc": "lower left", "bbox_to_anchor": (left, 0), "borderpad": 0}
    head.legend(handles=marks, ncols=IN_A_ROW, frameon=False, fontsize=11, **place)
    foot.text(left, 1, note, **TOP_LEFT, fontsize=9, color=INK)
    return figure, body


def legend_mark(marker: str, colour: str, label: str, inside: str | None = None) -> Line2D:
    """Return a mark of a legend, filled with its colour or another one."""
    return Line2D([], [], ls="", marker=marker, ms=7.5, mew=1.4, color=colour, mfc=inside or colour, label=label)
