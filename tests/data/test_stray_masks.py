"""Masks that lie among the images."""

from pathlib import Path

import numpy as np
from helpers import draw
from PIL import Image

from promptad.data.datasets import read_class
from promptad.data.stray_masks import sort_out_masks

NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)


def photograph(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE).save(path)
    return path


def mask(path: Path, value: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (40, 40))
    image.paste(value, (10, 10, 20, 20))
    image.save(path)
    return path


def test_masks_beside_their_images_are_told_by_name_and_values(tmp_path: Path) -> None:
    images = [photograph(tmp_path / name) for name in ("0.jpg", "1.png", "2.bmp", "3.png")]
    masks = [mask(tmp_path / "0.png"), mask(tmp_path / "1_mask.png", 1), mask(tmp_path / "2_gt.jpg")]
    found = sort_out_masks(sorted((*images, *masks)))
    assert found.images == tuple(images)
    assert found.masks == dict(zip(images, masks, strict=False))
    (note,) = found.notes()
    assert note == f"3 left out, as masks of the pictures beside them: {', '.join(map(str, masks))}"


def test_suspects_stay_and_are_named(tmp_path: Path) -> None:
    twins = [photograph(tmp_path / "0.bmp"), photograph(tmp_path / "0.png")]
    black, lone = draw(tmp_path / "black.png", 0, "L", (200, 200)), mask(tmp_path / "lone.png", 200)
    Image.open(lone).resize((200, 200), Image.Resampling.NEAREST).save(lone)
    found = sort_out_masks([*twins, black, lone])
    assert (found.images, found.masks) == ((*twins, black, lone), {})
    assert found.suspects == (twins[1], black, lone)
    assert "3 of one or two values, as masks have, or under the name of another" in found.notes()[0]


def test_unreadable_files_stay_for_whoever_reads_them(tmp_path: Path) -> None:
    picture, broken = photograph(tmp_path / "0.jpg"), tmp_path / "0.png"
    broken.write_bytes(b"no picture")
    assert sort_out_masks([picture, broken]).images == (picture, broken)


def test_masks_beside_test_images_are_their_masks(tmp_path: Path) -> None:
    part = tmp_path / "part"
    good = photograph(part / "good" / "0.jpg")
    mask(part / "good" / "0.png")
    photograph(part / "test" / "good" / "0.jpg")
    holes = [photograph(part / "test" / "hole" / f"{number}.jpg") for number in range(2)]
    masks = [mask(hole.with_suffix(".png")) for hole in holes]
    dataset = read_class("folder", part, "part")
    assert dataset.normal == (good,)
    assert [(image.path, image.mask_path) for image in dataset.test if image.is_anomalous] == list(
        zip(holes, masks, strict=True)
    )
    assert len(dataset.test) == 3
    assert [note.split(":")[0] for note in dataset.notes] == [
        "1 left out, as masks of the pictures beside them",
        "2 left out, as masks of the pictures beside them",
    ]
