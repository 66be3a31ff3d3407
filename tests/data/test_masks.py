"""The reading of masks, in single files and in folders."""

from pathlib import Path

import numpy as np
import pytest
from helpers import draw, draw_column, refusal
from PIL import Image

from promptad.data.fingerprints import files_sha256
from promptad.data.masks import read_mask
from promptad.results.scores import read_scores, write_scores
from promptad.structures import Prediction, TestImage


@pytest.mark.parametrize(
    ("mode", "defect", "ground"),
    [
        ("L", 255, 0),
        ("L", 1, 0),  # VisA numbers its kinds of defect
        ("1", 1, 0),
        ("I;16", 3, 0),
        ("RGB", (0, 0, 1), (0, 0, 0)),
        ("RGBA", (255, 255, 255, 255), (255, 255, 255, 0)),
    ],
)
def test_every_value_above_zero_is_a_defect(tmp_path: Path, mode: str, defect: object, ground: object) -> None:
    image = draw(tmp_path / "picture.png", size=(8, 4))
    mask = Image.new(mode, (8, 4), ground)  # type: ignore[arg-type]
    mask.paste(defect, (4, 0, 8, 2))  # type: ignore[arg-type]
    mask.save(tmp_path / "mask.png")
    read = read_mask(tmp_path / "mask.png", (4, 4), image)
    assert read.dtype == np.bool_
    assert read.tolist() == [[False, False, True, True]] * 2 + [[False] * 4] * 2


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path) -> None:
    image, mask = draw(tmp_path / "picture.png"), draw(tmp_path / "mask.png", size=(6, 8))
    message = refusal(read_mask, mask, 4, image)
    assert message.startswith(f"mask {mask} has 6 x 8 pixels, its picture {image} 8 x 6: export the mask")
    assert "no picture at" in refusal(read_mask, mask, 4, tmp_path / "none.png")
    assert "is a JPEG" in refusal(read_mask, draw(tmp_path / "mask.jpg"), 4, image)
    assert "its pixels are 32-bit floats" in refusal(read_mask, draw(tmp_path / "mask.tif", 1, "F"), 4, image)


def test_soft_edges_of_a_mask_are_cut_at_half(tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png", size=(64, 64))
    ramp = np.zeros((64, 64), np.uint8)
    ramp[:, :32] = np.arange(32) * 8  # 0 to 248
    Image.fromarray(ramp).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", (64, 64), image), ramp >= 124)


@pytest.mark.parametrize("values", [(1, 2), (1, 255), (3,), (50, 120, 200)])
def test_every_value_of_a_mask_of_labels_is_a_defect(values: tuple[int, ...], tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png", size=(64, 64))
    labels = np.zeros((64, 64), np.uint8)
    for number, value in enumerate(values):
        labels[8 * number : 8 * number + 4] = value
    Image.fromarray(labels).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", (64, 64), image), labels > 0)


def test_a_defect_of_few_pixels_does_not_vanish(tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png", size=(2048, 1024))
    marked = np.zeros((1024, 2048), np.uint8)
    marked[100:102, 900:902] = 255
    marked[701, 33] = 255
    marked[512:700, 1024:1400] = 255
    Image.fromarray(marked).save(tmp_path / "mask.png")
    read = read_mask(tmp_path / "mask.png", (256, 256), image)
    assert read[25, 112]
    assert read[175, 4]
    assert read.sum() == 2 + 47 * 47


def test_the_masks_of_an_image_count_together(tmp_path: Path) -> None:
    image = draw(tmp_path / "000.png")
    for number, value in enumerate((255, 201, 1)):
        draw_column(tmp_path / f"masks/00{number}.png", 3 * number, value)
    (tmp_path / "masks" / "readme.txt").write_text("no mask")
    expected = np.zeros((6, 8), bool)
    expected[:, [0, 3, 6]] = True
    np.testing.assert_array_equal(read_mask(tmp_path / "masks", (6, 8), image), expected)
    np.testing.assert_array_equal(read_mask(tmp_path / "masks", (6, 4), image, (2, 0, 6, 6)), expected[:, 2:6])
    large = draw(tmp_path / "masks/003.png", 255, "L", (9, 6))
    assert refusal(read_mask, tmp_path / "masks", (6, 8), image).startswith(f"mask {large} has 9 x 6 pixels")
    (tmp_path / "none").mkdir()
    assert refusal(read_mask, tmp_path / "none", (6, 8), image).startswith(f"no mask in {tmp_path / 'none'}: put one")


def test_no_defect_of_a_folder_vanishes_beside_another(tmp_path: Path) -> None:
    image = draw(tmp_path / "000.png", size=(512, 512))
    places = ((slice(100, 300), slice(100, 300)), (slice(300, 301), slice(99, 100)), (slice(5, 7), slice(401, 402)))
    for number, (rows, columns) in enumerate(places):
        marked = np.zeros((512, 512), np.uint8)
        marked[rows, columns] = 255 - number
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(marked).save(tmp_path / f"masks/00{number}.png")
    read = read_mask(tmp_path / "masks", (64, 64), image)
    assert read[37, 12]
    assert read[0, 50]
    assert read.sum() == 25 * 25 + 2


def test_every_mask_of_a_folder_tells_splits_apart(tmp_path: Path) -> None:
    image, mask = draw(tmp_path / "000.png"), draw_column(tmp_path / "masks/000.png", 1, 255)
    split = [TestImage(image, "bent", tmp_path / "masks")]
    one = files_sha256(split)
    assert one == files_sha256([TestImage(image, "bent", mask)])
    second = draw_column(tmp_path / "masks/001.png", 2, 255)
    two = files_sha256(split)
    draw_column(second, 3, 255)
    assert len({one, two, files_sha256(split)}) == 3


def test_a_folder_of_masks_is_kept_with_the_scores(tmp_path: Path) -> None:
    image = TestImage(draw(tmp_path / "000.png"), "bent", draw_column(tmp_path / "masks/000.png", 1, 255).parent)
    score = np.array([0.7])
    write_scores(tmp_path / "scores.json", "run", [image], Prediction(score, np.zeros((1, 2, 2), np.float32), score))
    assert [one.image for one in read_scores(tmp_path / "scores.json", "run")] == [image]
