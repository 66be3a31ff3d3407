"""The tiny CLIP's training images: a part without and with a defect, and another good part of its production line.

They are of two worlds: the demo's classes, and invented parts.
"""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from invented_parts import NAMES, draw_invented_trio
from PIL import Image
from tiny_captions import KINDS

from promptad.data.demo import DEFECT_FOLDERS, DEMO_CLASSES, DIFFICULTIES, TRAINING_SEEDS_FROM, draw_image, draw_twins
from promptad.data.demo.writer import visibility
from promptad.data.squares import square_image
from promptad.utils.files import whole_file

SIDE, PATCHES = 112, 14  # of an image in pixels, and of its mask in patches
SHARD = 1000  # trios a file
OWN_KINDS = 0.6  # share of the trios with a defect that the demo has for their class; the others have any
SHARES = {"easy": 0.4, "normal": 0.45, "hard": 0.15}  # of the difficulties
TRIES = 6  # to draw a defect that can be seen
DEMO, INVENTED = "demo", "invented"  # the worlds
NAMES_OF = {DEMO: DEMO_CLASSES, INVENTED: NAMES}  # what the parts of a world are called


@dataclass(frozen=True)
class Shard:
    """SHARD trios of training images, each of its own production line."""

    images: np.ndarray  # [trio, 3, side, side, 3] uint8: another good part, a good one, and its defective twin
    masks: np.ndarray  # [trio, patch, patch] uint8, share of a patch that is defective, of 255
    classes: np.ndarray  # [trio] index into NAMES_OF the world
    kinds: np.ndarray  # [trio] index into KINDS, or UNNAMED


def draw_shards(folder: Path, world: str, count: int, photos: Path | None, advance: Callable[[], None]) -> None:
    """Draw the shards of a world that do not exist yet, on all cores; invented parts are made of `photos` too."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(count) if not shard_file(folder, world, number).exists()]
    for _ in range(count - len(missing)):
        advance()
    with multiprocessing.get_context("spawn").Pool() as pool:
        for number, arrays in pool.imap_unordered(partial(_draw_shard, world, photos), missing):
            with whole_file(shard_file(folder, world, number)) as temporary:
                np.savez(temporary, **arrays)  # type: ignore[arg-type]
            advance()


def read_shard(folder: Path, world: str, number: int) -> Shard:
    """Read a shard that has been drawn."""
    with np.load(shard_file(folder, world, number)) as arrays:
        return Shard(**arrays)


def shard_file(folder: Path, world: str, number: int) -> Path:
    """The file of a shard."""
    return folder / f"{world}_{number:04}.npz"


def seeds_of(trio: int, attempt: int) -> tuple[int, int]:
    """Return the style seed and the instance seed of the twins of a trio, which the demo never uses.

    Attempt number TRIES, which the twins never need, is the seed of the other good part.
    """
    return TRAINING_SEEDS_FROM + trio, TRAINING_SEEDS_FROM + trio * (TRIES + 1) + attempt


def _draw_shard(world: str, photos: Path | None, number: int) -> tuple[int, dict[str, np.ndarray]]:
    cv2.setNumThreads(1)
    draw = _draw_trio if world == DEMO else partial(_draw_invented, photos=photos)
    trios = [draw(number * SHARD + row) for row in range(SHARD)]
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
    return _packed([other, good, bad], mask, DEMO_CLASSES.index(name), KINDS.index(kind))


def _draw_invented(trio: int, photos: Path | None) -> dict[str, np.ndarray]:
    return _packed(*draw_invented_trio(TRAINING_SEEDS_FROM + trio, TRIES, KINDS, photos))


def _packed(images: list[np.ndarray], mask: np.ndarray, name: int, kind: int) -> dict[str, np.ndarray]:
    return {
        "images": np.stack([np.asarray(square_image(Image.fromarray(image), SIDE, SIDE)) for image in images]),
        "masks": cv2.resize(mask, (PATCHES, PATCHES), interpolation=cv2.INTER_AREA),
        "classes": np.array(name),
        "kinds": np.array(kind),
    }
