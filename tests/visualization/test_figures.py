"""The drawn files exist, show something and have the right size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from promptad.structures import WHOLE
from promptad.visualization.figures import DPI, draw_prediction, save
from promptad.visualization.overlays import Overlay, draw_overlays
from promptad.visualization.prototypes import draw_diagnostics, verdict_text

Array = NDArray[Any]


def diagnostics_of(normal: int, abnormal: int, *, healthy: bool, class_name: str = "carpet") -> dict[str, Any]:
    """Diagnostics of `normal` and `abnormal` prototypes as the diagnostics file holds them."""
    mean = 0.4 if abnormal > 1 else None
    advice = "lower --n_pro_ab, or group the manual states by their meaning and train again"
    return {
        "class_name": class_name,
        "k": 2,
        "normal_prototype_frequencies": [1 / normal] * normal,
        "abnormal_prototype_frequencies": [1 / abnormal] * abnormal,
        "abnormal_collapse": {"mean": mean, "min": mean, "max": mean, "num_pairs": abnormal * (abnormal - 1) // 2},
        "abnormal_to_mean_normal": np.linspace(-0.9, 0.9, abnormal).tolist(),
        "verdicts": [
            {"name": "normal usage", "healthy": True, "value": 1 / normal, "limit": [0.2, 0.4], "advice": ""},
            {"name": "abnormal collapse", "healthy": healthy, "value": mean, "limit": 0.5, "advice": advice},
        ],
    }


def read(file: Path) -> Array:
    """The drawn image, [height, width, 3]."""
    with Image.open(file) as image:
        drawn: Array = np.asarray(image.convert("RGB"))
    return drawn


def share_drawn(drawn: Array) -> float:
    """The share of pixels that are not white."""
    return float((drawn < 250).any(axis=-1).mean())


def draw_map(side: int) -> Array:
    """A map [side, side] with one hill of height 1."""
    y, x = np.mgrid[:side, :side] / side
    hill: Array = np.exp(-((y - 0.4) ** 2 + (x - 0.6) ** 2) / 0.02).astype(np.float32)
    return hill


@pytest.mark.parametrize(("normal", "abnormal"), [(3, 6), (1, 1), (12, 12), (2, 30)])
def test_diagnostics_of_any_number_of_prototypes(tmp_path: Path, normal: int, abnormal: int) -> None:
    file = tmp_path / "diagnostics" / "carpet_k2.png"
    draw_diagnostics(diagnostics_of(normal, abnormal, healthy=True), np.eye(abnormal), file)
    drawn = read(file)
    assert drawn.shape[1] == 13 * DPI
    assert 0.05 < share_drawn(drawn) < 0.9
    assert (drawn[[0, -1], :] == 255).all()  # nothing is cut at the edges
    assert (drawn[:, [0, -1]] == 255).all()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_diagnostics_grow_with_advice(tmp_path: Path) -> None:
    heights = []
    for healthy in (True, False):
        draw_diagnostics(diagnostics_of(3, 6, healthy=healthy), np.eye(6), tmp_path / "drawn.png")
        heights.append(read(tmp_path / "drawn.png").shape[0])
    assert heights[0] < heights[1]


def test_diagnostics_without_verdicts(tmp_path: Path) -> None:
    draw_diagnostics(diagnostics_of(3, 6, healthy=True) | {"verdicts": []}, np.eye(6), tmp_path / "drawn.png")
    assert share_drawn(read(tmp_path / "drawn.png")) > 0.05


def test_a_class_name_is_not_parsed_as_a_formula(tmp_path: Path) -> None:
    diagnostics = diagnostics_of(2, 2, healthy=False, class_name="5$ \\frac{ coin$")
    diagnostics["verdicts"][1]["advice"] = "call it $\\frac{$"
    draw_diagnostics(diagnostics, np.eye(2), tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").exists()


def test_verdict_text_marks_and_advises() -> None:
    healthy, unhealthy = diagnostics_of(3, 1, healthy=False)["verdicts"]
    assert verdict_text(healthy, 80) == ("✓ healthy: normal usage", "0.33, limit 0.20 to 0.40")
    heading, details = verdict_text(unhealthy, 30)
    assert heading == "✗ unhealthy: abnormal\ncollapse"
    assert details.startswith("none, limit 0.50\nlower --n_pro_ab")
    assert max(map(len, details.splitlines())) <= 30


@pytest.mark.parametrize("size", [(64, 64), (1600, 800), (200, 500)])
@pytest.mark.parametrize("masked", [True, False])
def test_prediction_of_any_shape(tmp_path: Path, size: tuple[int, int], masked: bool) -> None:
    anomaly_map = draw_map(32)
    file = tmp_path / "imgs" / "000.png"
    mask = np.asarray(draw_map(48) > 0.5) if masked else None
    draw_prediction(Image.new("RGB", size, (120, 150, 90)), 0.83, anomaly_map, mask, file)
    drawn = read(file)
    assert drawn.shape[1] / drawn.shape[0] > 4 * size[0] / size[1] * 0.7
    assert drawn.std() > 10
    assert share_drawn(drawn) > 0.5
    assert (drawn[[0, -1], :] == 255).all()


@pytest.mark.parametrize("level", [0.0, 0.1, 0.5, 1.0])
def test_a_flat_map_is_drawn_without_contours(tmp_path: Path, level: float) -> None:
    file = tmp_path / "flat.jpg"
    draw_prediction(Image.new("L", (40, 40), 128), 0.5, np.full((8, 8), level, dtype=np.float32), None, file)
    assert file.read_bytes().startswith(b"\xff\xd8")  # a JPEG file, by its name
    assert share_drawn(read(file)) > 0.5


def test_the_colours_of_a_map_do_not_depend_on_its_highest_value(tmp_path: Path) -> None:
    colours = []
    for highest in (0.3, 1.0):
        anomaly_map = np.full((16, 16), 0.2, dtype=np.float32)
        anomaly_map[0, 0] = highest
        draw_prediction(Image.new("RGB", (64, 64), (90, 90, 90)), 0.5, anomaly_map, None, tmp_path / "map.png")
        drawn = read(tmp_path / "map.png")
        colours.append(drawn[drawn.shape[0] // 2, int(0.36 * drawn.shape[1])])  # in the second panel
    assert np.array_equal(colours[0], colours[1])
    assert np.ptp(colours[0].astype(int)) > 3  # a colour, not the grey of the image


def test_the_given_image_is_not_changed(tmp_path: Path) -> None:
    image = Image.new("RGB", (900, 900))
    draw_prediction(image, 0.5, draw_map(16), None, tmp_path / "drawn.png")
    assert image.size == (900, 900)


def test_a_dollar_in_a_title_is_a_dollar(tmp_path: Path) -> None:
    overlay = Overlay(Image.new("RGB", (64, 48)), np.zeros((16, 16)), WHOLE, (), "anomaly\nmost like: with $^ and $_")
    save(draw_overlays([overlay]), tmp_path / "overlay.png")
    assert (tmp_path / "overlay.png").stat().st_size > 1000
