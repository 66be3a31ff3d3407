"""Regions of interest: boxes and masks, and what is looked at of a picture."""

from pathlib import Path

import numpy as np
import pytest
from helpers import refusal
from PIL import Image

from promptad.data.region_of_interest import RegionOfInterest, make_region, masks_folder, read_own_region
from promptad.structures import WHOLE, Frame

SIZE = (40, 20)


def save_mask(path: Path, box: tuple[int, int, int, int] = (10, 5, 30, 15), size: tuple[int, int] = SIZE) -> Path:
    mask = Image.new("L", size)
    mask.paste(255, box)
    mask.save(path)
    return path


def test_boxes_and_masks_add_up_and_ignored_ones_are_taken_off(tmp_path: Path) -> None:
    region = make_region(["0,0,4,20", save_mask(tmp_path / "mask.png")], ["0,0,40,6"], SIZE)
    expected = np.zeros((20, 40), bool)
    expected[:, :4] = expected[5:15, 10:30] = True
    expected[:6] = False
    np.testing.assert_array_equal(region.mask, expected)
    assert region.box == (0, 6, 30, 20)
    assert region.frame == Frame(0, 6 / 20, 30 / 40, 1)
    np.testing.assert_array_equal(make_region([], ["0,0,40,6"], SIZE).mask[6:], True)


def test_what_does_not_count_is_cut_off_or_has_the_mean_colour_of_what_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    region = make_region(["10,5,30,15"], ["10,5,12,7"], SIZE)
    seen = np.asarray(region.seen(Image.fromarray(pixels), "it"))
    assert seen.shape == (10, 20, 3)
    counted = region.boxed
    np.testing.assert_array_equal(seen[counted], pixels[5:15, 10:30][counted])
    assert (seen[~counted] == np.rint(pixels[5:15, 10:30][counted].mean(0))).all()
    pixels[~region.mask] = 0
    np.testing.assert_array_equal(region.seen(Image.fromarray(pixels), "it"), seen)


def test_the_text_in_settings_is_the_same_mask() -> None:
    mask = np.random.default_rng(0).random((33, 17)) > 0.5
    again = RegionOfInterest.from_text(RegionOfInterest(mask).to_text())
    np.testing.assert_array_equal(again.mask, mask)
    assert "no mask" in refusal(RegionOfInterest.from_text, "x")


def test_a_map_shows_the_mask_in_its_frame() -> None:
    region = make_region(["10,5,30,15"], [], SIZE)
    assert region.at(region.frame, (5, 7)).all()
    whole = region.at(WHOLE, (20, 40))
    np.testing.assert_array_equal(whole, region.mask)


@pytest.mark.parametrize(
    ("counted", "ignored", "complaint"),
    [
        (["0,0,41,20"], [], "`region` 0,0,41,20: give left,top,right,bottom in pixels, within pictures of 40 x 20"),
        (["5,5,5,9"], [], "`region` 5,5,5,9"),
        (["{}/other.png"], [], "has 30 x 20 pixels, and the pictures 40 x 20: export the mask at their size"),
        (["{}/black.png"], [], "black.png is all black: paint white what it is to hold"),
        (["{}/grey.png"], [], "grey.png is nowhere lighter than middle grey (at most 127 of 255): paint white"),
        ([], ["0,0,40,20"], "`ignore` 0,0,40,20: nothing is left of the picture"),
        (["{}/none.png"], [], "none.png: there is no such file; give a mask, or left,top,right,bottom in pixels"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, counted: list[str], ignored: list[str], complaint: str) -> None:
    save_mask(tmp_path / "other.png", size=(30, 20))
    Image.new("L", SIZE).save(tmp_path / "black.png")
    Image.new("L", SIZE, 127).save(tmp_path / "grey.png")
    named = [place.format(tmp_path) for place in counted]
    told = refusal(make_region, named, ignored, SIZE)
    assert complaint in told
    assert "\n" not in told


def test_each_picture_has_the_mask_of_its_name(tmp_path: Path) -> None:
    save_mask(tmp_path / "a[1].png", (0, 0, 4, 4))
    region = read_own_region(tmp_path, Path("elsewhere/a[1].jpg"))
    assert region.box == (0, 0, 4, 4)
    assert "put a mask b.png there" in refusal(read_own_region, tmp_path, Path("b.jpg"))
    assert masks_folder([tmp_path]) == tmp_path
    assert masks_folder(["0,0,1,1"]) is None
    assert "give nothing beside it" in refusal(masks_folder, [tmp_path, "0,0,1,1"])
