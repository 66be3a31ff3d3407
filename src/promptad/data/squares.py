"""The squares that encoders see of an image of any shape."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

INTERPOLATIONS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def square_image(image: Image.Image, resize: int, crop: int, interpolation: str = "bicubic") -> Image.Image:
    """Resize an image of any shape to `resize` x `resize` pixels, and keep the central `crop` x `crop` of it."""
    square = image.resize((resize, resize), INTERPOLATIONS[interpolation])
    margin = (resize - crop) // 2
    return square if margin == 0 else square.crop((margin, margin, margin + crop, margin + crop))


def central_part(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Keep the central [height, width] of an array, just as `square_image` does."""
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    return array[top : top + height, left : left + width]


def packed(squares: Sequence[Image.Image]) -> np.ndarray:
    """Return an RGB square as pixels [S, S, 3] uint8, or two of unlike sizes one after the other: [S² + M², 3]."""
    if len(squares) == 1:
        return np.asarray(squares[0])
    return np.concatenate([np.asarray(square).reshape(-1, 3) for square in squares])


def unpacked(pixels: np.ndarray, side: int) -> list[np.ndarray]:
    """Return N squares [N, S, S, 3] of this side, and those that are packed with them, if there are any."""
    if pixels.ndim == 4:
        return [pixels]
    own, second = np.split(pixels, [side * side], axis=1)
    return [part.reshape(len(pixels), math.isqrt(part.shape[1]), -1, 3) for part in (own, second)]


def packed_shape(side: int, second: int | None) -> tuple[int, ...]:
    """Return the shape of what is packed of a square of this side, and of a second one.

    >>> packed_shape(240, None), packed_shape(240, 448)
    ((240, 240, 3), (258304, 3))
    """
    return (side, side, 3) if second is None else (side * side + second * second, 3)
