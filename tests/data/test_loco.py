"""MVTec LOCO AD's layout, and folders of masks."""

import shutil
from pathlib import Path

import pytest
from helpers import draw, draw_column, refusal

from promptad.data.datasets import class_names, dataset_folder, read_class
from promptad.data.masks import read_mask
from promptad.structures import TestImage

IMAGES = (
    *("train/good/001.png", "train/good/000.png", "validation/good/000.png", "test/good/000.png"),
    *("test/logical_anomalies/000.png", "test/structural_anomalies/000.png", "test/structural_anomalies/001.png"),
)
MASKS = ("logical_anomalies/000/000", "structural_anomalies/000/000", "structural_anomalies/001/000")


def make_loco(folder: Path, classes: tuple[str, ...] = ("juice_bottle", "pushpins")) -> Path:
    for name in classes:
        for path in IMAGES:
            draw(folder / name / path)
        for mask in MASKS:
            draw_column(folder / name / "ground_truth" / f"{mask}.png", 0, 255)
        draw_column(folder / name / "ground_truth/logical_anomalies/000/001.png", 4, 201)
        (folder / name / "defects_config.json").write_text("[]")
    (folder / "defects_config.json").write_text("[]")
    return folder


def test_each_anomalous_image_has_a_folder_of_masks(tmp_path: Path) -> None:
    folder = dataset_folder("loco", make_loco(tmp_path / "loco").parent)
    assert class_names("loco", folder) == ("juice_bottle", "pushpins")
    found = read_class("loco", folder, "pushpins")
    pushpins = folder / "pushpins"
    assert (found.dataset, found.class_name, found.notes) == ("loco", "pushpins", ())
    assert found.normal == (pushpins / "train/good/000.png", pushpins / "train/good/001.png")
    test, truth = pushpins / "test", pushpins / "ground_truth"
    assert found.test == (
        TestImage(test / "good/000.png", "good", None),
        TestImage(test / "logical_anomalies/000.png", "logical_anomalies", truth / "logical_anomalies/000"),
        TestImage(test / "structural_anomalies/000.png", "structural_anomalies", truth / "structural_anomalies/000"),
        TestImage(test / "structural_anomalies/001.png", "structural_anomalies", truth / "structural_anomalies/001"),
    )


@pytest.mark.parametrize("dataset", ["mvtec", "mvtec2", "visa", "demo", "folder"])
def test_other_data_sets_refuse_it_and_name_it(dataset: str, tmp_path: Path) -> None:
    folder = make_loco(tmp_path / "data" / dataset)
    cure = f"{folder} has the layout of loco: read it by `dataset` loco `data_root` {folder}"
    assert refusal(class_names, dataset, folder) == cure
    assert refusal(read_class, dataset, folder, "pushpins") == cure
    assert refusal(class_names, dataset, folder / "pushpins").endswith(f"`dataset` loco `data_root` {folder}/pushpins")
    assert dataset_folder("loco", folder) == folder
    if dataset != "folder":
        assert refusal(dataset_folder, dataset, folder) == cure


def test_incomplete_classes_are_refused(tmp_path: Path) -> None:
    message = refusal(dataset_folder, "loco", tmp_path)
    assert message.startswith(f"no MVTec LOCO AD at {(tmp_path / 'loco').as_posix()}: unpack it there")
    folder = make_loco(tmp_path / "loco")
    pushpins = folder / "pushpins"
    masks = pushpins / "ground_truth/structural_anomalies/001"
    (masks / "000.png").unlink()
    wanted = f"no mask in {masks}: put one there for each defect of the picture of that name"
    assert refusal(read_class, "loco", folder, "pushpins") == wanted
    assert refusal(read_mask, masks, (6, 8), pushpins / "test/structural_anomalies/001.png") == wanted
    masks.rmdir()
    wanted = f"no mask for {pushpins / 'test/structural_anomalies/001.png'}: put it at {masks / '000.png'}"
    assert refusal(read_class, "loco", folder, "pushpins") == wanted
    loose = draw(pushpins / "test/7.png")
    assert refusal(read_class, "loco", folder, "pushpins").startswith(f"{loose} has no label: move it into")
    shutil.rmtree(pushpins / "train")
    wanted = f"no pictures in {pushpins / 'train/good'}: put normal pictures of pushpins there"
    assert refusal(read_class, "loco", folder, "pushpins") == wanted


def test_own_parts_may_have_folders_of_masks(tmp_path: Path) -> None:
    for path in ("good/0.png", "test/good/0.png", "test/bent/0.png", "test/bent/1.png", "test/bent/b/2.png"):
        draw(tmp_path / "nut" / path)
    truth = tmp_path / "nut/ground_truth/bent"
    masks = [
        draw_column(truth / "0/a.png", 1, 255).parent,
        draw_column(truth / "1_mask.png", 1, 255),
        draw_column(truth / "b/2.png", 1, 9),
    ]
    bent = [image for image in read_class("folder", tmp_path, "nut").test if image.is_anomalous]
    assert [image.mask_path for image in bent] == masks
    draw(tmp_path / "nut/test/bent/b.png")  # ground_truth/bent/b is of the images in test/bent/b, and not of this one
    assert "b.png: put it at" in refusal(read_class, "folder", tmp_path, "nut")
