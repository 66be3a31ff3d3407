"""Disturbances of whole pictures: the same again, in order of strength, and the same at any size."""

from pathlib import Path

import numpy as np
import pytest
from helpers import refusal
from PIL import Image

from promptad.data.corruptions import CORRUPTIONS, Corruption, corruptions_of
from promptad.data.demo import draw_image
from promptad.data.fingerprints import image_sha256
from promptad.data.masks import read_mask
from promptad.data.reading import Reading
from promptad.data.region_of_interest import RegionOfInterest
from promptad.settings import OWN_REGION, PictureSettings

DIGEST, OTHER = "0123456789abcdef" * 4, "f" * 64
MEASURED = (64, 64)  # pixels; changes are compared in pictures that are shrunk to this


def drawn(side: int = 256) -> Image.Image:
    image, _ = draw_image("carpet", style_seed=3, instance_seed=1, defect="hole")
    return Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)


def change(before: Image.Image, after: Image.Image) -> float:
    """The root of the mean squared difference, in grey levels."""
    pixels = [np.asarray(image.resize(MEASURED), float) for image in (before, after)]
    return float(np.sqrt(((pixels[0] - pixels[1]) ** 2).mean()))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A grey picture of 90 x 60 pixels with a white square."""
    image = Image.new("RGB", (90, 60), (40, 40, 40))
    image.paste((255, 255, 255), (30, 20, 45, 35))
    image.save(tmp_path / "part.png")
    return tmp_path / "part.png"


def write_mask(picture: Path, mode: str = "L") -> Path:
    """Write the mask of the white square beside the picture."""
    mask = Image.open(picture).convert("L").point(lambda level: 255 if level > 128 else 0)
    if mode == "P":  # whose value 0 is white
        indexed = Image.fromarray(np.where(np.asarray(mask) > 0, 0, 1).astype(np.uint8)).convert("P")
        indexed.putpalette([255, 255, 255, 0, 0, 0])
        mask = indexed
    mask.save(picture.with_name("mask.png"))
    return picture.with_name("mask.png")


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [(300, 200), (90, 140), (1, 1), (700, 2)])
def test_size_and_mode_are_kept(name: str, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (120, 60, 30))
    for strength in (1, 2, 3):
        disturbed = Corruption(name, strength).applied(picture, DIGEST)
        assert (disturbed.size, disturbed.mode) == (size, "RGB")
    assert picture.getcolors() == [(size[0] * size[1], (120, 60, 30))]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_larger_strength_changes_more(name: str) -> None:
    picture = drawn()
    changes = [change(picture, Corruption(name, strength).applied(picture, DIGEST)) for strength in (1, 2, 3)]
    assert 0.3 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_image_is_disturbed_in_the_same_way_again(name: str) -> None:
    first, again = (Corruption(name, 3).applied(drawn(), DIGEST) for _ in range(2))
    assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize("name", ["noise", "shift"])
def test_another_image_has_other_noise_and_another_direction(name: str) -> None:
    first, other = (Corruption(name, 3).applied(drawn(), digest) for digest in (DIGEST, OTHER))
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_strength_means_the_same_in_a_large_picture(name: str) -> None:
    small, large = drawn(256), drawn(1024)
    for strength in (2, 3):
        changes = [change(one, Corruption(name, strength).applied(one, DIGEST)) for one in (small, large)]
        assert changes[1] == pytest.approx(changes[0], rel=0.15)


def test_noise_has_the_deviation_that_it_names() -> None:
    grey = Image.new("RGB", (512, 300), (128, 128, 128))
    for strength, deviation in enumerate((4, 8, 16), start=1):
        disturbed = np.asarray(Corruption("noise", strength).applied(grey, DIGEST), float)
        assert disturbed.std() == pytest.approx(deviation, rel=0.03)
        assert np.ptp(disturbed, 2).max() == 0  # grey stays grey


def test_light_and_jpeg_are_what_they_name(picture: Path) -> None:
    image = Image.open(picture)
    assert sorted(level for _, level in Corruption("light", 2).applied(image, DIGEST).getcolors() or ()) == [
        (30, 30, 30),
        (191, 191, 191),
    ]
    coded = picture.with_suffix(".jpg")
    image.save(coded, quality=25)
    assert Corruption("jpeg", 2).applied(image, DIGEST).tobytes() == Image.open(coded).tobytes()


@pytest.mark.parametrize("strength", [1, 2, 3])
def test_a_shift_is_a_share_of_the_shorter_side(strength: int) -> None:
    share = (0.02, 0.04, 0.08)[strength - 1]
    for digest in (DIGEST, OTHER):
        assert np.hypot(*Corruption("shift", strength).offset((1000, 400), digest)) == pytest.approx(400 * share, abs=1)
    assert Corruption("noise", strength).offset((1000, 400), DIGEST) == (0, 0)


def test_what_comes_in_is_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptad.data.corruptions._offset", lambda *_: (2, -1))
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    shifted = Corruption("shift", 1).applied(Image.fromarray(np.stack([rows] * 3, 2)), DIGEST)
    np.testing.assert_array_equal(np.asarray(shifted)[..., 0], [[6, 5, 4, 5], [10, 9, 8, 9], [6, 5, 4, 5]])


@pytest.mark.parametrize("mode", ["L", "P"])
@pytest.mark.parametrize("strength", [1, 2, 3])
def test_the_mask_moves_with_the_part_to_the_pixel(picture: Path, mode: str, strength: int) -> None:
    reading = Reading(corruption=Corruption("shift", strength))
    (window,) = reading.windows(picture)
    shown = np.asarray(window)[..., 0] > 128
    assert (shown != (np.asarray(Image.open(picture))[..., 0] > 128)).any()
    mask = read_mask(write_mask(picture, mode), (60, 90), picture, reading.mask_box(picture))
    np.testing.assert_array_equal(mask, shown)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_nothing_is_marked_in_what_comes_in(picture: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptad.data.corruptions._offset", lambda *_: (-40, 30))
    reading = Reading(corruption=Corruption("shift", 3))
    mask = read_mask(write_mask(picture, mode), (60, 90), picture, reading.mask_box(picture))
    expected = np.zeros((60, 90), bool)
    expected[50:60, 0:5] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_region_stays_where_it_is_and_the_part_moves_in_it(picture: Path) -> None:
    counted = np.zeros((60, 90), bool)
    counted[10:50, 20:60] = True
    settings = PictureSettings(region=RegionOfInterest(counted).to_text())
    clean, moved = Reading(picture=settings), Reading(picture=settings, corruption=Corruption("shift", 3))
    assert clean.mask_box(picture) == (20, 10, 60, 50)
    (window,) = moved.windows(picture)
    assert window.size == (40, 40)
    mask = read_mask(write_mask(picture), (40, 40), picture, moved.mask_box(picture))
    np.testing.assert_array_equal(mask, np.asarray(window)[..., 0] > 128)
    assert 0 < mask.sum() <= 15 * 15


def test_an_own_region_stays_where_it_is(picture: Path, tmp_path: Path) -> None:
    region = Image.new("L", (90, 60))
    region.paste(255, (30, 20, 45, 35))  # just the square
    (tmp_path / "masks").mkdir()
    region.save(tmp_path / "masks" / "part.png")
    settings = PictureSettings(region=OWN_REGION)
    (clean,) = Reading(None, settings, tmp_path / "masks").windows(picture)
    (moved,) = Reading(None, settings, tmp_path / "masks", Corruption("shift", 3)).windows(picture)
    assert np.unique(np.asarray(clean)).tolist() == [255]
    assert len(np.unique(np.asarray(moved))) == 3  # square, ground, and the mean of both around


def test_disturbed_pictures_have_keys_of_their_own(picture: Path) -> None:
    corruptions = [None, *corruptions_of(CORRUPTIONS)]
    for settings in (PictureSettings(), PictureSettings(tiles=(1, 2))):
        keys = {Reading(picture=settings, corruption=one).key(picture) for one in corruptions}
        assert len(keys) == len(corruptions) == 16
    assert Reading().key(picture) == (image_sha256(picture), None)


def test_a_key_changes_with_what_a_strength_means(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(corruption=Corruption("blur", 1))
    before = reading.key(picture)
    monkeypatch.setitem(vars(CORRUPTIONS["blur"]), "levels", (0.1, 0.2, 0.3))
    assert reading.key(picture) != before


def test_an_unknown_disturbance_is_refused_with_the_list() -> None:
    assert refusal(corruptions_of, ["light", "blurr"]) == (
        'unknown disturbance: "blurr"; did you mean blur? choose from light, blur, noise, jpeg, shift'
    )
    assert [one.strength for one in corruptions_of(["jpeg", "jpeg"])] == [1, 2, 3]
