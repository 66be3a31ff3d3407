"""Regions: boxes on the original image, and what is drawn of them."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label  # type: ignore[attr-defined]  # it has no type stubs

from promptad.runtime.regions import connected_runs, find_regions
from promptad.structures import WHOLE, Frame, Region
from promptad.visualization.overlays import Overlay, draw_overlays, map_extent

CENTRE = Frame(0.25, 0.25, 0.75, 0.75)


def make_anomaly_map() -> np.ndarray:
    anomaly_map = np.zeros((8, 8), np.float32)
    anomaly_map[1:3, 2:5] = 0.7
    anomaly_map[1, 3] = 0.8
    anomaly_map[6, 6], anomaly_map[7, 7] = 0.9, 0.6
    anomaly_map[4, 0] = 0.5
    return anomaly_map


def test_regions_are_boxes_with_the_highest_maximum_first() -> None:
    assert find_regions(make_anomaly_map(), WHOLE, 80, 160) == (
        Region(60, 120, 80, 160, float(np.float32(0.9)), 65, 130),
        Region(20, 20, 50, 60, float(np.float32(0.8)), 35, 30),
    )


def test_a_map_of_the_central_part_is_placed_where_it_was_cropped() -> None:
    region = find_regions(make_anomaly_map(), CENTRE, 160, 160)[0]  # four more on every side
    assert (region.left, region.top, region.right, region.bottom) == (100, 100, 120, 120)
    overlay = Overlay(Image.new("RGB", (160, 160)), make_anomaly_map(), CENTRE, (), "")
    assert map_extent(overlay) == (40, 120, 120, 40)


def test_a_box_holds_every_pixel_that_its_map_shows() -> None:
    rng = np.random.default_rng(0)
    for width, height in ((7, 5), (33, 21), (8, 8)):
        anomaly_map = (rng.random((8, 8)) > 0.8).astype(np.float32)
        regions = find_regions(anomaly_map, WHOLE, width, height)
        for row, column in np.argwhere(anomaly_map > 0.5):
            x, y = (column + 0.5) * width / 8, (row + 0.5) * height / 8
            assert any(r.left <= x <= r.right and r.top <= y <= r.bottom for r in regions)
        assert all(0 <= r.x < width and 0 <= r.y < height and r.right <= width for r in regions)


def test_a_map_below_the_threshold_has_no_regions() -> None:
    assert find_regions(np.full((4, 4), 0.5, np.float32), WHOLE, 40, 40) == ()


@pytest.mark.parametrize("density", [0.1, 0.3, 0.5, 0.7])
def test_connected_parts_are_those_of_scipy(density: float) -> None:
    mask = np.random.default_rng(1).random((40, 30)) < density
    labelled, count = label(mask, structure=np.ones((3, 3)))
    parts = connected_runs(mask)
    assert len(parts) == count
    found = np.zeros(mask.shape, int)
    for number, runs in enumerate(parts, 1):
        for run in runs:
            found[run.row, run.start : run.stop] = number
    np.testing.assert_array_equal(found, labelled)


def test_each_image_has_a_row_with_its_boxes() -> None:
    anomaly_map = make_anomaly_map()
    overlays = [
        Overlay(Image.new("RGB", size), anomaly_map, WHOLE, find_regions(anomaly_map, WHOLE, *size), "anomaly $")
        for size in ((80, 40), (40, 90))
    ]
    figure = draw_overlays(overlays)
    boxed, heatmap, *others = figure.axes
    assert len(others) == 2
    assert len(boxed.patches) == 2 * len(overlays[0].regions)
    assert len(heatmap.images) == 2
    assert boxed.get_xlim() == (0, 80)
