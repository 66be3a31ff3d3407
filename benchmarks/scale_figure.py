"""The figure of `scale.py`: what a picture takes, stage by stage."""

from collections.abc import Mapping
from pathlib import Path

from capacity import DECODE, ENCODE, GPU, HEAD, LINE, RECORD, RESIZE, Work
from matplotlib.figure import Figure

from promptad.utils.files import whole_file
from promptad.visualization.figures import BLUE, DPI, GREEN, GREY, INK, ORANGE, RULE, plain_frame

COLOURS = {
    DECODE: ORANGE,
    RESIZE: "#E69F00",
    ENCODE: BLUE,
    HEAD: GREEN,
    RECORD: GREY,
    LINE: INK,
    GPU: "#56B4E9",
}
LEAST_SHARE = 0.04  # of the scale: narrower pieces have no number in them


def draw_stages(works: Mapping[str, Work], file: Path) -> None:
    """Draw what a picture takes in each set-up as a bar: milliseconds of one core, and of a GPU, one behind another."""
    figure = Figure(figsize=(9, 1.4 + 0.55 * len(works)), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    widest = max(work.core + work.gpu for work in works.values())
    shown: set[str] = set()
    for row, work in enumerate(works.values()):
        left = 0.0
        pieces = [*work.stages.items(), *([(GPU, work.gpu)] if work.gpu else [])]
        for name, value in pieces:
            label = None if name in shown else f"{name} (computed)" if name == GPU else name
            axes.barh(row, value, 0.62, left, color=COLOURS[name], label=label)
            if value > LEAST_SHARE * widest:
                axes.text(left + value / 2, row, f"{value:.0f}", ha="center", va="center", color="white", fontsize=9)
            shown.add(name)
            left += value
        axes.text(left + 0.008 * widest, row, f"{left:.0f}", va="center", color=INK, fontsize=10)
    axes.set(xlim=(0, 1.06 * widest), xlabel="milliseconds of one core, and of a GPU, for one picture")
    axes.set_yticks(range(len(works)), list(works))
    axes.invert_yaxis()
    axes.grid(axis="x", color=RULE, lw=0.8)
    axes.set_axisbelow(True)
    plain_frame(axes)
    axes.legend(loc="lower center", bbox_to_anchor=(0.42, 1), ncols=7, frameon=False, fontsize=9, handlelength=1.2)
    with whole_file(file) as temporary:
        figure.savefig(temporary, dpi=DPI)
