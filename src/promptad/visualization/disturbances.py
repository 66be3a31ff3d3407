"""The figure of a detector on disturbed pictures: how each measure moves with the strength of each disturbance."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from promptad.visualization.figures import (
    BLUE,
    DPI,
    GREEN,
    INK,
    ORANGE,
    panel_title,
    percent_scale,
    save,
)

PURPLE, BROWN = "#CC79A7", "#7F4F24"
STYLES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (BROWN, "v"))  # shapes and colours differ
PANEL = (3.1, 3.1)  # inches
LEAST_RANGE = 10.0  # points that a panel shows
APART = 0.07  # of a step, between lines that would cover each other
NOTES = {"false alarms": "good pictures rejected, in %", "misses": "defective pictures passed, in %"}

Curves = Mapping[str, Sequence[float]]  # by disturbance, in % from clean to strongest


def draw_disturbances(title: str, panels: Mapping[str, Curves], file: Path) -> None:
    """Draw a panel for each measure, by its title, with a line for each disturbance."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    width, height = max(2, len(panels)) * PANEL[0], PANEL[1] + 0.9
    figure = Figure((width, height), DPI, facecolor="white", layout=layout)
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK, parse_math=False)  # a name may hold a "$"
    for axes, (measure, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        draw_curves(axes, curves)
        panel_title(axes, measure, NOTES.get(measure, "in %"))
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=10)
    save(figure, file)


def draw_curves(axes: Axes, curves: Curves) -> None:
    """Draw one measure over strengths; 0 is clean."""
    for number, ((name, values), (colour, marker)) in enumerate(zip(curves.items(), cycle(STYLES), strict=False)):
        places = np.arange(len(values)) + APART * (number - (len(curves) - 1) / 2)
        axes.plot(places, values, color=colour, marker=marker, ms=6, lw=1.6, label=name)
    axes.set_xticks(range(4), ["clean", "1", "2", "3"])
    low, high = axes.get_ylim()
    if high - low < LEAST_RANGE:  # a small change is to look small
        middle = (low + high) / 2
        axes.set_ylim(middle - LEAST_RANGE / 2, middle + LEAST_RANGE / 2)
    percent_scale(axes, "y")
