"""How light and how sharp an image is as a whole: what a lamp or a lens changes, and a defect hardly."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from PIL import Image

from promptad.structures import Look


def mean_look(looks: Sequence[Look]) -> Look:
    """Return the mean look of an image's tiles."""
    return Look(*(float(np.mean([getattr(own, field.name) for own in looks])) for field in fields(Look)))


def look_of(square: Image.Image) -> Look:
    """Return the look of an image, at the size that a backbone is given.

    Sharpness is the root mean square of the Laplacian by that of the gradient, so light and contrast do not change it.
    """
    grey = np.asarray(square.convert("L"), np.float32)
    centre = grey[1:-1, 1:-1]
    fine = 4 * centre - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    steps = (centre - grey[:-2, 1:-1]) ** 2 + (centre - grey[1:-1, :-2]) ** 2
    coarse = float(steps.mean())
    sharpness = float(np.sqrt((fine**2).mean() / coarse)) if coarse > 0 else 0.0
    return Look(float(grey.mean()), sharpness)
