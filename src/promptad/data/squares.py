"""The square that a backbone sees of an image of any shape."""

import numpy as np
from PIL import Image


def square_image(image: Image.Image, resize: int, crop: int) -> Image.Image:
    """Resize an image of any shape to `resize` x `resize` pixels, and keep the central `crop` x `crop` of it."""
    square = image.resize((resize, resize), Image.Resampling.BICUBIC)
    margin = (resize - crop) // 2
    return square if margin == 0 else square.crop((margin, margin, margin + crop, margin + crop))


def central_part(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Keep the central [height, width] of an array, just as `square_image` does."""
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    return array[top : top + height, left : left + width]
