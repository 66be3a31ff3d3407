"""MVTec AD 2's layout."""

import shutil
from pathlib import Path

import pytest
from helpers import draw, refusal

from promptad.data.datasets import class_names, dataset_folder, read_class
from promptad.structures import TestImage

IMAGES = (
    *("train/good/001_regular.png", "train/good/000_regular.png", "validation/good/000_regular.png"),
    *("test_public/good/000_shift_1.png", "test_public/bad/000_regular.png", "test_public/bad/000_overexposed.png"),
    *("test_private/000_regular.png", "test_private_mixed/000_mixed.png"),
)


def make_mvtec2(folder: Path, objects: tuple[str, ...] = ("can", "fabric")) -> Path:
    for name in objects:
        for path in IMAGES:
            draw(folder / name / path)
        for light in ("regular", "overexposed"):
            draw(folder / name / f"test_public/ground_truth/bad/000_{light}_mask.png", 255, "L")
    return folder


def test_the_public_test_alone_is_tested_on(tmp_path: Path) -> None:
    folder = dataset_folder("mvtec2", make_mvtec2(tmp_path / "mvtec2").parent)
    assert class_names("mvtec2", folder) == ("can", "fabric")
    found = read_class("mvtec2", folder, "can")
    train, test = folder / "can/train/good", folder / "can/test_public"
    assert (found.dataset, found.class_name, found.notes) == ("mvtec2", "can", ())
    assert found.normal == (train / "000_regular.png", train / "001_regular.png")
    masks = test / "ground_truth/bad"
    assert found.test == (
        TestImage(test / "bad/000_overexposed.png", "bad", masks / "000_overexposed_mask.png"),
        TestImage(test / "bad/000_regular.png", "bad", masks / "000_regular_mask.png"),
        TestImage(test / "good/000_shift_1.png", "good", None),
    )


def test_it_is_known_under_any_name_and_by_one_object(tmp_path: Path) -> None:
    for name in ("mvtec_ad_2", "mvtec", "loco"):
        folder = make_mvtec2(tmp_path / name)
        assert dataset_folder("mvtec2", folder) == folder
        assert dataset_folder("mvtec2", folder / "can") == folder / "can"
        assert class_names("mvtec2", folder / "can") == ("can",)
        assert len(read_class("mvtec2", folder / "can", "can").test) == 3


@pytest.mark.parametrize("dataset", ["mvtec", "loco", "visa", "folder"])
def test_other_data_sets_refuse_it_and_name_it(dataset: str, tmp_path: Path) -> None:
    folder = make_mvtec2(tmp_path / "data" / dataset)
    for place in (folder, folder / "can"):
        cure = f"{place} has the layout of mvtec2: read it by `dataset` mvtec2 `data_root` {place}"
        assert refusal(class_names, dataset, place) == cure
        assert refusal(read_class, dataset, place, "can") == cure
        if dataset != "folder":
            assert refusal(dataset_folder, dataset, place) == cure


def test_incomplete_objects_are_refused(tmp_path: Path) -> None:
    message = refusal(dataset_folder, "mvtec2", tmp_path)
    assert message.startswith(f"no MVTec AD 2 at {(tmp_path / 'mvtec2').as_posix()}: unpack it there")
    folder = make_mvtec2(tmp_path / "mvtec2")
    can, mask = folder / "can", folder / "can/test_public/ground_truth/bad/000_regular_mask.png"
    mask.unlink()
    wanted = f"no mask for {can / 'test_public/bad/000_regular.png'}: put it at {mask}"
    assert refusal(read_class, "mvtec2", folder, "can") == wanted
    loose = draw(can / "test_public/7.png")
    message = refusal(read_class, "mvtec2", folder, "can")
    assert message.startswith(f"{loose} has no label: move it into {can / 'test_public/good'} or")
    shutil.rmtree(can / "train")
    wanted = f"no pictures in {can / 'train/good'}: put normal pictures of can there"
    assert class_names("mvtec2", folder) == ("can", "fabric")
    assert refusal(read_class, "mvtec2", folder, "can") == wanted
    assert refusal(read_class, "mvtec2", can, "can") == wanted


def test_mvtec_ad_is_not_read_as_it(tmp_path: Path) -> None:
    mvtec = tmp_path / "mvtec"
    for path in ("train/good/000.png", "test/good/000.png", "test/hole/000.png"):
        draw(mvtec / "carpet" / path)
    assert refusal(dataset_folder, "mvtec2", mvtec).startswith(f"{mvtec} has MVTec AD's layout: read it by")
    assert refusal(class_names, "mvtec2", mvtec).startswith(f"{mvtec} has MVTec AD's layout: read it by")
