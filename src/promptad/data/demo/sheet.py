"""A contact sheet: what the classes of a production line look like, good and defective, on one image."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from promptad.data.demo.canvas import RGBImage
from promptad.data.demo.catalogue import DEFECT_FOLDERS
from promptad.data.demo.writer import draw_defective, draw_good
from promptad.errors import InputError
from promptad.utils.files import whole_file

SUFFIXES = (".png", ".jpg")
GOOD_PARTS = 3  # a row
THUMBNAIL = 128  # pixels a side
_GAP, _CAPTION, _LABEL = 6, 16, 92  # pixels: between images, above each, left of a row
_INK = (40, 40, 40)


def write_sheet(
    file: Path, classes: Sequence[str], line: int, difficulty: str, advance: Callable[[str], None] = lambda _: None
) -> None:
    """Write a sheet with a row a class: good parts first, then one part of each kind of defect, its mask outlined.

    Args:
        file: the picture, .png or .jpg.
        classes: the classes; the images are those of their folders.
        line: the production line.
        difficulty: of seeing the defects.
        advance: is told the name of each class that is done.

    Raises:
        InputError: the file is called neither .png nor .jpg.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"`sheet` {file}: end its name in {' or '.join(SUFFIXES)}")
    rows = []
    for name in classes:
        rows.append(_row(name, line, difficulty))
        advance(name)
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    with whole_file(file) as temporary:
        Image.fromarray(np.concatenate(padded)).save(temporary)


def _row(class_name: str, line: int, difficulty: str) -> RGBImage:
    """Draw the row of one class: [row, column, channel]."""
    cells = [_cell(draw_good(class_name, line, number), "good") for number in range(GOOD_PARTS)]
    for folder in DEFECT_FOLDERS[class_name]:
        image, mask = draw_defective(class_name, line, difficulty, folder, 0)
        outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outlined = np.asarray(cv2.drawContours(image.copy(), outline, -1, (255, 0, 0), 2), np.uint8)
        cells += [_cell(image, folder), _cell(outlined, "")]
    label = np.full((cells[0].shape[0], _LABEL, 3), 255, np.uint8)
    cv2.putText(label, class_name, (6, 84), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return np.concatenate([label, *cells], axis=1)


def _cell(image: RGBImage, caption: str) -> RGBImage:
    """Reduce an image to a thumbnail with a caption above and a white margin around."""
    cell = np.full((THUMBNAIL + _CAPTION + _GAP, THUMBNAIL + _GAP, 3), 255, np.uint8)
    cv2.putText(cell, caption[:20], (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.36, _INK, 1, cv2.LINE_AA)
    cell[_CAPTION : _CAPTION + THUMBNAIL, :THUMBNAIL] = cv2.resize(
        image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA
    )
    return cell
