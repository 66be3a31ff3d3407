"""Label-free views of the support images: what the next good part may look like."""

import hashlib

import cv2
import numpy as np
from PIL import Image

TURN = 5.0  # degrees, either way
SHIFT = 0.027  # of the side, either way
LIGHT = 0.08  # relative, either way
GRAIN = 2.0  # grey levels, one standard deviation


def make_views(picture: Image.Image, count: int, seed: int) -> list[Image.Image]:
    """Return `count` views of an RGB picture: itself, then small turns, shifts, changes of light and grain.

    The views depend on the picture's pixels and the seed only, so the order of pictures does not matter.
    """
    pixels = np.asarray(picture)
    digest = hashlib.sha256(pixels.tobytes()).digest()
    generator = np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
    return [picture, *(Image.fromarray(_view(pixels, generator)) for _ in range(count - 1))]


def _view(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return one random view [H, W, 3] of uint8 pixels [H, W, 3]."""
    height, width = pixels.shape[:2]
    centre, angle = (width / 2, height / 2), generator.uniform(-TURN, TURN)
    turn = np.asarray(cv2.getRotationMatrix2D(centre, angle, 1), np.float64)
    turn[:, 2] += generator.uniform(-SHIFT, SHIFT, 2) * (width, height)
    moved = cv2.warpAffine(pixels, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    lit = np.asarray(moved, np.float64) * generator.uniform(1 - LIGHT, 1 + LIGHT)
    grain = generator.normal(0, GRAIN, (height, width, 1))
    return np.clip(np.rint(lit + grain), 0, 255).astype(np.uint8)
