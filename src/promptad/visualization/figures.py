"""Figures of predictions, as files, and what all figures share; colours are safe for the colour-blind."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from PIL import Image

from promptad.runtime.overlay import HEATMAP_ALPHA
from promptad.utils.files import whole_file
from promptad.utils.numbers import decimal

DPI = 110
BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8C8C8C", "#222222"  # Okabe and Ito's, mostly
CONTOURS = {0.25: 0.6, 0.5: 1.2, 0.75: 2.0}  # level of the map: width of its line
RULE = "#E4E4E4"  # of faint lines behind what is drawn
LARGEST_IMAGE = 512  # pixels; a panel shows fewer
TOP_LEFT: dict[str, Any] = {"ha": "left", "va": "top", "linespacing": 1.3, "parse_math": False}

Extent = tuple[float, float, float, float]  # left, right, bottom, top


def draw_prediction(
    image: Image.Image, score: float, anomaly_map: np.ndarray, mask: np.ndarray | None, file: Path
) -> None:
    """Draw an image, its `anomaly_map [H, W]` in [0, 1] over it, its true `mask [H, W]` and the map's contours.

    The colours mean the same in every file: their scale is 0 to 1, whatever the map.
    """
    shown = image.convert("RGB")
    shown.thumbnail((LARGEST_IMAGE, LARGEST_IMAGE))
    extent = (0.0, float(shown.width), float(shown.height), 0.0)  # of the image, for maps and masks of any size
    figure, (plain, over, scale, truth, contours) = prediction_panels(shown.width / shown.height)
    plain.imshow(shown, extent=extent)
    caption(plain, f"picture, score {score:.2f}")
    colours = draw_heatmap(over, shown, anomaly_map, extent, extent)
    figure.colorbar(colours, cax=scale, ticks=[0, 0.5, 1]).ax.tick_params(labelsize=9, colors=INK)
    caption(over, f"anomaly map, highest {anomaly_map.max():.2f}")
    draw_mask(truth, mask, extent)
    draw_contours(contours, shown, anomaly_map, extent)
    for axes in (plain, over, truth, contours):
        axes.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:], aspect="equal")
    save(figure, file)


def draw_heatmap(
    axes: Axes, image: Image.Image, anomaly_map: np.ndarray, extent: Extent, map_extent: Extent
) -> AxesImage:
    """Draw an image in grey under its anomaly map, and return the map for a colour bar."""
    axes.imshow(image.convert("L"), cmap="gray", vmin=0, vmax=255, extent=extent)
    return axes.imshow(anomaly_map, cmap="inferno", vmin=0, vmax=1, alpha=HEATMAP_ALPHA, extent=map_extent)


def prediction_panels(aspect: float) -> tuple[Figure, list[Axes]]:
    """A figure with four panels for images of width : height = `aspect`, and a narrow one for the colour scale.

    They are placed by hand, all sizes in inches: a layout engine takes as long as all the rest, for every image.
    """
    panel = float(np.clip(3 * np.sqrt(aspect), 2.5, 4.2))  # about the same area for wide and for tall images
    height = min(panel / aspect, 6.0)
    margin, gap, scale, labels, top = 0.1, 0.12, 0.12, 0.4, 0.32
    lefts = [margin, margin + panel + gap, margin + 2 * (panel + gap)]
    lefts += [lefts[2] + scale + labels, lefts[2] + scale + labels + panel + gap]
    widths = [panel, panel, scale, panel, panel]
    total_width, total_height = lefts[-1] + panel + margin, margin + height + top
    figure = Figure(figsize=(total_width, total_height), dpi=DPI, facecolor="white")
    boxes = [
        (left / total_width, margin / total_height, width / total_width, height / total_height)
        for left, width in zip(lefts, widths, strict=True)
    ]
    return figure, [figure.add_axes(box) for box in boxes]


def draw_mask(axes: Axes, mask: np.ndarray | None, extent: Extent) -> None:
    """The true mask, white on black, or a grey field with a note if there is none."""
    if mask is None:
        axes.set_facecolor("#EEEEEE")
        axes.text(0.5, 0.5, "no mask", transform=axes.transAxes, ha="center", va="center", fontsize=12, color=INK)
        caption(axes, "true mask")
    else:
        axes.imshow(mask, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
        caption(axes, f"true mask, {mask.mean():.1%} of the area")


def draw_contours(axes: Axes, image: Image.Image, anomaly_map: np.ndarray, extent: Extent) -> None:
    """The image under those contours of the map that exist: a low or flat map may cross no level."""
    axes.imshow(image, extent=extent)
    lowest, highest = float(anomaly_map.min()), float(anomaly_map.max())
    levels = [level for level in CONTOURS if lowest < level < highest]
    if levels:
        widths = [CONTOURS[level] for level in levels]
        borders = [width + 1.2 for width in widths]  # white on black shows on every image
        axes.contour(anomaly_map, levels, colors="black", linewidths=borders, origin="upper", extent=extent)
        axes.contour(anomaly_map, levels, colors="white", linewidths=widths, origin="upper", extent=extent)
        caption(axes, f"contours {', '.join(map(str, levels))}")
    else:
        caption(axes, f"no contours, map {lowest:.2f} to {highest:.2f}")


def panel_title(axes: Axes, title: str, note: str) -> None:
    """A bold title and a plain note below it."""
    axes.set_title(f"{title}\n", loc="left", fontsize=12, fontweight="bold", color=INK)
    axes.annotate(note, (0, 1), (0, 5), "axes fraction", "offset points", va="bottom", fontsize=10, color=INK)


def caption(axes: Axes, text: str) -> None:
    """A short line above an image."""
    axes.set_title(text, loc="left", fontsize=11, color=INK, parse_math=False)


def plain_frame(axes: Axes) -> None:
    """Only the two lines that carry a scale."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10, colors=INK)


def percent_scale(axes: Axes, axis: Literal["x", "y"]) -> None:
    """A scale in percent along `axis`, with faint lines behind what is drawn, in a plain frame."""
    scale = axes.xaxis if axis == "x" else axes.yaxis
    scale.set_major_locator(PercentLocator(5, steps=[1, 2, 5, 10]))
    scale.set_major_formatter("{x:g}")
    axes.grid(axis=axis, color=RULE, lw=0.8)
    axes.set_axisbelow(True)
    plain_frame(axes)


class PercentLocator(MaxNLocator):
    """Places for ticks and lines on a scale in percent: none where there can be no value."""

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Return the places between both ends.

        >>> PercentLocator(5, steps=[1, 2, 5, 10]).tick_values(94.5, 105.5)
        [90.0, 95.0, 100.0]
        """
        return [float(place) for place in super().tick_values(vmin, vmax) if 0 <= place <= 100]


def number_text(value: object) -> str:
    """A short text of a verdict's value or limit: a number, a range of two, or nothing."""
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return " to ".join(number_text(end) for end in value)
    return decimal(value) if isinstance(value, float) else str(value)


def save(figure: Figure, file: Path, setting: str = "root_dir") -> None:
    """Write the figure whole or not at all; `setting` names its folder."""
    with whole_file(file, setting) as temporary:
        figure.savefig(temporary)
