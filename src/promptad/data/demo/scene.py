"""A part under the camera of its production line: pose, ground, light and sensor, and out comes an image."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from promptad.data.demo import objects, textures
from promptad.data.demo.canvas import (
    SIDE,
    Color,
    Field,
    FloatImage,
    Mask,
    Part,
    Random,
    RGBImage,
    enlarged,
    hsv,
    seeded,
    shaded,
    where,
)
from promptad.data.demo.defects import DEFECTS, Severity, damage
from promptad.errors import check_choice

IMAGE_SIDE = 256
BASE_SIDE = 112  # the images a tiny CLIP sees; shifts and sensor noise are measured in its pixels

# A class's place here is in its seeds: append, never insert.
PAINTERS: dict[str, Callable[[Random, Random], Part]] = {
    "bottle": objects.bottle,
    "cable": objects.cable,
    "capsule": objects.capsule,
    "carpet": textures.carpet,
    "grid": textures.grid,
    "hazelnut": objects.hazelnut,
    "leather": textures.leather,
    "metal_nut": objects.metal_nut,
    "pill": objects.pill,
    "screw": objects.screw,
    "tile": textures.tile,
    "toothbrush": objects.toothbrush,
    "transistor": objects.transistor,
    "wood": textures.wood,
    "zipper": objects.zipper,
    "gear": objects.gear,
    "brick": textures.brick,
    "bearing": objects.bearing,
    "biscuit": objects.biscuit,
    "circuit_board": textures.circuit_board,
    "cork": textures.cork,
}

SEVERITIES = {
    "easy": Severity(size=1.8, least_contrast=30, least_area=300),
    "normal": Severity(),
    "hard": Severity(size=0.65, contrast=0.6),
}
DIFFICULTIES = tuple(SEVERITIES)

_ACROSS: Field = np.linspace(-1, 1, IMAGE_SIDE, dtype=np.float32)[None, :]  # [1, column]
_DOWN: Field = np.linspace(-1, 1, IMAGE_SIDE, dtype=np.float32)[:, None]  # [row, 1]
FREELY_TURNED = ("hazelnut", "metal_nut", "screw", "biscuit")  # parts that lie at any angle, as some of MVTec AD do

_NOISE_GAIN = 1.39  # makes up for what enlarging the sensor noise, and reducing the image again, smooth away


@dataclass(frozen=True)
class Station:
    """What a production line keeps the same for all its parts."""

    ground: Color
    falloff: float  # how much brighter the ground is at the right border than in the middle, as a share
    zoom: float
    turn: float  # degrees
    play: float  # degrees, either way, that a part may be turned from there


def draw_image(
    class_name: str, *, style_seed: int, instance_seed: int, defect: str | None = None, difficulty: str = "normal"
) -> tuple[RGBImage, Mask]:
    """Draw one part, good unless a kind of defect is named; the same seeds always give the same pixels.

    The image is [256, 256, 3] uint8 in RGB; its mask [256, 256] uint8 is 255 on the defect and 0 elsewhere.

    Args:
        class_name: one of `DEMO_CLASSES` or `HELD_OUT_CLASSES`.
        style_seed: of what all parts of a production line share.
        instance_seed: of the part.
        defect: a kind of defect; None is a good part.
        difficulty: of seeing the defect, one of `DIFFICULTIES`.

    Raises:
        InputError: an unknown class, kind of defect or difficulty.
    """
    if defect is not None:
        _, image, mask = draw_twins(
            class_name, style_seed=style_seed, instance_seed=instance_seed, defect=defect, difficulty=difficulty
        )
        return image, mask
    check_choice("class", class_name, PAINTERS)
    part = _draw_part(class_name, style_seed, instance_seed)
    image = _photograph(part, _station(class_name, style_seed), instance_seed)
    return image, np.zeros((IMAGE_SIDE, IMAGE_SIDE), dtype=np.uint8)


def draw_twins(
    class_name: str, *, style_seed: int, instance_seed: int, defect: str, difficulty: str = "normal"
) -> tuple[RGBImage, RGBImage, Mask]:
    """Draw one part twice, good and with a defect, and all else the same down to the sensor's noise.

    The third of the three is the defect's mask. `class_name`, `style_seed`, `instance_seed` and `difficulty`, shapes
    and errors are as of `draw_image`.
    """
    check_choice("class", class_name, PAINTERS)
    check_choice("kind of defect", defect, DEFECTS)
    check_choice("difficulty", difficulty, SEVERITIES)
    part, station = _draw_part(class_name, style_seed, instance_seed), _station(class_name, style_seed)
    damaged, mask = damage(part, defect, seeded(instance_seed, 11), SEVERITIES[difficulty])
    good, defective = (_photograph(either, station, instance_seed) for either in (part, damaged))
    seen = cv2.warpAffine(mask, _pose(station, instance_seed), (IMAGE_SIDE, IMAGE_SIDE))
    return good, defective, where(seen > 100)


def _draw_part(class_name: str, style_seed: int, instance_seed: int) -> Part:
    return PAINTERS[class_name](seeded(style_seed, 1), seeded(instance_seed, 2))


@lru_cache(maxsize=64)
def _station(class_name: str, style_seed: int) -> Station:
    """Set up a line: its ground stands out from its parts, judged by one part that stands for all of them."""
    random, sample = seeded(style_seed, 5), _draw_part(class_name, style_seed, 0)
    ground = hsv(random, saturation=(0, 0.2), value=(0.02, 0.2) if random.random() < 0.5 else (0.75, 1))
    if abs(ground.mean() - sample.brightness()) < 40:
        ground = 255 - ground
    falloff = random.uniform(-0.15, 0.15)
    if sample.is_texture:
        return Station(ground, falloff, zoom=random.uniform(0.9, 1.25), turn=0.0, play=4)
    play = 180 if class_name in FREELY_TURNED else 10
    return Station(ground, falloff, zoom=random.uniform(0.85, 1.12), turn=random.uniform(-15, 15), play=play)


def _pose(station: Station, instance_seed: int) -> npt.NDArray[np.float32]:
    """Give the [2, 3] matrix from the canvas to the image for a part that lies a little askew."""
    random = seeded(instance_seed, 7)
    turn, zoom = station.turn + station.play * random.uniform(-1, 1), station.zoom * random.uniform(0.95, 1.05)
    rotation = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turn, zoom * IMAGE_SIDE / SIDE)
    matrix = np.asarray(rotation, dtype=np.float32)
    matrix[:, 2] += (IMAGE_SIDE - SIDE) / 2 + random.uniform(-5, 5, 2) * IMAGE_SIDE / BASE_SIDE
    return matrix


def _photograph(part: Part, station: Station, instance_seed: int) -> RGBImage:
    """Lay a part on the line's ground, light it, and take its image with a noisy sensor."""
    matrix, size = _pose(station, instance_seed), (IMAGE_SIDE, IMAGE_SIDE)
    canvas = np.clip(part.image, 0, 255)
    scene = np.asarray(cv2.warpAffine(canvas, matrix, size, borderMode=cv2.BORDER_REFLECT), np.float32)
    if not part.is_texture:
        alpha = np.asarray(cv2.warpAffine(part.alpha, matrix, size), np.float32) / np.float32(255)
        scene = _on_ground(scene, alpha, station)
    random = seeded(instance_seed, 13)
    scene = _focused(_lit(scene, random), random) + _sensor_noise(random)[..., None]
    return np.clip(scene, 0, 255).astype(np.uint8)


def _on_ground(scene: FloatImage, alpha: Field, station: Station) -> FloatImage:
    """Put the line's ground behind the part, darker near the part where its shadow falls."""
    shadow = cv2.GaussianBlur(alpha, (0, 0), 3 * IMAGE_SIDE / BASE_SIDE)
    brightness = (1 + np.float32(station.falloff) * _ACROSS) * (1 - np.float32(0.25) * shadow)
    ground = station.ground * brightness[..., None]
    return np.asarray(ground + (scene - ground) * alpha[..., None], np.float32)


def _lit(scene: FloatImage, random: Random) -> FloatImage:
    """Light the scene, brighter or darker, from one side, tinted, and with the soft glare of a lamp somewhere."""
    across, down = random.uniform(-0.15, 0.15, 2).astype(np.float32)
    tint = random.uniform(0.8, 1.15) * random.uniform(0.95, 1.05, 3)
    (column, row), reach = random.uniform(-1, 1, 2), random.uniform(0.25, 0.6)
    distance = (_ACROSS - np.float32(column)) ** 2 + (_DOWN - np.float32(row)) ** 2
    glare = np.float32(random.uniform(0, 45)) * np.exp(distance / np.float32(-2 * reach**2))
    return shaded(scene, 1 + across * _ACROSS + down * _DOWN) * tint.astype(np.float32) + glare[..., None]


def _focused(scene: FloatImage, random: Random) -> FloatImage:
    """Blur the scene a little: a camera is seldom quite in focus."""
    return np.asarray(cv2.GaussianBlur(scene, (0, 0), random.uniform(0.2, 1.6)), np.float32)


def _sensor_noise(random: Random) -> Field:
    """Draw noise with one value a pixel of a small image: a reduced image shows it as strong as drawn."""
    noise = random.standard_normal((BASE_SIDE, BASE_SIDE), dtype=np.float32)
    return enlarged(noise, IMAGE_SIDE) * np.float32(_NOISE_GAIN * random.uniform(2, 5))
