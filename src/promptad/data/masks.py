"""Read the true mask of a defect, at the size of an anomaly map."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from promptad.data.images import check_pixels, decoding_in_words, image_size, open_upright
from promptad.data.region_of_interest import PixelBox
from promptad.data.search import mask_files
from promptad.data.stray_masks import MAX_LABELS
from promptad.errors import InputError

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})


def read_mask(path: Path, shape: tuple[int, int], image: Path, box: PixelBox | None = None) -> NDArray[np.bool_]:
    """Where the mask shows a defect, resized to `[height, width]` by the nearest pixel; no defect vanishes.

    Of a folder with a mask for each defect, where any of them does. With a box in its pixels, that part of it alone;
    beyond its edges nothing is marked.

    Few values are labels, and every visible one above 0 is a defect: VisA numbers its kinds 1, 2, 3, ... Many values
    are soft edges, which are cut at half of the largest. A defect that lies between the pixels of the resized mask gets
    the nearest one. Raises InputError if a mask and its `image` differ in size, and for a folder without masks.
    """
    shown = [_read_mask_file(file, shape, image, box) for file in mask_files(path)]
    together: NDArray[np.bool_] = np.logical_or.reduce(shown)
    return together


def _read_mask_file(path: Path, shape: tuple[int, int], image: Path, box: PixelBox | None) -> NDArray[np.bool_]:
    """Where one file shows a defect: see `read_mask`."""
    if path.suffix.lower() in JPEG_SUFFIXES:
        raise InputError(f"mask {path} is a JPEG, whose compression smears a defect's border: export it as PNG")
    mask = open_upright(path)
    width, height = image_size(image)
    if mask.size != (width, height):
        raise InputError(
            f"mask {path} has {mask.width} x {mask.height} pixels, its picture {image} {width} x {height}: "
            "export the mask at the picture's size"
        )
    defect = _defect_pixels(mask if box is None else _part_of(mask, box), str(path))
    (height, width), (rows, columns) = defect.shape, shape
    resized = np.array(Image.fromarray(defect).resize((columns, rows), Image.Resampling.NEAREST), dtype=np.bool_)
    if rows < height or columns < width:
        regions, count = ndimage.label(defect, structure=np.ones((3, 3)))  # type: ignore[attr-defined]
        kept = np.unique(
            np.asarray(Image.fromarray(regions.astype(np.int32)).resize((columns, rows), Image.Resampling.NEAREST))
        )
        for number in set(range(1, count + 1)) - set(kept.tolist()):
            down, across = np.nonzero(regions == number)
            resized[int((down.mean() + 0.5) * rows / height), int((across.mean() + 0.5) * columns / width)] = True
    return resized


def _part_of(mask: Image.Image, box: PixelBox) -> Image.Image:
    # What comes in beyond an edge has the value 0, which may be any colour of a palette.
    return (mask.convert("RGBA") if mask.mode in ("P", "PA") else mask).crop(box)


def _defect_pixels(mask: Image.Image, name: str) -> NDArray[np.bool_]:
    """The mask's visible pixels that are marked, `[height, width]`: see `read_mask`."""
    check_pixels(mask, name)
    if mask.mode.startswith("I;16"):
        return np.asarray(mask) > 0
    with decoding_in_words(name):
        pixels = np.asarray(mask.convert("RGBA"))  # [height, width, 4]
    red, green, blue, alpha = (pixels[..., channel] for channel in range(4))
    brightest = np.maximum(np.maximum(red, green), blue)  # max() over so short an axis is slow
    brightest[alpha == 0] = 0
    values = np.flatnonzero(np.bincount(brightest.ravel(), minlength=256))
    least = 1 if len(values) <= MAX_LABELS else (int(values[-1]) + 1) // 2
    defect: NDArray[np.bool_] = brightest >= least
    return defect
