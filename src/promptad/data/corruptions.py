"""Disturbances of whole pictures, as a camera or a line makes them, at three strengths: to measure what they change.

The field calls them corruptions (Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019). Nothing is learned from them, unlike from the local ones of `disturbances`.

A strength means the same in pictures of any size. Lengths are shares of the shorter side. Noise and JPEG act on pixels,
and would average out when a large picture is shrunk for the backbone: they act on pixels of 1/256 of the shorter side,
or on the picture's own where these are larger. An image always gets the same noise and direction: its content is their
seed.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageFilter

from promptad.errors import check_choice

Offset = tuple[int, int]  # to the right and down, in pixels
Change: TypeAlias = Callable[[Image.Image, float, np.random.Generator], Image.Image]

COARSE_SIDE = 256  # coarse pixels along the shorter side of a picture that has more
SHIFT = "shift"


@dataclass(frozen=True)
class Kind:
    """One way to disturb a picture."""

    change: Change  # what does it, given a picture, a level and a source of chance
    levels: tuple[float, float, float]  # of the three strengths
    words: str  # what a level is; lengths are shares of the shorter side


@dataclass(frozen=True)
class Corruption:
    """A disturbance at one strength."""

    name: str  # one of `CORRUPTIONS`
    strength: int  # 1 to 3

    @property
    def level(self) -> float:
        """What the strength is in numbers."""
        return CORRUPTIONS[self.name].levels[self.strength - 1]

    @property
    def words(self) -> str:
        """What the strength is, in words."""
        return CORRUPTIONS[self.name].words.format(self.level)

    @property
    def key(self) -> tuple[str, float]:
        """What tells it from all others, also of releases with other levels."""
        return self.name, self.level

    def applied(self, picture: Image.Image, digest: str) -> Image.Image:
        """Return an RGB picture, disturbed; `digest` is the SHA-256 of its image."""
        return CORRUPTIONS[self.name].change(picture, self.level, _generator(digest))

    @property
    def moves(self) -> bool:
        """Whether it moves what is shown, and the true mask with it."""
        return self.name == SHIFT

    def offset(self, size: tuple[int, int], digest: str) -> Offset:
        """Return how far it moves what is shown in a picture of this `size`, width and height; `digest` is as above."""
        return _offset(size, self.level, _generator(digest)) if self.moves else (0, 0)


def corruptions_of(names: Iterable[str]) -> list[Corruption]:
    """Return the disturbances with these names, at all strengths.

    Raises:
        InputError: a name is unknown.
    """
    chosen = list(dict.fromkeys(names))
    for name in chosen:
        check_choice("disturbance", name, CORRUPTIONS)
    return [Corruption(name, strength) for name in chosen for strength in (1, 2, 3)]


def _light(picture: Image.Image, factor: float, _: np.random.Generator) -> Image.Image:
    return picture.point(lambda level: round(factor * level))


def _blur(picture: Image.Image, share: float, _: np.random.Generator) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(share * min(picture.size)))


def _noise(picture: Image.Image, deviation: float, generator: np.random.Generator) -> Image.Image:
    """Add grain, the same to all channels."""
    width, height = _coarse_size(picture.size)
    grain = np.rint(generator.normal(0, deviation, (height, width))).astype(np.int16)
    rows, columns = (np.arange(full) * own // full for full, own in ((picture.height, height), (picture.width, width)))
    pixels = np.array(picture, np.int16)
    pixels += grain[rows][:, columns, None]
    return _as_picture(pixels)


def _jpeg(picture: Image.Image, quality: float, _: np.random.Generator) -> Image.Image:
    """Add what compression changes in the coarse picture."""
    coarse = picture.resize(_coarse_size(picture.size), Image.Resampling.BOX)
    coded = BytesIO()
    coarse.save(coded, "JPEG", quality=int(quality))
    with Image.open(coded, formats=["JPEG"]) as opened:
        decoded = opened.convert("RGB")
    if coarse.size == picture.size:
        return decoded
    pixels = np.array(picture, np.int16)
    pixels += np.asarray(decoded.resize(picture.size, Image.Resampling.NEAREST))
    pixels -= np.asarray(coarse.resize(picture.size, Image.Resampling.NEAREST))
    return _as_picture(pixels)


def _shift(picture: Image.Image, share: float, generator: np.random.Generator) -> Image.Image:
    """Move what is shown; what comes in at the edges is mirrored."""
    across, down = _offset(picture.size, share, generator)
    rows, columns = _mirrored(picture.height, down), _mirrored(picture.width, across)
    return Image.fromarray(np.asarray(picture)[rows][:, columns])


CORRUPTIONS = {
    "light": Kind(_light, (0.9, 0.75, 0.55), "x {:g}"),
    "blur": Kind(_blur, (0.003, 0.006, 0.012), "sigma {:.1%}"),
    "noise": Kind(_noise, (4, 8, 16), "deviation {:g}"),
    "jpeg": Kind(_jpeg, (50, 25, 10), "quality {:g}"),
    SHIFT: Kind(_shift, (0.02, 0.04, 0.08), "by {:.0%}"),
}


def _generator(digest: str) -> np.random.Generator:
    return np.random.default_rng(int(digest[:16], 16))


def _offset(size: tuple[int, int], share: float, generator: np.random.Generator) -> Offset:
    """Return a step of this share of the shorter side, in any direction."""
    angle, length = generator.uniform(0, 2 * math.pi), share * min(size)
    return round(length * math.cos(angle)), round(length * math.sin(angle))


def _mirrored(length: int, moved: int) -> np.ndarray:
    """Return for each place along a side [length] the one that is shown there after a move.

    >>> _mirrored(5, 2), _mirrored(5, -1)
    (array([2, 1, 0, 1, 2]), array([1, 2, 3, 4, 3]))
    """
    last = length - 1
    places: np.ndarray = last - np.abs(last - np.abs(np.arange(length) - moved))
    return places


def _coarse_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height of a picture in coarse pixels.

    >>> _coarse_size((1024, 2048)), _coarse_size((112, 300))
    ((256, 512), (112, 300))
    """
    scale = min(1.0, COARSE_SIDE / min(size))
    return round(scale * size[0]), round(scale * size[1])


def _as_picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
