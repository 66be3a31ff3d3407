"""Drawing in base units: a canvas is 144 units wide and high, however many pixels it has."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

UNITS = 144
SCALE = 2  # pixels a unit
SIDE = UNITS * SCALE
CENTER = UNITS / 2

FloatImage = npt.NDArray[np.float32]  # [row, column, channel], 0 to 255
Field = npt.NDArray[np.float32]  # [row, column], one number a pixel
RGBImage = npt.NDArray[np.uint8]  # [row, column, channel], RGB
Mask = npt.NDArray[np.uint8]  # [row, column], 0 to 255
Color = npt.NDArray[np.float32]  # [channel], RGB, 0 to 255
Point = Sequence[float] | npt.NDArray[np.float64]  # column, row in units
Random = np.random.Generator

# Broadcast against each other, they give every pixel's place in units.
COLUMNS: Field = np.arange(SIDE, dtype=np.float32)[None, :] / np.float32(SCALE)  # [1, column]
ROWS: Field = np.arange(SIDE, dtype=np.float32)[:, None] / np.float32(SCALE)  # [row, 1]

_SUBPIXEL_BITS = 4  # OpenCV takes places as integers, here in sixteenths of a pixel


def seeded(*seed: int) -> Random:
    """Give the generator of one purpose: the seed of a thing, then the number of the purpose."""
    return np.random.Generator(np.random.SFC64(list(seed)))


def hsv(
    random: Random,
    hue: tuple[float, float] = (0, 1),
    saturation: tuple[float, float] = (0, 1),
    value: tuple[float, float] = (0, 1),
) -> Color:
    """Draw a colour from ranges of hue (1 is once around), saturation and value."""
    drawn_hue, drawn_saturation, drawn_value = (random.uniform(*limits) for limits in (hue, saturation, value))
    return np.array(hsv_to_rgb(drawn_hue % 1, drawn_saturation, drawn_value), dtype=np.float32) * np.float32(255)


def gray(level: float) -> Color:
    """Give the gray of a level from 0 to 255."""
    return np.full(3, np.clip(level, 0, 255), dtype=np.float32)


def brighter(color: Color, factor: float) -> Color:
    """Multiply a colour; white is the limit."""
    return np.asarray(np.minimum(color * factor, 255), dtype=np.float32)


def clouds(random: Random, cells: int | tuple[int, int]) -> Field:
    """Draw smooth noise of unit deviation at its nodes: `cells` nodes a side, or (rows, columns) of them."""
    shape = (cells, cells) if isinstance(cells, int) else cells
    return enlarged(random.standard_normal(shape, dtype=np.float32), SIDE)


def grain(random: Random) -> Field:
    """Draw white noise with one value a unit, so that it looks the same whatever the number of pixels."""
    noise = random.standard_normal((UNITS, UNITS), dtype=np.float32)
    return enlarged(noise, SIDE) * np.float32(1.15)  # makes up for what enlarging smooths away


def enlarged(field: Field, side: int) -> Field:
    """Resize a field to [side, side] with cubic interpolation."""
    return np.asarray(cv2.resize(field, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def shaded(color: Color | RGBImage | FloatImage, brightness: Field) -> FloatImage:
    """Multiply a colour or an image by a brightness per pixel."""
    return np.asarray(color * brightness[..., None], dtype=np.float32)


def painted(image: FloatImage, mask: Mask, color: Color | RGBImage, opacity: float) -> FloatImage:
    """Paint a colour, or an image [row, column, channel], over an image where the mask is."""
    left, top, width, height = cv2.boundingRect(mask)
    window = (slice(top, top + height), slice(left, left + width))  # most masks are small: the rest stays as it is
    weight = mask[window].astype(np.float32)[..., None] * np.float32(opacity / 255)
    paint = color[window] if color.ndim == 3 else color
    result = image.copy()
    result[window] += (paint - result[window]) * weight
    return result


def where(condition: npt.NDArray[np.bool_]) -> Mask:
    """Make a mask that is 255 where the condition holds."""
    return condition.astype(np.uint8) * np.uint8(255)


def softened(mask: Mask, deviation: float) -> Mask:
    """Blur a mask; the deviation is in units."""
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), deviation * SCALE), np.uint8)


def grown(mask: Mask, units: int) -> Mask:
    """Widen a mask to every side."""
    return np.asarray(cv2.dilate(mask, _square(units)), np.uint8)


def shrunk(mask: Mask, units: int) -> Mask:
    """Narrow a mask from every side."""
    return np.asarray(cv2.erode(mask, _square(units)), np.uint8)


@dataclass(frozen=True)
class Part:
    """A drawn part on its canvas. A texture fills the whole image and has no outline."""

    image: FloatImage  # [row, column, channel], not clipped yet
    alpha: Mask  # [row, column], 255 on the part
    is_texture: bool = False

    def brightness(self) -> float:
        """Give the mean level of the part, 0 to 255."""
        return float(np.mean(cv2.mean(self.image, self.alpha)[:3]))


class Canvas:
    """A square of 8-bit pixels, in colour or as a mask, that shapes are drawn on without jagged edges."""

    def __init__(self, start: Color | FloatImage | None = None):
        """Start from a colour, from an image [row, column, channel], or, without either, as an empty mask."""
        if start is None:
            self.pixels: RGBImage | Mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        else:
            self.pixels = np.broadcast_to(start, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)

    def polygon(self, corners: Sequence[Point] | npt.NDArray[np.float64], color: Color | int) -> None:
        """Fill a polygon, convex or not, given its corners."""
        cv2.fillPoly(self.pixels, [_fixed(corners)], _scalar(color), cv2.LINE_AA, _SUBPIXEL_BITS)

    def box(self, left: float, top: float, right: float, bottom: float, color: Color | int) -> None:
        """Fill an upright rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], color)

    def ellipse(self, x: float, y: float, half_width: float, half_height: float, color: Color | int) -> None:
        """Fill an upright ellipse."""
        center, axes = _fixed([(x, y), (half_width, half_height)]).tolist()
        cv2.ellipse(self.pixels, center, axes, 0, 0, 360, _scalar(color), -1, cv2.LINE_AA, _SUBPIXEL_BITS)

    def circle(self, x: float, y: float, radius: float, color: Color | int) -> None:
        """Fill a circle."""
        self.ellipse(x, y, radius, radius, color)

    def arc(
        self, radius: float, width: float, color: Color | int, start: float = 0.0, extent: float = 2 * np.pi
    ) -> None:
        """Draw a band around the centre of the canvas; angles in radians, all around unless told."""
        angle = start + np.linspace(0, extent, 64)
        outer, inner = (around(angle, radius + side * width / 2) for side in (1, -1))
        self.polygon(np.concatenate([outer, inner[::-1]]), color)

    def line(self, points: Sequence[Point] | npt.NDArray[np.float64], width: float, color: Color | int) -> None:
        """Draw a line through all the points, with round ends and joints.

        OpenCV's own lines come in a few widths only, none of them the thickness asked for.
        """
        half = max(width / 2 - 0.5 / SCALE, 0.1)  # a filled shape is about half a pixel too wide on each side
        places = np.asarray(points, dtype=np.float64)  # [point, 2]
        for start, end in pairwise(places):
            along = (end - start) / max(float(np.hypot(*(end - start))), 1e-6)
            across = half * np.array([-along[1], along[0]])
            self.polygon([start + across, end + across, end - across, start - across], color)
        for x, y in places[1:-1]:
            self.circle(x, y, half, color)

    def text(self, words: str, left: float, bottom: float, size: float, weight: float, color: Color | int) -> None:
        """Write words; `size` is in OpenCV's own measure, `weight` the thickness of the strokes in units."""
        place = (round(left * SCALE), round(bottom * SCALE))
        font, thickness = cv2.FONT_HERSHEY_SIMPLEX, round(weight * SCALE)
        cv2.putText(self.pixels, words, place, font, size * SCALE, _scalar(color), thickness, cv2.LINE_AA)


def around(angle: npt.ArrayLike, radius: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Give the point, or points [..., 2], at an angle in radians around the centre of the canvas."""
    directions = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.asarray(CENTER + np.asarray(radius)[..., None] * directions, np.float64)


def _fixed(points: Sequence[Point] | npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Turn places in units into OpenCV's integers, [point, 2]."""
    return np.round(np.asarray(points, dtype=np.float64) * (SCALE << _SUBPIXEL_BITS)).astype(np.int32)


def _scalar(color: Color | int) -> list[float]:
    """Turn a colour or a level into what OpenCV's drawing takes."""
    return [float(level) for level in np.atleast_1d(color)]


def _square(units: int) -> Mask:
    side = 2 * units * SCALE + 1
    return np.ones((side, side), dtype=np.uint8)
