"""Local disturbances of images: what a defect could look like, drawn without having seen one.

They stand in for defects twice: prompts are learned from some where words say little of defects, and from others, which
nothing is learned from, it is found what reacts to defects at all. Pasted pieces are those of CutPaste (Li et al., CVPR
2021), rough blobs of another look those of DRAEM (Zavrtanik et al., ICCV 2021).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from promptad.data.transforms import DISTURBED, generator_of

Pixels = np.ndarray  # [side, side, 3] float32, 0 to 255
Mask = np.ndarray  # [side, side] float32, 0 to 1

LEAST_DEVIATION = 8.0  # grey levels: an image of less contrast is disturbed as if it had this


def disturb_views(
    views: Sequence[Image.Image], repeats: Sequence[int], seed: int
) -> tuple[list[Image.Image], np.ndarray]:
    """Return square views, each with one local disturbance, and masks [N, side, side].

    All views come in turn, once for each of the repeats, whose numbers determine the disturbances as the seed does.
    """
    disturbed = [
        disturb(np.asarray(view), generator_of(view, seed, DISTURBED, repeat)) for repeat in repeats for view in views
    ]
    return [Image.fromarray(image) for image, _ in disturbed], np.stack([mask for _, mask in disturbed])


def disturb(image: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, Mask]:
    """Return a square image [side, side, 3] uint8 with one disturbance, and how much of each pixel it covers."""
    pixels = image.astype(np.float32)
    change = (_paste, _stain, _scratch, _blur, _warp)[generator.integers(5)]
    changed, mask = change(pixels, generator)
    mixed = pixels + (changed - pixels) * mask[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8), mask


def _paste(pixels: Pixels, generator: np.random.Generator) -> tuple[Pixels, Mask]:
    """Cover a blob with another piece of the image, perhaps mirrored or turned, and lighter or darker."""
    side = len(pixels)
    piece = np.roll(pixels, tuple(generator.integers(side // 5, side - side // 5, 2)), (0, 1))
    piece = (piece, piece, piece[::-1], piece.swapaxes(0, 1))[generator.integers(4)]
    return piece * np.float32(generator.uniform(0.8, 1.2)), _blob(side, generator)


def _stain(pixels: Pixels, generator: np.random.Generator) -> tuple[Pixels, Mask]:
    """Cover a blob with a rough color that is much lighter or darker than the image is on average."""
    side, deviation = len(pixels), _deviation(pixels)
    color = pixels.mean((0, 1)) + _either_way(generator, 0.7, 2) * deviation + generator.normal(0, 0.4 * deviation, 3)
    rough = color + 0.2 * deviation * _clouds(side, 20, generator)[..., None]
    return rough.astype(np.float32), _blob(side, generator) * np.float32(generator.uniform(0.4, 1))


def _scratch(pixels: Pixels, generator: np.random.Generator) -> tuple[Pixels, Mask]:
    """Draw a thin bent line that is much lighter or darker than the image is on average."""
    color = pixels.mean((0, 1)) + _either_way(generator, 1, 2.5) * _deviation(pixels)
    line = np.broadcast_to(color.astype(np.float32), pixels.shape)
    return line, _line(len(pixels), generator) * np.float32(generator.uniform(0.5, 1))


def _blur(pixels: Pixels, generator: np.random.Generator) -> tuple[Pixels, Mask]:
    """Smooth a blob, as if what is there were missing."""
    side = len(pixels)
    return cv2.GaussianBlur(pixels, (0, 0), side * generator.uniform(0.03, 0.08)), _blob(side, generator)


def _warp(pixels: Pixels, generator: np.random.Generator) -> tuple[Pixels, Mask]:
    """Bend what is in a blob."""
    side = len(pixels)
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    reach = np.float32(side * generator.uniform(0.03, 0.07))
    columns, rows = (places + reach * _clouds(side, 8, generator) for places in (columns, rows))
    bent = cv2.remap(pixels, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return bent, _blob(side, generator)


def _blob(side: int, generator: np.random.Generator) -> Mask:
    """Return a rough blob with a soft edge, of 5 to 20 % of the side in radius, longer one way than the other."""
    radius = side * np.exp(generator.uniform(np.log(0.05), np.log(0.2)))
    left, top = generator.uniform(0.15, 0.85, 2) * side
    angle, stretch = generator.uniform(0, np.pi), np.exp(generator.uniform(-0.7, 0.7))
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    along = ((columns - left) * np.cos(angle) + (rows - top) * np.sin(angle)) / stretch
    across = ((rows - top) * np.cos(angle) - (columns - left) * np.sin(angle)) * stretch
    distance = np.hypot(along, across) / radius + 0.175 * _clouds(side, 12, generator)
    return np.asarray(np.clip((1 - distance) * 4, 0, 1), np.float32)


def _line(side: int, generator: np.random.Generator) -> Mask:
    """Return a line of four pieces, 1 to 3 pixels wide."""
    heading = generator.uniform(0, 2 * np.pi) + np.cumsum(generator.normal(0, 0.35, 4))
    steps = side * generator.uniform(0.04, 0.14) * np.stack([np.cos(heading), np.sin(heading)], 1)
    start = generator.uniform(0.1, 0.9, 2) * side
    points = np.rint(8 * np.vstack([start, start + np.cumsum(steps, 0)])).astype(np.int32)  # in eighths of a pixel
    drawn = np.zeros((side, side), np.uint8)
    cv2.polylines(drawn, [points], False, 255, int(generator.integers(1, 4)), cv2.LINE_AA, 3)
    return drawn.astype(np.float32) / 255


def _clouds(side: int, cells: int, generator: np.random.Generator) -> np.ndarray:
    """Return smooth noise [side, side] of zero mean and unit deviation, with this many hills a side."""
    hills = generator.standard_normal((cells, cells), dtype=np.float32)
    field = cv2.resize(hills, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _deviation(pixels: Pixels) -> float:
    return max(LEAST_DEVIATION, float(pixels.std()))


def _either_way(generator: np.random.Generator, least: float, most: float) -> float:
    return float(generator.choice((-1, 1)) * generator.uniform(least, most))
