"""Views of support images: what turns and crops do to them."""

import numpy as np
import pytest
from PIL import Image

from promptad.data.transforms import make_views

SIDE = 64


def bar(width: int = 6) -> Image.Image:
    """A white bar through the middle of black, up and down."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, (SIDE - width) // 2 : (SIDE + width) // 2] = 255
    return Image.fromarray(pixels)


def angle(view: Image.Image) -> float:
    """How far a bar is turned from upright, in degrees, 0 to 90."""
    rows, columns = np.nonzero(np.asarray(view.convert("L"))[8:-8, 8:-8] > 128)
    _, vectors = np.linalg.eigh(np.cov(columns, rows))
    return float(np.degrees(np.arctan2(abs(vectors[0, 1]), abs(vectors[1, 1]))))


@pytest.mark.parametrize(("turn", "least", "most"), [(5.0, 1.0, 5.5), (180.0, 60.0, 90.0)])
def test_views_are_turned_as_far_as_is_allowed(turn: float, least: float, most: float) -> None:
    farthest = max(angle(view) for view in make_views(bar(), 12, seed=0, turn=turn))
    assert least < farthest <= most


def test_crops_show_parts_larger_and_never_less_than_is_allowed() -> None:
    def widths(least_crop: float) -> list[float]:
        views = make_views(bar(16), 12, seed=0, turn=0.0, least_crop=least_crop)
        return [float((np.asarray(view.convert("L")) > 128).sum(1).max()) for view in views]

    assert max(widths(1.0)) <= 17
    assert 22 < max(widths(0.5)) <= 33


def test_the_first_view_is_the_image_itself() -> None:
    assert make_views(bar(), 2, seed=0, turn=180.0, least_crop=0.5)[0].tobytes() == bar().tobytes()
