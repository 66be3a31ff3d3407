"""Demo classes on disk, in MVTec AD's layout."""

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from promptad.data.demo.canvas import Mask, RGBImage
from promptad.data.demo.catalogue import DEFECT_FOLDERS
from promptad.data.demo.scene import PAINTERS, SEVERITIES, draw_image, draw_twins
from promptad.data.demo.seeds import TRIES, instance_seed, style_seed
from promptad.errors import InputError, check_choice

TRAIN_IMAGES = 20
GOOD_TEST_IMAGES = 20
IMAGES_A_DEFECT = 8

EDITION = "third edition"  # of the drawings: images of another are never taken for those of this one


def make_demo_class(root: Path, class_name: str, *, line: int = 0, difficulty: str = "normal") -> Path:
    """Draw a class of parts from one production line into `root/<class_name>`, unless it is there already.

    The folder appears at once and complete: it is drawn beside its place, in a hidden folder, and then renamed. Of two
    processes that draw the same class, the one that ends later finds it there and throws its own away.

    Args:
        root: the folder above that of the class.
        class_name: one of `DEMO_CLASSES` or `HELD_OUT_CLASSES`.
        line: the production line, whose parts share a look.
        difficulty: of seeing the defects, one of `DIFFICULTIES`.

    Raises:
        InputError: an unknown class, line or difficulty, or the folder holds something else.
    """
    check_choice("demo class", class_name, DEFECT_FOLDERS)
    check_choice("difficulty", difficulty, SEVERITIES)
    style = style_seed(line, _number(class_name))
    note = f"{class_name} drawn by promptad, {EDITION}: line {line}, difficulty {difficulty}, style seed {style}"
    folder = root / class_name
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{class_name}-", dir=root) as temporary:
            unfinished = Path(temporary) / class_name
            _write_good(unfinished, class_name, line)
            _write_defective(unfinished, class_name, line, difficulty)
            (unfinished / "readme.txt").write_text(f"{note}\n", encoding="utf-8")
            _rename(unfinished, folder)
    _check_note(folder, note)
    return folder


def draw_good(class_name: str, line: int, part: int) -> RGBImage:
    """Draw a good part of a line by its number: those of `train/good` come first, then those of `test/good`."""
    number = _number(class_name)
    image, _ = draw_image(
        class_name, style_seed=style_seed(line, number), instance_seed=instance_seed(line, number, part)
    )
    return image


def draw_defective(
    class_name: str, line: int, difficulty: str, defect_folder: str, image_number: int
) -> tuple[RGBImage, Mask]:
    """Draw an image of a defect folder, and its mask, by its number there."""
    folders = list(DEFECT_FOLDERS[class_name])
    part = TRAIN_IMAGES + GOOD_TEST_IMAGES + folders.index(defect_folder) * IMAGES_A_DEFECT + image_number
    return _draw_visible(class_name, line, part, DEFECT_FOLDERS[class_name][defect_folder], difficulty)


def visibility(good: RGBImage, defective: RGBImage, mask: Mask, difficulty: str) -> float:
    """Return how plain a defect is beside its good twin: 1 or more where it is as plain as its difficulty asks."""
    severity = SEVERITIES[difficulty]
    changes = cv2.absdiff(good, defective).max(axis=2)[mask > 0]  # [pixel of the defect]
    contrast = float(changes.mean()) if changes.size else 0.0
    return float(min(contrast / severity.least_contrast, changes.size / severity.least_area))


def _write_good(folder: Path, class_name: str, line: int) -> None:
    part = count()
    for split, images in (("train", TRAIN_IMAGES), ("test", GOOD_TEST_IMAGES)):
        for image_number in range(images):
            write_png(folder / split / "good" / f"{image_number:03}.png", draw_good(class_name, line, next(part)))


def _write_defective(folder: Path, class_name: str, line: int, difficulty: str) -> None:
    for defect_folder in DEFECT_FOLDERS[class_name]:
        for image_number in range(IMAGES_A_DEFECT):
            image, mask = draw_defective(class_name, line, difficulty, defect_folder, image_number)
            write_png(folder / "test" / defect_folder / f"{image_number:03}.png", image)
            write_png(folder / "ground_truth" / defect_folder / f"{image_number:03}_mask.png", mask)


def _draw_visible(class_name: str, line: int, part: int, kind: str, difficulty: str) -> tuple[RGBImage, Mask]:
    """Draw a defective part, again with its next seed as long as the defect is hard to see; keep the plainest try."""
    style, plainest = style_seed(line, _number(class_name)), 0.0
    for attempt in range(TRIES):
        instance = instance_seed(line, _number(class_name), part, attempt)
        good, defective, mask = draw_twins(
            class_name, style_seed=style, instance_seed=instance, defect=kind, difficulty=difficulty
        )
        plain = visibility(good, defective, mask, difficulty)
        if plain > plainest:
            plainest, kept = plain, (defective, mask)
        if plainest >= 1:
            break
    assert plainest > 0, f"no {kind} can be seen on line {line} of {class_name}"
    return kept


def _number(class_name: str) -> int:
    return list(PAINTERS).index(class_name)


def write_png(path: Path, pixels: RGBImage | Mask) -> None:
    """Write an image [row, column, channel] or a mask [row, column], with the folders it needs."""
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels  # OpenCV's order of channels
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(bgr))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.tobytes())


def _rename(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.exists():
            raise  # not because another process was faster


def _check_note(folder: Path, note: str) -> None:
    """Refuse a folder of other images: another line's, another difficulty's, or not ours at all."""
    path = folder / "readme.txt"
    if not path.is_file() or path.read_text(encoding="utf-8").strip() != note:
        raise InputError(f"{folder} exists and is not '{note}': choose another folder, or delete this one")
