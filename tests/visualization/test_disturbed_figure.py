"""The figure of measures over strengths of disturbances."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from promptad.visualization.disturbances import LEAST_RANGE, STYLES, draw_curves, draw_disturbances

CURVES = {name: [90.0, 89.0, 88.0, 80.0 - number] for number, name in enumerate("abcde")}


@pytest.mark.parametrize("measures", [("I-AUROC",), ("I-AUROC", "AUPRO", "false alarms", "misses")])
def test_a_panel_for_each_measure(measures: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "new" / "carpet.png"
    draw_disturbances("a $5 part", dict.fromkeys(measures, CURVES), file)
    with Image.open(file) as drawn:
        assert drawn.width == pytest.approx(341 * max(2, len(measures)), abs=2)
        assert len(drawn.convert("RGB").getcolors(10**6) or ()) > 50


def test_every_disturbance_has_a_line_of_its_own() -> None:
    axes = Figure().subplots()
    draw_curves(axes, CURVES)
    assert [line.get_label() for line in axes.lines] == list(CURVES)
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == list(CURVES.values())
    assert len({line.get_color() for line in axes.lines}) == len({line.get_marker() for line in axes.lines}) == 5


def test_more_disturbances_than_styles_are_all_drawn() -> None:
    axes = Figure().subplots()
    draw_curves(axes, {str(number): [90.0] * 4 for number in range(len(STYLES) + 1)})
    assert len(axes.lines) == len(STYLES) + 1


def test_a_small_change_looks_small() -> None:
    axes = Figure().subplots()
    draw_curves(axes, {"blur": [90.0, 90.1, 90.0, 90.2]})
    low, high = axes.get_ylim()
    assert high - low == pytest.approx(LEAST_RANGE)
    assert low < 90 < high
