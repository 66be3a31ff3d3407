"""Masks that lie among the images, which must not be taken for images: found by their names and their values."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from promptad.data.images import FORMATS, open_upright
from promptad.data.search import joined_names
from promptad.errors import InputError

MAX_LABELS = 17  # values of a mask of labels, 0 among them; a mask of more has soft edges
MASK_ENDINGS = ("_mask", "-mask", "_gt", "_label", "_seg")  # of the stems of masks
BYTES_PER_PIXEL = 0.15  # a file of fewer shows one or two values, or is worth a look
EXTREME, MOST = 16, 0.99  # a mask with smeared edges: most of its pixels are this near to black or to white


@dataclass(frozen=True)
class SortedImages:
    """Images without the masks that lay among them."""

    images: tuple[Path, ...]
    masks: dict[Path, Path]  # by their image
    suspects: tuple[Path, ...]  # images that may be masks, or copies of another image under the same name

    def notes(self) -> list[str]:
        """Return a line for the masks that are left out, and one for suspects."""
        kinds = (
            (tuple(self.masks.values()), "left out, as masks of the pictures beside them"),
            (self.suspects, "of one or two values, as masks have, or under the name of another: move away what is no"),
        )
        return [f"{len(paths)} {words}: {joined_names(paths)}" for paths, words in kinds if paths]


def sort_out_masks(paths: Sequence[Path]) -> SortedImages:
    """Separate masks from images: a mask has the stem of its image, or one that ends in _mask or the like.

    Only what looks like a mask is taken for one. An image under the name of another, or of one or two values, stays
    and is a suspect; of the files that are large for their pixels, values are not looked at.
    """
    by_stem: dict[Path, list[Path]] = {}
    for path in paths:
        by_stem.setdefault(_place(path), []).append(path)
    masks: dict[Path, Path] = {}
    suspects: dict[Path, None] = {}
    for together in (group for group in by_stem.values() if len(group) > 1):
        alike = [path for path in together if _looks_like_mask(path)]
        pictures = [path for path in together if path not in alike]
        if len(pictures) == 1 and len(alike) == 1:
            masks[pictures[0]] = alike[0]
        else:
            suspects |= dict.fromkeys(together[1:])
    taken = set(masks.values())
    suspects |= dict.fromkeys(path for path in paths if path not in taken and _has_two_values(path))
    return SortedImages(tuple(path for path in paths if path not in taken), masks, tuple(suspects))


def _place(path: Path) -> Path:
    """Return the path without its suffix and without the ending of a mask."""
    stem = path.with_suffix("").name
    for ending in MASK_ENDINGS:
        stem = stem.removesuffix(ending)
    return path.parent / stem


def _looks_like_mask(path: Path) -> bool:
    """Whether an image has few values, or nearly only black and white; False for one that cannot be read."""
    values = _histogram(path)
    if values is None:
        return False
    extremes = values[:EXTREME].sum() + values[-EXTREME:].sum()
    return bool(np.count_nonzero(values) <= MAX_LABELS or extremes >= MOST * values.sum())


def _has_two_values(path: Path) -> bool:
    """Whether a file, small for its pixels, has one or two values; False for one that cannot be read."""
    with suppress(OSError, ValueError, SyntaxError), Image.open(path, formats=FORMATS) as image:
        if path.stat().st_size < BYTES_PER_PIXEL * image.width * image.height:
            values = _histogram(path)
            return values is not None and int(np.count_nonzero(values)) <= 2
    return False


def _histogram(path: Path) -> np.ndarray | None:
    """Return how often each value from 0 to 255 occurs in the grey image; None if it cannot be read."""
    try:
        image = open_upright(path)
    except InputError:
        return None
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.minimum(np.asarray(image), 255).astype(np.uint8))
    return np.asarray(image.convert("L").histogram())
