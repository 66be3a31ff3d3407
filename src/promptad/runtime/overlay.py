"""An anomaly map over its image, with Pillow and numpy alone; the colours mean the same in every file."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from promptad.data.region_of_interest import RegionOfInterest
from promptad.runtime.metadata import Metadata
from promptad.runtime.records import PredictionRecord
from promptad.structures import SCORE_THRESHOLD, Frame
from promptad.utils.files import whole_file

HEATMAP_ALPHA = 0.6  # of an anomaly map over its image, in all figures
LEAST_SIDE, LARGEST_SIDE = 256, 1024  # pixels of an overlay's longer side
LINE, EDGE = 1 / 300, 1 / 512  # widths of a region's white line and of its dark edges, as shares of that side
RING = 1 / 16  # radius of the ring round the highest place, as a share of the map's longer side
FADED = 0.6  # of what does not count
PNG: dict[str, Any] = {"format": "PNG", "compress_level": 1}
# The inferno scale at 25 places, RGB; between them it is within 4 of 255.
_INFERNO = np.frombuffer(
    bytes.fromhex(
        "000004050417110a30210c4a320a5e450a6957106e67166e781c6d8a226a9a2865ab2f5ebc3754ca404ad84c3ee45a31ed6925f57b17"
        "f98e09fca108fbb61af9cb35f4df53f2f27dfcffa4"
    ),
    np.uint8,
).reshape(-1, 3)


def draw_overlay(
    image: Image.Image, anomaly_map: np.ndarray, frame: Frame, *, marks_highest: bool = False
) -> Image.Image:
    """Draw an image in grey under its map [H, W] in [0, 1]; a white line with dark edges goes round what is above 0.5.

    A ring instead of it goes round the highest place if that is asked for. The map lies in a frame of the image. The
    overlay's longer side is the image's, but at least 256 and at most 1024 pixels.
    """
    drawn = fitted(image).convert("L").convert("RGB")
    left, top, right, bottom = (round(edge) for edge in frame.on(*drawn.size))
    size = max(right - left, 1), max(bottom - top, 1)
    small = Image.fromarray(np.asarray(anomaly_map, np.float32))
    values = np.asarray(small.resize(size, Image.Resampling.BILINEAR))
    under = drawn.crop((left, top, left + size[0], top + size[1]))
    pixels = np.array(Image.blend(under, Image.fromarray(inferno(values)), HEATMAP_ALPHA))
    line, edge = (max(round(share * max(drawn.size)), 1) for share in (LINE, EDGE))
    inside = highest_place(values) if marks_highest else values > SCORE_THRESHOLD
    near = _grown(inside, edge)
    white = _grown(near, line)
    pixels[_grown(white, edge) & ~inside] = 0
    pixels[white & ~near] = 255
    drawn.paste(Image.fromarray(pixels), (left, top))
    return drawn


def highest_place(values: np.ndarray) -> np.ndarray:
    """Return the mask [H, W] of a disc round the highest place of a map [H, W]."""
    height, width = values.shape
    row, column = np.unravel_index(values.argmax(), values.shape)
    rows, columns = np.ogrid[:height, :width]
    return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= (RING * max(height, width)) ** 2)


def faded(image: Image.Image, region: RegionOfInterest | None) -> Image.Image:
    """Return an image whose pixels that do not count are faded, if there is a region that does."""
    if region is None or region.mask.all():
        return image
    light = Image.blend(image, Image.new("RGB", image.size, "white"), FADED)
    return Image.composite(image, light, Image.fromarray(region.mask))


def framed(image: Image.Image, frame: Frame, height: int, width: int) -> Image.Image:
    """Return what a map shows of an image, at that height and width."""
    return image.resize((width, height), Image.Resampling.BICUBIC, frame.on(*image.size))


def fitted(image: Image.Image) -> Image.Image:
    """Return an image at the size of its overlay."""
    longer = max(image.size)
    factor = min(max(longer, LEAST_SIDE), LARGEST_SIDE) / longer
    if factor == 1:
        return image
    width, height = (max(round(side * factor), 1) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)


def inferno(values: np.ndarray) -> np.ndarray:
    """Return the colours [H, W, 3] uint8 of values [H, W] in [0, 1]; those outside have the nearest colour."""
    places = np.linspace(0, 255, len(_INFERNO))
    table = np.stack([np.interp(np.arange(256), places, channel) for channel in _INFERNO.T], axis=1)
    steps = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    colours: np.ndarray = np.rint(table).astype(np.uint8)[steps]
    return colours


def write_overlay(
    known: Metadata, record: PredictionRecord, image: Image.Image, anomaly_map: np.ndarray, file: Path
) -> None:
    """Write the overlay of a record's image.

    Raises:
        InputError: the folder cannot be written to.
    """
    with whole_file(file, "output") as temporary:
        drawn = draw_overlay(image, anomaly_map, known.frame, marks_highest=record.is_without_place)
        drawn.save(temporary, **PNG)


def overlay_png(image: Image.Image, anomaly_map: np.ndarray, frame: Frame, marks_highest: bool = False) -> bytes:
    """Return an overlay as the bytes of a PNG file."""
    file = BytesIO()
    draw_overlay(image, anomaly_map, frame, marks_highest=marks_highest).save(file, **PNG)
    return file.getvalue()


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    """Return a mask [H, W] that has grown by some pixels, as a square does."""
    for axis in (0, 1):
        padded = np.pad(mask, [(by, by) if own == axis else (0, 0) for own in (0, 1)])
        length = mask.shape[axis]
        mask = np.logical_or.reduce([padded.take(range(s, s + length), axis) for s in range(2 * by + 1)])
    return mask
