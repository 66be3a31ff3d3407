"""SHA-256 of images and files, to distinguish those with the same name."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from promptad.data.images import ImageLike, read_image
from promptad.data.search import mask_files
from promptad.errors import InputError
from promptad.structures import TestImage


def support_sha256(images: Sequence[ImageLike], bit_depth: int | None = None) -> str:
    """Return the SHA-256 of the pixels of support images, as `read_image` gives them."""
    digest = hashlib.sha256()
    for image in images:
        pixels = read_image(image, bit_depth)
        digest.update(f"{pixels.size}".encode() + pixels.tobytes())
    return digest.hexdigest()


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def files_sha256(images: Sequence[TestImage]) -> str:
    """Return the SHA-256 of the files of a test split, images and masks: it distinguishes splits of one name.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        digests = [file_sha256(file) for image in images for file in _files(image)]
    except OSError as error:
        raise InputError(f"cannot open picture {error.filename}: {error.strerror}; check the path") from error
    labels = [image.defect for image in images]
    return hashlib.sha256("\n".join([*labels, *digests]).encode()).hexdigest()


def _files(image: TestImage) -> tuple[Path, ...]:
    """Return the file of an image and those of its mask."""
    return (image.path, *(() if image.mask_path is None else mask_files(image.mask_path)))


def image_sha256(image: ImageLike, bit_depth: int | None = None) -> str:
    """Return the SHA-256 of an image's content: the bytes of a file, else size and pixels.

    Raises:
        InputError: the file cannot be read, or it is not an image.
    """
    if not isinstance(image, str | Path):
        pixels: Image.Image = read_image(image, bit_depth)
        return hashlib.sha256(f"pixels {pixels.size}".encode() + pixels.tobytes()).hexdigest()
    try:
        return hashlib.sha256(b"file" + Path(image).read_bytes()).hexdigest()
    except OSError as error:
        read_image(image, bit_depth)  # raises an InputError that gives the reason
        raise InputError(f"cannot open picture {image}: {error.strerror}; check the path and its rights") from error
