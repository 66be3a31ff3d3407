"""Views of the support images: turned, shifted, lit otherwise; and far views."""

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

SHIFT = 0.027  # of the side, either way
LIGHT = 0.08  # relative, either way
FAR, DISTURBED = 1, 2  # purposes of random numbers beside those of plain views
GRAIN = 2.0  # grey levels, one standard deviation
ZOOM = 0.25  # of a far view, relative, either way
CONTRAST, GAMMA = 0.15, 0.25  # of a far view: standard deviations of their logarithms


def make_views(
    image: Image.Image, count: int, seed: int, turn: float = 5.0, least_crop: float = 1.0
) -> list[Image.Image]:
    """Return `count` views of an RGB image: itself, then turns, shifts, changes of light and grain.

    They are turned by up to `turn` degrees either way, and show at least `least_crop` of each side. They depend on the
    image's pixels and the seed beside that, so the order of images does not matter.
    """
    pixels, generator = np.asarray(image), generator_of(image, seed)
    return [image, *(Image.fromarray(_view(pixels, generator, turn, least_crop)) for _ in range(count - 1))]


def make_far_views(views: Sequence[Image.Image], seed: int) -> list[Image.Image]:
    """Return each of some RGB views nearer or farther away, in another light and contrast.

    They widen what a memory bank knows. Scores are calibrated on the views themselves, which are like new images; where
    there is one image alone, on far views, too.
    """
    return [Image.fromarray(_far_view(np.asarray(view), generator_of(view, seed, FAR))) for view in views]


def generator_of(image: Image.Image, seed: int, *purpose: int) -> np.random.Generator:
    """Return the random numbers of an image: they depend on its pixels, the seed and their purpose only."""
    digest = hashlib.sha256(np.asarray(image).tobytes()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little"), *purpose])


def _far_view(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return one random far view [H, W, 3] of uint8 pixels [H, W, 3]; what lies outside is mirrored."""
    height, width = pixels.shape[:2]
    zoom = generator.uniform(1 - ZOOM, 1 + ZOOM)
    left, top = generator.uniform(0, 1, 2) * (1 - zoom) * (width, height)
    matrix = np.array([[zoom, 0, left], [0, zoom, top]])
    zoomed = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    light = np.asarray(zoomed, np.float64)
    light = light.mean() + (light - light.mean()) * np.exp(generator.normal(0, CONTRAST))
    lit = 255 * np.clip(light / 255, 0, 1) ** np.exp(generator.normal(0, GAMMA))
    return np.asarray(np.rint(lit), np.uint8)


def _view(pixels: np.ndarray, generator: np.random.Generator, turn: float, least_crop: float) -> np.ndarray:
    """Return one random view [H, W, 3] of uint8 pixels [H, W, 3]."""
    height, width = pixels.shape[:2]
    centre, angle = (width / 2, height / 2), generator.uniform(-turn, turn)
    matrix = np.asarray(cv2.getRotationMatrix2D(centre, angle, 1), np.float64)
    matrix[:, 2] += generator.uniform(-SHIFT, SHIFT, 2) * (width, height)
    if least_crop < 1:
        shown = generator.uniform(least_crop, 1)
        corner = generator.uniform(0, 1, 2) * (1 - shown) * (width, height)
        matrix = np.column_stack([matrix[:, :2], matrix[:, 2] - corner]) / shown
    moved = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    lit = np.asarray(moved, np.float64) * generator.uniform(1 - LIGHT, 1 + LIGHT)
    grain = generator.normal(0, GRAIN, (height, width, 1))
    return np.clip(np.rint(lit + grain), 0, 255).astype(np.uint8)
