"""Images in arrays and tensors: their layouts, and how their values become 8 bits."""

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from PIL import Image

from promptad.data.bit_depth import to_eight_bits
from promptad.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
NAME = "given as an array"  # of such an image in errors


def is_array(value: Any) -> "TypeGuard[np.ndarray | Tensor]":
    """Whether a value is an array or a torch tensor; torch is not imported for this."""
    torch = sys.modules.get("torch")
    return isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor))


def image_of_array(image: "np.ndarray | Tensor", bit_depth: int | None) -> Image.Image:
    """Return the image in an array or tensor, grey, RGB or RGBA of 8 bits.

    Raises:
        InputError: as of `pixels_of`, or the values of 16 bits do not fit the bit depth.
    """
    pixels = pixels_of(image)
    if pixels.dtype == np.uint16:
        pixels = to_eight_bits(pixels, bit_depth, NAME)
    elif pixels.dtype != np.uint8:
        pixels = np.rint(pixels * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels))


def pixels_of(image: "np.ndarray | Tensor") -> np.ndarray:
    """Return the pixels [H, W], or [H, W, 3 or 4], of an array or tensor, in uint8, uint16 or floats from 0 to 1.

    The last axis is that of the channels if it may be, else the first one.

    Raises:
        InputError: it has another shape or type, or floats beyond 0 to 1.
    """
    array = _as_numpy(image)
    pixels = array
    if array.ndim == 3 and array.shape[2] not in CHANNELS and array.shape[0] in CHANNELS:
        pixels = array.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    floating = np.issubdtype(pixels.dtype, np.floating)
    has_shape = pixels.size > 0 and (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in CHANNELS))
    if not has_shape or not (floating or pixels.dtype in (np.uint8, np.uint16)):
        raise InputError(
            f"cannot read a picture from a {array.dtype} array of shape {list(array.shape)}: give grey [height, width],"
            " RGB [height, width, 3] or RGBA [height, width, 4], or channels first, as uint8, uint16 or floats from 0"
            " to 1; several grey ones as [N, height, width, 1]"
        )
    if floating:
        _check_floats(pixels)
    return pixels


def _as_numpy(image: "np.ndarray | Tensor") -> np.ndarray:
    if isinstance(image, np.ndarray):
        return image
    plain = image.detach().float() if image.is_floating_point() else image.detach()
    return np.asarray(plain.cpu().numpy())


def _check_floats(pixels: np.ndarray) -> None:
    low, high = pixels.min(), pixels.max()  # NaN if there is one
    if np.isnan(low):
        raise InputError("cannot read a picture from floats of which some are NaN: give numbers from 0 to 1")
    if low < 0 or high > 1:
        raise InputError(
            f"cannot read a picture from floats between {low:.3g} and {high:.3g}: scale them to 0 to 1 (without a"
            " normalisation by mean and deviation), or give uint8"
        )
