"""What a user gives as images, as a list: one or several, a folder, a pattern, a batch, or the batches of a loader."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from promptad.data.arrays import is_array, pixels_of
from promptad.data.images import IMAGE_SUFFIXES, ImageLike
from promptad.data.search import find_images
from promptad.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# Items of an iterable may also be batches [N, 3, H, W] or [N, H, W, 3], and pairs of these and labels.
Images: TypeAlias = ImageLike | Iterable[ImageLike | Sequence[Any]]

CURE = "give a path, a PIL image, an array or a tensor, or several of these"
TEXTS = "OU"  # kinds of arrays that hold paths

log = logging.getLogger(__name__)


def as_images(given: Images, name: str = "images") -> list[ImageLike]:
    """Return images as a list; errors call them `name`.

    Args:
        given: one image: a path, a PIL image, an array or tensor as of `read_image`; a folder, all of whose images are
            found, those of its sub-folders too, sorted by path, or a pattern with *; a batch [N, 3, H, W] or
            [N, H, W, 3]; or an iterable of images, of batches, or of tuples that begin with one of them, as a
            DataLoader yields: what follows in the tuple, such as a label, is never looked at.
        name: the argument.

    Raises:
        InputError: something else, an array that is no image, or a folder without images. Files are not opened.
    """
    if isinstance(given, str | Path):
        return _found(given)
    if isinstance(given, Image.Image) or (is_array(given) and not _holds_paths(given)):
        return _of_item(given, name)
    if isinstance(given, Mapping):
        raise InputError(f"`{name}` is a mapping of {', '.join(map(str, given))}: give its images alone, by their key")
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise InputError(f"`{name}` is a {type(given).__name__}: {CURE}")
    return [image for number, item in enumerate(given) for image in _of_item(item, f"{name}[{number}]")]


def _found(place: str | Path) -> list[ImageLike]:
    """Return the images of a folder or pattern, or the path itself."""
    found = find_images([str(place)])
    for note in found.notes():
        log.warning("%s: %s", place, note)
    return [place] if found.images == (Path(place),) else list(found.images)


def _of_item(item: Any, name: str) -> list[ImageLike]:
    """Return the images of one item: itself, those of a batch, or what a pair begins with."""
    if isinstance(item, tuple | list):
        item = _without_labels(item, name)
    if isinstance(item, str | Path | Image.Image):
        return [item]
    if not is_array(item):
        raise InputError(f"`{name}` is a {type(item).__name__}: {CURE}")
    batch = [(item, name)] if item.ndim != 4 else [(one, f"{name}[{number}]") for number, one in enumerate(item)]
    for one, its_name in batch:
        _check(one, its_name)
    return [one for one, _ in batch]


def _without_labels(pair: Sequence[Any], name: str) -> Any:
    """Return what a tuple of a loader begins with.

    Raises:
        InputError: it is empty, or more images follow.
    """
    if not pair:
        raise InputError(f"`{name}` is empty: {CURE}")
    if any(_is_alike(pair[0], other) for other in pair[1:]):
        raise InputError(f"`{name}` holds several pictures: give one list of all, or a batch as an array")
    return pair[0]


def _is_alike(first: Any, other: Any) -> bool:
    """Whether what follows an image is another image, and no label or mask of it."""
    if isinstance(first, str | Path):
        return isinstance(other, str | Path) and Path(other).suffix.lower() in IMAGE_SUFFIXES
    if isinstance(first, Image.Image):
        return isinstance(other, Image.Image) and (other.size, other.mode) == (first.size, first.mode)
    return is_array(first) and is_array(other) and tuple(first.shape) == tuple(other.shape)


def _holds_paths(array: "np.ndarray | Tensor") -> bool:
    return isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind in TEXTS


def _check(image: "np.ndarray | Tensor", name: str) -> None:
    """Check that an array is an image.

    Raises:
        InputError: it is none; the message begins with its name.
    """
    try:
        pixels_of(image)
    except InputError as error:
        raise InputError(f"`{name}`: {error}") from error
