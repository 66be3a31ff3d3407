"""The reading of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import RED, WHITE, draw, refusal
from PIL import Image

from promptad.data import images
from promptad.data.images import IMAGE_SUFFIXES, is_large, read_image, read_image_bytes
from promptad.data.masks import read_mask
from promptad.data.search import find_images, list_images

# Images


@pytest.mark.parametrize(
    ("name", "mode", "color", "expected"),
    [
        ("a.png", "RGB", (1, 2, 3), (1, 2, 3)),
        ("a.bmp", "RGB", (1, 2, 3), (1, 2, 3)),
        ("a.png", "L", 77, (77, 77, 77)),
        ("a.png", "1", 1, WHITE),
        ("a.png", "I;16", 65535, WHITE),
        ("a.tif", "I;16", 257 * 100, (100, 100, 100)),
        ("a.png", "RGBA", (255, 0, 0, 255), RED),
        ("a.png", "RGBA", (255, 0, 0, 0), WHITE),
        ("a.png", "RGBA", (255, 0, 0, 51), (255, 204, 204)),
        ("a.png", "LA", (0, 51), (204, 204, 204)),
        ("a.tif", "CMYK", (0, 255, 255, 0), RED),
    ],
)
def test_every_kind_of_image_becomes_rgb(
    tmp_path: Path, name: str, mode: str, color: object, expected: tuple[int, int, int]
) -> None:
    image = read_image(draw(tmp_path / name, color, mode))
    assert (image.mode, image.size) == ("RGB", (8, 6))
    assert (np.asarray(image) == expected).all()


def test_a_palette_image_becomes_rgb_and_its_transparent_color_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "clear.png", transparency=1)
    assert np.asarray(read_image(tmp_path / "plain.png")).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert np.asarray(read_image(str(tmp_path / "clear.png"))).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.skipif(".avif" not in IMAGE_SUFFIXES, reason="this Pillow does not read AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    read = np.asarray(read_image(draw(tmp_path / "a.avif", RED)), int)
    assert abs(read - RED).max() < 6


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_exif_orientation_is_applied_to_files_and_given_images(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"turned{suffix}"
    stored = Image.new("RGB", (32, 16))
    stored.paste(WHITE, (0, 0, 16, 16))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise: white moves to the top
    stored.save(path, exif=exif)
    for upright in (read_image(path), read_image(Image.open(path))):
        assert upright.size == (16, 32)
        bright = np.asarray(upright.convert("L")) > 128
        assert bright[:15].all()
        assert not bright[17:].any()
    mask = draw(tmp_path / "mask.png", 255, "L", (16, 32))
    assert read_mask(mask, (4, 4), path).all()


def test_arrays_are_read_as_rgb() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (np.asarray(read_image(array)) == array).all()
    assert (np.asarray(read_image(array[:, ::-1])) == array[:, ::-1]).all()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((5, 6, 7), np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros((2, 2, 3), np.int64),
        np.zeros((2, 2, 3), bool),
        np.zeros(3, np.uint8),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    expected = f"a {array.dtype} array of shape {list(array.shape)}: give grey [height, width], RGB [height, width, 3]"
    assert expected in refusal(read_image, array)


def test_arrays_and_tensors_of_either_layout_are_the_same_image() -> None:
    array = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    channels_first = torch.from_numpy(array.copy()).permute(2, 0, 1)
    for image in (
        array.transpose(2, 0, 1),
        array / 255,
        channels_first,
        channels_first / 255,
        channels_first.half() / 255,
    ):
        assert (np.asarray(read_image(image)) == array).all()


@pytest.mark.parametrize("value", [-0.1, 1.1, 200.0, np.inf])
def test_floats_beyond_0_to_1_are_refused(value: float) -> None:
    assert "scale them to 0 to 1" in refusal(read_image, np.full((2, 2, 3), value))


def test_floats_that_are_no_numbers_are_refused() -> None:
    pixels = np.zeros((2, 2, 3), np.float32)
    pixels[1, 1, 1] = np.nan
    assert "some are NaN" in refusal(read_image, pixels)


def test_grey_and_transparent_arrays_are_read_as_their_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for channels in (1, 4):
        array = random.integers(0, 256, (5, 6, channels), np.uint8)
        Image.fromarray(array.squeeze()).save(tmp_path / "a.png")
        expected = np.asarray(read_image(tmp_path / "a.png"))
        first = np.ascontiguousarray(array.transpose(2, 0, 1))
        for image in (array, array.squeeze(), first, torch.from_numpy(first), torch.from_numpy(first) / 255):
            np.testing.assert_array_equal(np.asarray(read_image(image)), expected)


@pytest.mark.parametrize(("name", "mode"), [("a.png", "RGB"), ("a.jpg", "L"), ("a.png", "I;16"), ("a.tif", "CMYK")])
def test_the_bytes_of_a_file_are_read_as_the_file(tmp_path: Path, name: str, mode: str) -> None:
    color = {"RGB": (1, 2, 3), "L": 7, "I;16": 65535, "CMYK": (0, 255, 255, 0)}[mode]
    path = draw(tmp_path / name, color, mode)
    found, expected = read_image_bytes(path.read_bytes(), "sent", 16), read_image(path, 16)
    assert (np.asarray(found) == np.asarray(expected)).all()


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a\x01\x00"])
def test_bytes_are_refused_in_the_words_of_files_under_the_name_that_is_given(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sent.png"
    path.write_bytes(content)
    assert refusal(read_image_bytes, content, "sent.png") == refusal(read_image, path).replace(str(path), "sent.png")


def test_bytes_of_a_large_image_are_known_by_their_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGE", 100)
    small, large = (draw(tmp_path / f"{side}.png", size=(side, 10)).read_bytes() for side in (10, 11))
    assert (is_large(small), is_large(large), is_large(b"no picture")) == (False, True, False)


def test_images_are_found_by_file_folder_and_pattern_each_once(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.jpg", "a/deep/3.png", "a/.hidden/4.png", "out/5.png"):
        draw(tmp_path / name)
    (tmp_path / "a" / "notes.txt").touch()

    def found(*named: str) -> list[str]:
        images = find_images([str(tmp_path / name) for name in named], besides=tmp_path / "out").images
        return [path.relative_to(tmp_path).as_posix() for path in images]

    assert found("") == ["a/1.jpg", "a/deep/3.png", "b/2.png"]
    assert found("b/2.png", "*/*.png", "gone.png") == ["b/2.png", "out/5.png", "gone.png"]
    for name in ("out", "*.png"):
        assert "no pictures in" in refusal(found, name)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bit_images_are_refused(tmp_path: Path, mode: str) -> None:
    path = draw(tmp_path / "deep.tif", 1, mode)
    for image in (path, Image.open(path)):
        assert f"cannot use picture {path}: its pixels are 32-bit" in refusal(read_image, image)


def test_files_that_are_not_images_are_refused_with_the_reason(tmp_path: Path) -> None:
    missing, empty, text = tmp_path / "missing.png", tmp_path / "empty.png", tmp_path / "text.png"
    empty.touch()
    text.write_text("not a picture")
    assert refusal(read_image, missing) == f"no picture at {missing}: check the path"
    assert refusal(read_image, empty).startswith(f"empty picture {empty}: the file has no bytes; replace it")
    assert refusal(read_image, text).startswith(f"not a picture: {text} is damaged or of another kind; give a PNG")
    assert refusal(read_image, tmp_path) == f"{tmp_path} is a folder, not a picture: name a picture in it"
    assert "a bytes: give a path, a PIL image" in refusal(read_image, b"x")
    assert "it has 0 x 3 pixels" in refusal(read_image, Image.new("RGB", (0, 3)))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_a_truncated_file_is_refused_with_the_reason(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"short{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    assert refusal(read_image, path) == f"corrupt picture {path}: the file ends early; replace it or remove it"


def test_a_corrupt_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = draw(tmp_path / "corrupt.png", size=(40, 40))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    expected = f"corrupt picture {path}: its data cannot be decoded; replace it or remove it"
    assert refusal(read_image, path) == expected
    assert refusal(read_image, Image.open(path)) == expected


def test_an_enormous_image_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = draw(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert refusal(read_image, path) == f"picture {path} is too large: it has more than 40 pixels; scale it down"


def test_images_are_listed_sorted_without_hidden_and_other_files(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "._a.png", "c.webp", "deeper/d.png"):
        draw(tmp_path / name.replace(".JPG", ".jpg")).rename(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.JPG", "c.webp"]
    assert refusal(list_images, tmp_path / "none").startswith(f"no folder of pictures at {tmp_path / 'none'}")
