"""Overlays: a picture beside its map, with the regions that are rejected."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from promptad.drawing import DPI, LARGEST_PICTURE, ORANGE, Extent, caption
from promptad.records import Region
from promptad.regions import THRESHOLD

PANEL = 3.4  # inches
TITLE = 0.5  # inches above each
MARGIN = 0.08  # inches


@dataclass(frozen=True)
class Overlay:
    """What is drawn of one picture."""

    picture: Image.Image
    heat: np.ndarray  # [S, S] in [0, 1]
    whole: int  # pixels a side of the square whose central part the map shows
    regions: tuple[Region, ...]
    title: str


def draw_overlays(overlays: Sequence[Overlay]) -> Figure:
    """Draw each picture with the boxes of its regions, and beside it with its map, in a row of its own."""
    heights = [TITLE + min(PANEL * o.picture.height / o.picture.width, 1.5 * PANEL) + MARGIN for o in overlays]
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
    """Draw one picture into two panels. The colours mean the same in every file: their scale is 0 to 1."""
    boxed, heated = panels
    width, height = overlay.picture.size
    shown = overlay.picture.convert("RGB")
    shown.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
    extent = (0.0, float(width), float(height), 0.0)
    boxed.imshow(shown, extent=extent)
    for region in overlay.regions:
        corner, size = (region.left, region.top), (region.right - region.left, region.bottom - region.top)
        for colour, line in (("white", 3.0), (ORANGE, 1.6)):  # seen on every picture
            boxed.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=line))
    heated.imshow(shown.convert("L"), cmap="gray", vmin=0, vmax=255, extent=extent)
    place = map_extent(overlay)
    heated.imshow(overlay.heat, cmap="inferno", vmin=0, vmax=1, alpha=0.6, extent=place)
    if overlay.regions:
        heated.contour(overlay.heat, [THRESHOLD], colors="white", linewidths=1.4, origin="upper", extent=place)
    caption(boxed, overlay.title)  # across both panels
    for axes in panels:
        axes.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:], aspect="equal", anchor="NW")


def map_extent(overlay: Overlay) -> Extent:
    """Return where the map lies on the picture, in its pixels."""
    side, (width, height) = len(overlay.heat), overlay.picture.size
    margin = (overlay.whole - side) // 2
    near, far = margin / overlay.whole, (margin + side) / overlay.whole
    return near * width, far * width, far * height, near * height
