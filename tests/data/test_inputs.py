"""What a user may give as images: one or several, folders, batches and loaders."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import draw, refusal
from PIL import Image
from torch.utils.data import DataLoader

from promptad.data.images import ImageLike, read_image
from promptad.data.inputs import as_images

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6)
RGB = np.random.default_rng(0).integers(0, 256, (4, 4, 6, 3), np.uint8)  # four images [4, 6, 3]
FIRST = torch.from_numpy(RGB.transpose(0, 3, 1, 2).copy()) / 255  # [4, 3, 4, 6]


def pixels(images: list[ImageLike]) -> np.ndarray:
    return np.stack([np.asarray(read_image(image)) for image in images])


class Labelled(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Four images, each with a label."""

    def __len__(self) -> int:
        return len(FIRST)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return FIRST[number], number


def generated() -> Iterator[np.ndarray]:
    yield from RGB


@pytest.mark.parametrize(
    "given",
    [
        RGB,
        FIRST,
        list(RGB),
        tuple(FIRST),
        [RGB[:3], RGB[3]],
        [FIRST[:2], FIRST[2:]],
        [Image.fromarray(array) for array in RGB],
        [(array, "good") for array in RGB],
        [(FIRST[:3], torch.arange(3), FIRST[:3, :1]), (FIRST[3:], torch.arange(1))],
    ],
)
def test_batches_and_labelled_images_are_the_images_themselves(given: Any) -> None:
    np.testing.assert_array_equal(pixels(as_images(given)), RGB)


def test_generators_and_loaders_are_read_to_their_end() -> None:
    np.testing.assert_array_equal(pixels(as_images(generated())), RGB)
    np.testing.assert_array_equal(pixels(as_images(DataLoader(Labelled(), batch_size=3))), RGB)
    np.testing.assert_array_equal(pixels(as_images(DataLoader(FIRST, batch_size=3))), RGB)  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [GREY, GREY[..., None], GREY[None], RGB[0], FIRST[0], Image.fromarray(GREY), "a.png"])
def test_one_image_is_a_list_of_it(image: Any) -> None:
    (only,) = as_images(image)
    assert only is image


def test_paths_may_be_in_an_array() -> None:
    assert as_images(np.array(["a.png", "b.png"])) == ["a.png", "b.png"]
    assert as_images([("a.png", "good"), (Path("b.png"), 1)]) == ["a.png", Path("b.png")]


def test_a_folder_is_its_images_in_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("b.png", "a.png", "c/d.png", ".hidden.png"):
        draw(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    with caplog.at_level(logging.WARNING, logger="promptad"):
        found = as_images(tmp_path)
    assert found == [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c" / "d.png"]
    assert "notes.txt" in caplog.text
    assert as_images(f"{tmp_path}/*.png") == found[:2]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "no pictures in" in refusal(as_images, tmp_path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: None, "`images` is a NoneType: give a path"),
        (lambda: b"bytes", "`images` is a bytes"),
        (lambda: 3, "`images` is a int"),
        (lambda: [3], "`images[0]` is a int"),
        (lambda: {"image": FIRST, "label": 1}, "`images` is a mapping of image, label: give its images alone"),
        (lambda: [{"image": FIRST}], "`images[0]` is a dict"),
        (
            lambda: np.zeros((2, 4, 5), np.uint8),
            "`images`: cannot read a picture from a uint8 array of shape [2, 4, 5]",
        ),
        (lambda: np.zeros((1, 2, 3, 4, 5), np.uint8), "shape [1, 2, 3, 4, 5]"),
        (lambda: torch.zeros(2, 2, 4, 5), "`images[0]`: cannot read a picture from a float32 array of shape [2, 4, 5]"),
        (lambda: [FIRST, torch.arange(4)], "`images[1]`: cannot read a picture from a int64 array of shape [4]"),
        (lambda: [RGB[0], RGB[0].astype(int)], "`images[1]`: cannot read a picture from a int64 array"),
        (lambda: [FIRST * 255], "`images[0][0]`: cannot read a picture from floats between"),
        (lambda: FIRST * float("nan"), "`images[0]`: cannot read a picture from floats of which some are NaN"),
        (lambda: np.zeros((0, 5, 3)), "shape [0, 5, 3]"),
        (lambda: [[RGB[0], RGB[1]]], "`images[0]` holds several pictures"),
        (lambda: [("a.png", "b.png")], "`images[0]` holds several pictures"),
        (lambda: [[Image.fromarray(GREY)] * 2], "`images[0]` holds several pictures"),
        (lambda: [()], "`images[0]` is empty"),
    ],
)
def test_what_is_no_image_is_refused_by_its_argument_and_place(make: Callable[[], Any], words: str) -> None:
    assert words in refusal(as_images, make())


def test_another_argument_is_named_itself() -> None:
    assert refusal(as_images, [3], "good").startswith("`good[0]` is a int")
