"""Figures of a detector's prototypes and of its predictions, as files; colours are safe for the colour-blind."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image

from promptad.runtime.overlay import HEATMAP_ALPHA
from promptad.settings import HEALTHY_SEPARATION, HEALTHY_USAGE
from promptad.utils.files import whole_file

DPI = 110
BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8C8C8C", "#222222"  # Okabe and Ito's, mostly
MOST_WITH_NUMBERS = 16  # prototypes; more leave no room for a number at each
LETTERS_PER_LINE = 170  # across the whole diagnostics figure
CONTOURS = {0.25: 0.6, 0.5: 1.2, 0.75: 2.0}  # level of the map: width of its line
LARGEST_IMAGE = 512  # pixels; a panel shows fewer
TOP_LEFT: dict[str, Any] = {"ha": "left", "va": "top", "linespacing": 1.3, "parse_math": False}

Extent = tuple[float, float, float, float]  # left, right, bottom, top


def draw_diagnostics(diagnostics: Mapping[str, Any], abnormal_cosines: np.ndarray, file: Path) -> None:
    """Draw the usage of the prototypes, the cosines `[M, M]` between abnormal ones and their separation from normal.

    `diagnostics` is the content of the diagnostics file; usages are shares in [0, 1].
    """
    verdicts = diagnostics["verdicts"]
    texts = [verdict_text(verdict, LETTERS_PER_LINE // len(verdicts)) for verdict in verdicts]
    strip_height = 0.35 + 0.21 * max((f"{heading}\n{details}".count("\n") for heading, details in texts), default=0)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(13, 6 + strip_height), dpi=DPI, facecolor="white", layout=layout)
    title = f"{diagnostics['class_name']}, k = {diagnostics['k']}"
    figure.suptitle(title, fontsize=16, fontweight="bold", color=INK, parse_math=False)  # a name may hold a "$"
    panels, strip = figure.subfigures(2, 1, height_ratios=[5.5, strip_height], squeeze=False)[:, 0]
    grid = panels.add_gridspec(2, 3, width_ratios=[1, 1.2, 1])
    draw_normal_usage(panels.add_subplot(grid[0, 0]), diagnostics["normal_prototype_frequencies"], verdicts)
    draw_abnormal_usage(panels.add_subplot(grid[1, 0]), diagnostics["abnormal_prototype_frequencies"])
    draw_cosines(panels.add_subplot(grid[:, 1]), abnormal_cosines, diagnostics["abnormal_collapse"]["mean"])
    draw_separation(panels.add_subplot(grid[:, 2]), diagnostics["abnormal_to_mean_normal"])
    draw_verdicts(strip, texts, [verdict["healthy"] for verdict in verdicts], strip_height)
    save(figure, file)


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


def draw_normal_usage(axes: Axes, usage: Sequence[float], verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Bars of the normal prototypes' shares of patches over the healthy band; bars outside it have another colour."""
    fair = 1 / len(usage)
    bands = [verdict["limit"] for verdict in verdicts if isinstance(verdict["limit"], (list, tuple))]
    low, high = bands[0] if bands else (fair * (1 - HEALTHY_USAGE), min(fair * (1 + HEALTHY_USAGE), 1))
    axes.axhspan(low, high, color=GREEN, alpha=0.15, lw=0)
    draw_bars(axes, usage, [BLUE if low <= share <= high else ORANGE for share in usage])
    axes.set_ylim(0, 1.2 * max(*usage, high))
    panel_title(axes, "Usage of normal prototypes", f"share of patches, healthy from {low:.0%} to {high:.0%}")


def draw_abnormal_usage(axes: Axes, usage: Sequence[float]) -> None:
    """Bars of the abnormal prototypes' shares of patches."""
    draw_bars(axes, usage, [GREY] * len(usage))
    axes.set_ylim(0, max(1.2 * max(usage), 0.01))
    panel_title(axes, "Usage of abnormal prototypes", "share of patches")


def draw_bars(axes: Axes, usage: Sequence[float], colours: Sequence[str]) -> None:
    """Bars with their numbers, counted from 1."""
    places = np.arange(1, len(usage) + 1)
    bars = axes.bar(places, usage, color=colours, width=0.65)
    axes.set_xlim(0.4, len(usage) + 0.6)
    if len(usage) <= MOST_WITH_NUMBERS:
        size = 9 if len(usage) <= 10 else 7
        axes.bar_label(bars, [f"{share:.0%}" for share in usage], padding=2, fontsize=size, color=INK)
        axes.set_xticks(places)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
    plain_frame(axes)


def draw_cosines(axes: Axes, cosines: np.ndarray, mean: float | None) -> None:
    """The matrix `[M, M]` of cosines between abnormal prototypes; its diagonal, always 1, stays grey."""
    count = len(cosines)
    pairs = np.where(np.eye(count, dtype=bool), np.nan, cosines)
    edges = (0.5, count + 0.5, count + 0.5, 0.5)  # counts from 1, downwards
    axes.set(facecolor="#D8D8D8", anchor="N")
    image = axes.imshow(pairs, cmap="RdBu_r", vmin=-1, vmax=1, extent=edges)
    if count <= MOST_WITH_NUMBERS:
        for row, column in np.argwhere(~np.isnan(pairs)):
            cosine = pairs[row, column]
            style: dict[str, Any] = {"color": "white" if abs(cosine) > 0.6 else INK, "fontsize": min(11, 90 / count)}
            axes.text(column + 1, row + 1, f"{cosine:.2f}", ha="center", va="center", **style)
        axes.set(xticks=range(1, count + 1), yticks=range(1, count + 1))
    bar = axes.figure.colorbar(image, ax=axes, orientation="horizontal", fraction=0.04, pad=0.03, aspect=35)
    bar.set_ticks([-1, -0.5, 0, 0.5, 1])
    plain_frame(axes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    note = "a single prototype has no pairs" if mean is None else f"mean of pairs {mean:.2f}"
    panel_title(axes, "Cosines between abnormal prototypes", note)


def draw_separation(axes: Axes, cosines: Sequence[float]) -> None:
    """The cosine of each abnormal prototype to the mean normal one, their mean, and the limit of the mean."""
    places = np.arange(1, len(cosines) + 1)
    mean = float(np.mean(cosines))
    colours = [BLUE if cosine < HEALTHY_SEPARATION else ORANGE for cosine in cosines]
    axes.axvspan(-1.1, HEALTHY_SEPARATION, color=GREEN, alpha=0.15, lw=0)
    axes.axvline(HEALTHY_SEPARATION, color=GREEN, lw=1.5, ls="--")
    axes.axvline(mean, color=INK, lw=1.2)
    axes.hlines(places, 0, cosines, color=colours, lw=2)
    axes.scatter(cosines, places, s=60, color=colours, zorder=3)
    axes.set(xlim=(-1.1, 1.1), ylim=(len(cosines) + 0.5, 0.5), xticks=[-1, -0.5, 0, 0.5, 1])
    if len(cosines) <= MOST_WITH_NUMBERS:
        axes.set_yticks(places)
    plain_frame(axes)
    note = f"mean {mean:.2f} (solid line), healthy below {HEALTHY_SEPARATION} (dashed)"
    panel_title(axes, "Cosines to the mean normal", note)


def verdict_text(verdict: Mapping[str, Any], letters: int) -> tuple[str, str]:
    """A verdict's heading, and its value, limit and, if it is unhealthy, advice, in lines of at most `letters`."""
    mark = "✓ healthy" if verdict["healthy"] else "✗ unhealthy"
    details = f"{number_text(verdict['value'])}, limit {number_text(verdict['limit'])}"
    if not verdict["healthy"]:
        details += "\n" + fill(verdict["advice"], letters)
    return fill(f"{mark}: {verdict['name'].replace('_', ' ')}", int(0.75 * letters)), details


def draw_verdicts(
    strip: SubFigure, texts: Sequence[tuple[str, str]], healthy: Sequence[bool], strip_height: float
) -> None:
    """The verdicts side by side, in a strip of `strip_height` inches."""
    for number, ((heading, details), good) in enumerate(zip(texts, healthy, strict=True)):
        left = 0.015 + 0.985 * number / len(texts)
        below = 1 - 0.25 * (1 + heading.count("\n")) / strip_height
        strip.text(left, 1, heading, **TOP_LEFT, fontsize=12, fontweight="bold", color=BLUE if good else ORANGE)
        strip.text(left, below, details, **TOP_LEFT, fontsize=10, color=INK)


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


def percent_text(value: float, _: object = None) -> str:
    """The label of a tick on a scale in percent: none where there can be no value.

    >>> percent_text(97.5), percent_text(101), percent_text(-2)
    ('97.5', '', '')
    """
    return f"{value:g}" if 0 <= value <= 100 else ""


def number_text(value: object) -> str:
    """A short text of a verdict's value or limit: a number, a range of two, or nothing."""
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return " to ".join(number_text(end) for end in value)
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def save(figure: Figure, file: Path, setting: str = "root_dir") -> None:
    """Write the figure whole or not at all; `setting` names its folder."""
    with whole_file(file, setting) as temporary:
        figure.savefig(temporary)
