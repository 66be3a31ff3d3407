"""How a picture, and its mask with it, is brought to the square that the backbone sees."""

import numpy as np
from PIL import Image


def square_picture(picture: Image.Image, resize: int, crop: int) -> Image.Image:
    """Resize a picture of any shape to `resize` x `resize` pixels, and keep the central `crop` x `crop` of it."""
    square = picture.resize((resize, resize), Image.Resampling.BICUBIC)
    margin = (resize - crop) // 2
    return square if margin == 0 else square.crop((margin, margin, margin + crop, margin + crop))


def central_part(square: np.ndarray, crop: int) -> np.ndarray:
    """Keep the central [crop, crop] of a square array, just as `square_picture` does."""
    margin = (len(square) - crop) // 2
    return square[margin : margin + crop, margin : margin + crop]
