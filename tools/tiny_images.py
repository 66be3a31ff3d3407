"""The tiny CLIP's training images: a part without and with a defect, and another good part of its production line."""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tiny_captions import KINDS

from promptad.data.demo import DEFECT_FOLDERS, DEMO_CLASSES, DIFFICULTIES, TRAINING_SEEDS_FROM, draw_image, draw_twins
from promptad.data.demo.writer import visibility
from promptad.data.transforms import square_image
from promptad.utils.files import whole_file

SIDE, PATCHES = 112, 14  # of an image in pixels, and of its mask in patches
SHARD = 1000  # trios a file
OWN_KINDS = 0.6  # share of the trios with a defect that the demo has for their class; the others have any
SHARES = {"easy": 0.4, "normal": 0.45, "hard": 0.15}  # of the difficulties
TRIES = 6  # to draw a defect that can be seen


@dataclass(frozen=True)
class Shard:
    """SHARD trios of training images, each of its own production line."""

    images: np.ndarray  # [trio, 3, side, side, 3] uint8: another good part, a good one, and its defective twin
    masks: np.ndarray  # [trio, patch, patch] uint8, share of a patch that is defective, of 255
    classes: np.ndarray  # [trio] index into DEMO_CLASSES
    kinds: np.ndarray  # [trio] index into KINDS


def draw_shards(folder: Path, count: int, advance: Callable[[], None]) -> None:
    """Draw the shards that do not exist yet, on all cores."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(count) if not shard_file(folder, number).exists()]
    for _ in range(count - len(missing)):
        advance()
    with multiprocessing.get_context("spawn").Pool() as pool:
        for number, arrays in pool.imap_unordered(_draw_shard, missing):
            with whole_file(shard_file(folder, number)) as temporary:
                np.savez(temporary, **arrays)  # type: ignore[arg-type]
            advance()


def read_shard(folder: Path, number: int) -> Shard:
    """Read a shard that has been drawn."""
    with np.load(shard_file(folder, number)) as arrays:
        return Shard(**arrays)


def shard_file(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / f"shard_{number:04}.npz"


def seeds_of(trio: int, attempt: int) -> tuple[int, int]:
    """Return the style seed and the instance seed of the twins of a trio, which the demo never uses.

    Attempt number TRIES, which the twins never need, is the seed of the other good part.
    """
    return TRAINING_SEEDS_FROM + trio, TRAINING_SEEDS_FROM + trio * (TRIES + 1) + attempt


def _draw_shard(number: int) -> tuple[int, dict[str, np.ndarray]]:
    cv2.setNumThreads(1)
    trios = [_draw_trio(number * SHARD + row) for row in range(SHARD)]
    return number, {name: np.stack([trio[name] for trio in trios]) for name in trios[0]}


def _draw_trio(trio: int) -> dict[str, np.ndarray]:
    """Draw one trio, its twins again with their next seed as long as the defect is hard to see."""
    random = np.random.default_rng([TRAINING_SEEDS_FROM, trio])
    name = DEMO_CLASSES[random.integers(len(DEMO_CLASSES))]
    own = [kind for kind in DEFECT_FOLDERS[name].values() if kind in KINDS]
    kind = own[random.integers(len(own))] if random.random() < OWN_KINDS else KINDS[random.integers(len(KINDS))]
    difficulty = str(random.choice(DIFFICULTIES, p=[SHARES[level] for level in DIFFICULTIES]))
    for attempt in range(TRIES):
        style, instance = seeds_of(trio, attempt)
        good, bad, mask = draw_twins(name, style_seed=style, instance_seed=instance, defect=kind, difficulty=difficulty)
        if visibility(good, bad, mask, difficulty) >= 1:
            break
    other, _ = draw_image(name, style_seed=style, instance_seed=seeds_of(trio, TRIES)[1])
    images = [np.asarray(square_image(Image.fromarray(image), SIDE, SIDE)) for image in (other, good, bad)]
    return {
        "images": np.stack(images),
        "masks": cv2.resize(mask, (PATCHES, PATCHES), interpolation=cv2.INTER_AREA),
        "classes": np.array(DEMO_CLASSES.index(name)),
        "kinds": np.array(KINDS.index(kind)),
    }
