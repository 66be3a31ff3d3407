"""Overlays: an image beside its anomaly map, with its anomalous regions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from promptad.runtime.overlay import highest_place
from promptad.structures import SCORE_THRESHOLD, Frame, Region
from promptad.visualization.figures import DPI, LARGEST_IMAGE, ORANGE, Extent, caption, draw_heatmap

PANEL = 3.4  # inches
TITLE = 0.5  # inches above each
MARGIN = 0.08  # inches


@dataclass(frozen=True)
class Overlay:
    """What is drawn of one image."""

    image: Image.Image
    anomaly_map: np.ndarray  # [H, W] in [0, 1]
    frame: Frame  # where the map lies on the image
    regions: tuple[Region, ...]
    title: str
    marks_highest: bool = False  # whether a ring goes round the highest place of the map


def draw_overlays(overlays: Sequence[Overlay]) -> Figure:
    """Draw each image with the boxes of its regions, and beside it with its map, in a row of its own."""
    heights = [TITLE + min(PANEL * o.image.height / o.image.width, 1.5 * PANEL) + MARGIN for o in overlays]
    width, height = 2 * PANEL + 3 * MARGIN, sum(heights)
    figure, top = Figure(figsize=(width, height), dpi=DPI, facecolor="white"), height
    for overlay, own in zip(overlays, heights, strict=True):
        top -= own
        panels = [
            figure.add_axes((left / width, (top + MARGIN) / height, PANEL / width, (own - TITLE - MARGIN) / height))
            for left in (MARGIN, PANEL + 2 * MARGIN)
        ]
        draw_overlay(overlay, panels)
    return figure


def draw_overlay(overlay: Overlay, panels: Sequence[Axes]) -> None:
    """Draw one image into two panels. The colours mean the same in every file: their scale is 0 to 1."""
    boxed, heatmap = panels
    width, height = overlay.image.size
    shown = overlay.image.convert("RGB")
    shown.thumbnail((LARGEST_IMAGE, LARGEST_IMAGE))
    extent = (0.0, float(width), float(height), 0.0)
    boxed.imshow(shown, extent=extent)
    for region in overlay.regions:
        corner, size = (region.left, region.top), (region.right - region.left, region.bottom - region.top)
        for colour, line in (("white", 3.0), (ORANGE, 1.6)):  # visible on every image
            boxed.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=line))
    place = map_extent(overlay)
    draw_heatmap(heatmap, shown, overlay.anomaly_map, extent, place)
    if overlay.regions:
        style: dict[str, Any] = {"colors": "white", "linewidths": 1.4, "origin": "upper"}
        heatmap.contour(overlay.anomaly_map, [SCORE_THRESHOLD], extent=place, **style)
    if overlay.marks_highest:
        for axes in panels:
            axes.contour(highest_place(overlay.anomaly_map), [0.5], extent=place, colors=ORANGE, origin="upper")
    caption(boxed, overlay.title)  # across both panels
    for axes in panels:
        axes.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:], aspect="equal", anchor="NW")


def map_extent(overlay: Overlay) -> Extent:
    """Return the extent of the map on the image, in image pixels."""
    left, top, right, bottom = overlay.frame.on(*overlay.image.size)
    return left, right, bottom, top
