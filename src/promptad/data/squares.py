"""The square that a backbone sees of an image of any shape."""

import numpy as np
from PIL import Image


def square_image(image: Image.Image, resize: int, crop: int) -> Image.Image:
    """Resize an image of any shape to `resize` x `resize` pixels, and keep the central `crop` x `crop` of it."""
    square = image.resize((resize, resize), Image.Resampling.BICUBIC)
    margin = (resize - crop) // 2
    return square if margin == 0 else square.crop((margin, margin, margin + crop, margin + crop))


def sizes_for(side: int, resize: int, crop: int) -> tuple[int, int]:
    """Return the sizes to resize and crop to, so that `side` pixels cover just what `resize` and `crop` keep."""
    return round(side * resize / crop), side


def central_part(square: np.ndarray, crop: int) -> np.ndarray:
    """Keep the central [crop, crop] of a square array, just as `square_image` does."""
    margin = (len(square) - crop) // 2
    return square[margin : margin + crop, margin : margin + crop]
