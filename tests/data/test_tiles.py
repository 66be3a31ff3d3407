"""Tiles: where they lie, and their maps as one."""

import numpy as np
import pytest
from PIL import Image

from promptad.data.tiles import Tiles, tiles_for


@pytest.mark.parametrize("tiles", [Tiles(3, 1, 0.1), Tiles(2, 3, 0.25), Tiles(4, 5, 0.0), Tiles(2, 2, 0.5)])
def test_tiles_cover_every_pixel_and_are_of_one_size(tiles: Tiles) -> None:
    covered = np.zeros((211, 157), int)
    boxes = tiles.boxes(157, 211)
    assert len(boxes) == tiles.count
    for left, top, right, bottom in boxes:
        covered[top:bottom, left:right] += 1
    assert covered.min() == 1
    assert np.ptp([right - left for left, _, right, _ in boxes]) <= 1
    assert np.ptp([bottom - top for _, top, _, bottom in boxes]) <= 1


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.5])
def test_joined_maps_have_no_seams(overlap: float) -> None:
    tiles = Tiles(3, 2, overlap)
    assert tiles.joined(np.full((6, 20, 20), 0.3, np.float32)) == pytest.approx(0.3, abs=1e-6)
    ramp = np.linspace(0, 1, 300)[:, None] + np.linspace(0, 2, 200)
    cut = [Image.fromarray(ramp.astype(np.float32)).crop(box) for box in tiles.boxes(200, 300)]
    maps = np.stack([np.asarray(own.resize((40, 40), Image.Resampling.BILINEAR)) for own in cut])
    whole = tiles.joined(maps)[0]
    height, width = tiles.map_shape(40)
    assert whole.shape == (height, width)
    steps = np.abs(np.diff(whole, axis=0)).max(), np.abs(np.diff(whole, axis=1)).max()
    assert steps[0] < 2.5 / height
    assert steps[1] < 2.5 * 2 / width
    expected = np.asarray(Image.fromarray(ramp.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(whole, expected, atol=0.03)


def test_maps_of_several_pictures_stay_apart() -> None:
    tiles = Tiles(1, 2, 0.0)
    maps = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 2, 2), np.float32)
    np.testing.assert_array_equal(tiles.joined(maps)[:, 0], [[0, 0, 1, 1], [2, 2, 3, 3]])


def test_tiles_suit_the_shape_and_the_size_of_pictures() -> None:
    assert tiles_for(1024, 1024, 240, 0.1) == (1, 1)
    assert tiles_for(1240, 500, 240, 0.1) == (1, 3)
    rows, columns = tiles_for(12_000, 8_000, 240, 0.1)
    assert (rows, columns) == (9, 14)
    assert tiles_for(8, 8, 240, 0.1) == (1, 1)
