"""Files of 16 bits, of which a camera may fill fewer."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import WHITE, draw, refusal
from PIL import Image

from promptad.data.bit_depth import to_eight_bits
from promptad.data.images import find_bit_depth, read_image


def deep(path: Path, pixels: np.ndarray) -> Path:
    """Write uint16 pixels, grey or RGB."""
    cv2.imwrite(str(path), pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1]))
    return path


def grey(highest: int) -> np.ndarray:
    pixels = np.linspace(0, highest, 12).reshape(3, 4).round()
    return np.asarray(pixels, np.uint16)


@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_white_is_255_at_every_bit_depth(tmp_path: Path, name: str, depth: int) -> None:
    path = deep(tmp_path / name, grey(2**depth - 1))
    assert find_bit_depth([draw(tmp_path / "plain.png"), path]) == depth
    read = np.asarray(read_image(path, depth))
    np.testing.assert_array_equal(read, np.rint(np.linspace(0, 255, 12)).reshape(3, 4, 1).repeat(3, 2))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ppm"])
def test_colours_keep_the_bits_that_are_filled(tmp_path: Path, name: str) -> None:
    pixels = np.stack([grey(1023), grey(500), grey(0)], 2)
    path = deep(tmp_path / name, pixels)
    assert find_bit_depth([path]) == find_bit_depth([Image.open(path)]) == 10
    for read in (read_image(path, 10), read_image(Image.open(path), 10)):
        np.testing.assert_array_equal(np.asarray(read), np.rint(pixels * (255 / 1023)))


def test_transparent_pixels_of_16_bits_are_white(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4), np.uint16)
    pixels[0] = (4095, 0, 0, 65535)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)  # BGRA
    assert np.asarray(read_image(tmp_path / "a.png", 12)).tolist() == [[[0, 0, 255]] * 2, [[255] * 3] * 2]


def test_a_file_that_tells_its_own_white_is_read_by_it(tmp_path: Path) -> None:
    body = np.array([0, 341, 1023], ">u2").tobytes()
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 1023\n" + body)
    (tmp_path / "a.ppm").write_bytes(b"P6 1 1 1023\n" + body)
    assert np.asarray(read_image(tmp_path / "a.pgm", 16))[0, :, 0].tolist() == [0, 85, 255]
    assert np.asarray(read_image(tmp_path / "a.ppm"))[0, 0].tolist() == [0, 85, 255]


def test_all_16_bit_values_are_rounded() -> None:
    every = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(to_eight_bits(every, 16, ""), np.rint(every / 257))
    assert to_eight_bits(every, None, "").max() == 255


def test_brighter_images_than_the_bit_depth_allows_are_refused(tmp_path: Path) -> None:
    path = deep(tmp_path / "a.png", grey(1024))
    assert refusal(read_image, path, 10) == (
        f"picture {path} is brighter than `bit_depth` 10 allows: its pixels go up to 1024, those that were learned from"
        " to 1023; train again with `bit_depth` 12"
    )
    assert np.asarray(read_image(path, 12)).max() == round(1024 * 255 / 4095)


def test_an_unknown_bit_depth_is_guessed_only_where_it_is_plain(tmp_path: Path) -> None:
    dark, bright = deep(tmp_path / "dark.png", grey(1023)), deep(tmp_path / "bright.png", grey(16384))
    assert "its 16-bit pixels go up to 1023, and the pictures that were learned from have 8 bits" in refusal(
        read_image, dark
    )
    assert np.asarray(read_image(bright)).max() == 64


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("colours", [False, True])
def test_orientation_is_applied_to_16_bits(tmp_path: Path, suffix: str, *, colours: bool) -> None:
    pixels = np.zeros((4, 8, 3) if colours else (4, 8), np.uint16)
    pixels[:, :2] = 1023
    path = tmp_path / f"turned{suffix}"
    turn = 3  # upside down
    if suffix == ".png":
        deep(path, pixels)
        exif = Image.Exif()
        exif[0x0112] = turn
        _add_png_exif(path, exif.tobytes())
    else:
        path.write_bytes(_tiff(pixels, turn))
    read = np.asarray(read_image(path, 10))
    assert (read[:, -2:] == WHITE).all()
    assert (read[:, :-2] == 0).all()


def test_a_turned_tiff_of_16_bit_colours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(_tiff(np.ones((4, 8, 3), np.uint16), 6))
    assert "turned TIFF of 16-bit colours" in refusal(read_image, tmp_path / "a.tif", 10)


@pytest.mark.parametrize("colours", [False, True])
def test_a_truncated_16_bit_file_is_refused(tmp_path: Path, *, colours: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 1024, (40, 40, 3) if colours else (40, 40), dtype=np.uint16)
    path = deep(tmp_path / "a.png", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(read_image, path, 10) == f"corrupt picture {path}: the file ends early; replace it or remove it"
    assert find_bit_depth([path]) is None


def _add_png_exif(path: Path, exif: bytes) -> None:
    content, body = path.read_bytes(), b"eXIf" + exif.removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(content[:33] + chunk + content[33:])  # behind the header


def _tiff(pixels: np.ndarray, orientation: int) -> bytes:
    """Return a TIFF of 16-bit pixels with an orientation, which OpenCV cannot write."""
    height, width, *channels = pixels.shape
    count = channels[0] if channels else 1
    data = pixels.astype("<u2").tobytes()
    bits = struct.pack("<I", 16) if count == 1 else struct.pack("<I", 8 + len(data))
    short, long = 3, 4
    entries = [
        (256, short, 1, struct.pack("<I", width)),
        (257, short, 1, struct.pack("<I", height)),
        (258, short, count, bits),
        (259, short, 1, struct.pack("<I", 1)),
        (262, short, 1, struct.pack("<I", 1 if count == 1 else 2)),
        (273, long, 1, struct.pack("<I", 8)),
        (274, short, 1, struct.pack("<I", orientation)),
        (277, short, 1, struct.pack("<I", count)),
        (278, short, 1, struct.pack("<I", height)),
        (279, long, 1, struct.pack("<I", len(data))),
    ]
    directory = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    at = struct.pack("<I", 8 + len(data) + 6)
    return (
        b"II*\0" + at + data + struct.pack("<3H", 16, 16, 16) + struct.pack("<H", len(entries)) + directory + bytes(4)
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_of_16_bits_are_read_as_their_files(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(channels).integers(0, 4096, (5, 6, channels), np.uint16)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), pixels[..., [2, 1, 0, 3][:channels]] if channels > 1 else pixels)
    assert find_bit_depth([pixels]) == find_bit_depth([path]) == 12
    np.testing.assert_array_equal(np.asarray(read_image(pixels, 12)), np.asarray(read_image(path, 12)))
    assert "given as an array: its 16-bit pixels go up to" in refusal(read_image, pixels)
