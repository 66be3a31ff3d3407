"""How a picture, and its mask with it, is brought to the square that the backbone sees."""

import numpy as np
from PIL import Image


def square_picture(picture: Image.Image, resize: int, crop: int) -> Image.Image:
    """Resize a picture of any shape to `resize` x `resize` pixels, and keep the central `crop` x `crop` of it."""
    return _central(picture.resize((resize, resize), Image.Resampling.BICUBIC), crop)


def square_mask(mask: np.ndarray, resize: int, crop: int) -> np.ndarray:
    """Do the same to a boolean mask [H, W], by nearest neighbour: [crop, crop]."""
    square = Image.fromarray(mask).resize((resize, resize), Image.Resampling.NEAREST)
    return np.asarray(_central(square, crop))


def _central(square: Image.Image, crop: int) -> Image.Image:
    margin = (square.width - crop) // 2
    return square if margin == 0 else square.crop((margin, margin, margin + crop, margin + crop))
