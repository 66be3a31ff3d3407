"""Load any supported image as upright RGB, or raise InputError."""

import glob
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from promptad.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

ImageLike: TypeAlias = Union[str, Path, Image.Image, np.ndarray, "Tensor"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"})
_MODE_WORDS = {"I": "32-bit integers", "F": "32-bit floats"}
# Pillow's keys of an orientation that is not yet applied; without any of these the header's size is the upright size.
_ORIENTATION_KEYS = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})


def read_image(image: ImageLike) -> Image.Image:
    """The image as upright 8-bit RGB.

    EXIF orientation is applied, transparent pixels are composited over white, 16-bit grey is divided by 257 (white
    stays white, nothing is clipped), and only the first of several frames is used. An array or tensor is RGB
    `[height, width, 3]` or `[3, height, width]`, uint8 or floats from 0 to 1. Raises InputError for a file or a value
    that is not such an image.
    """
    if is_tensor(image):
        image = (image.detach().float() if image.is_floating_point() else image.detach()).cpu().numpy()
    if isinstance(image, np.ndarray):
        return _image_of_array(image)
    if isinstance(image, str | Path):
        return _to_rgb(_open_upright(Path(image)), str(image))
    if isinstance(image, Image.Image):
        name = str(getattr(image, "filename", "")) or "given as a PIL image"
        with _decoding_in_words(name):
            upright = ImageOps.exif_transpose(image)
        return _to_rgb(upright, name)
    raise InputError(
        f"cannot read a picture from a {type(image).__name__}: give a path, a PIL image, or an RGB array or tensor"
    )


def is_tensor(value: Any) -> "TypeGuard[Tensor]":
    """Whether a value is a torch tensor; torch is not imported for this."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def read_mask(path: Path, size: int, image: Path) -> NDArray[np.bool_]:
    """Where the mask shows a defect, resized to `[size, size]` by the nearest pixel.

    Every visible value above 0 is a defect: VisA numbers its kinds 1, 2, 3, ..., so a higher threshold would miss some.
    Raises InputError if the mask and its `image` differ in size, or if nothing is marked.
    """
    if path.suffix.lower() in _JPEG_SUFFIXES:
        raise InputError(f"mask {path} is a JPEG, whose compression smears a defect's border: export it as PNG")
    mask = _open_upright(path)
    width, height = _upright_size(image)
    if mask.size != (width, height):
        raise InputError(
            f"mask {path} has {mask.width} x {mask.height} pixels, its picture {image} {width} x {height}: "
            "export the mask at the picture's size"
        )
    defect = _defect_pixels(mask, str(path))
    if not defect.any():
        raise InputError(f"mask {path} is all black: mark the defect of {image} in it, or move the picture to good/")
    resized = Image.fromarray(defect).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(resized, dtype=np.bool_)


def list_images(folder: Path) -> tuple[Path, ...]:
    """The image files directly in the folder, by suffix and sorted by name; hidden files are left out."""
    if not folder.is_dir():
        raise InputError(f"no folder of pictures at {folder}: check the path")
    images = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    return tuple(sorted(images, key=lambda path: path.name))


def find_images(named: Sequence[str], besides: Path | None = None) -> tuple[Path, ...]:
    """The images that a user names, each once: as files, folders (with all sub-folders) or patterns with *.

    A folder's images are found by their suffix, and sorted; hidden files and everything below `besides` are left out.
    A named file is included even if it does not exist: reading it raises the error. Raises InputError for a folder or
    a pattern without images.
    """
    found: dict[Path, None] = {}
    for name in named:
        place = Path(name)
        if place.is_dir():
            inside = _images_below(place, besides)
        elif glob.has_magic(name) and not place.exists():
            inside = _matches(name)
        else:
            inside = [place]
        if not inside:
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            raise InputError(f"no pictures in {name!r}: name files, a folder that holds some ({suffixes}) or a pattern")
        found |= dict.fromkeys(inside)
    return tuple(found)


def _matches(pattern: str) -> list[Path]:
    # pathlib's own patterns cannot be absolute.
    return [path for match in sorted(glob.glob(pattern, recursive=True)) if (path := Path(match)).is_file()]  # noqa: PTH207


def _images_below(folder: Path, besides: Path | None) -> list[Path]:
    def counts(path: Path) -> bool:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        left_out = besides is not None and path.resolve().is_relative_to(besides.resolve())
        return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not hidden and not left_out

    return sorted(filter(counts, folder.rglob("*")), key=Path.as_posix)


def _image_of_array(array: np.ndarray) -> Image.Image:
    """The image in an array; if the first and the last axis both have length 3, the last one is the colour axis."""
    pixels = array if array.ndim != 3 or array.shape[2] == 3 else array.transpose(1, 2, 0)
    floating = np.issubdtype(pixels.dtype, np.floating)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0 or not (floating or pixels.dtype == np.uint8):
        raise InputError(
            f"cannot read a picture from a {array.dtype} array of shape {list(array.shape)}: "
            "give RGB [height, width, 3] or [3, height, width], as uint8 or as floats from 0 to 1"
        )
    if floating:
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise InputError(
                f"cannot read a picture from floats between {pixels.min():.3g} and {pixels.max():.3g}: scale them to 0"
                " to 1, or give uint8"
            )
        pixels = np.rint(pixels * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels))


def _open_upright(path: Path) -> Image.Image:
    """The file's image with its EXIF orientation applied, in its own mode."""
    with _decoding_in_words(str(path)):
        if not path.exists():
            raise InputError(f"no picture at {path}: check the path")
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a picture: name a picture in it")
        if path.stat().st_size == 0:
            raise InputError(f"empty picture {path}: the file has no bytes; replace it or remove it")
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)


def _upright_size(path: Path) -> tuple[int, int]:
    """Width and height as `read_image` gives them, from the header alone where that is certain."""
    if path.is_file():
        with _decoding_in_words(str(path)), Image.open(path) as image:
            # A TIFF keeps its orientation among its own tags, and Pillow's versions differ in when they apply it.
            if image.format != "TIFF" and not _ORIENTATION_KEYS & {str(key) for key in image.info}:
                return image.size
    return _open_upright(path).size


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    _check_pixels(image, name)
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")  # 257 = 65535 / 255; rounded
    with _decoding_in_words(name):
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        return image.convert("RGB")


def _defect_pixels(mask: Image.Image, name: str) -> NDArray[np.bool_]:
    """The mask's visible pixels that are not black, `[height, width]`."""
    _check_pixels(mask, name)
    if mask.mode.startswith("I;16"):
        return np.asarray(mask) > 0
    with _decoding_in_words(name):
        pixels = np.asarray(mask.convert("RGBA"))  # [height, width, 4]
    red, green, blue, alpha = (pixels[..., channel] for channel in range(4))
    defect: NDArray[np.bool_] = ((red | green | blue) > 0) & (alpha > 0)  # any() over so short an axis is slow
    return defect


def _check_pixels(image: Image.Image, name: str) -> None:
    if min(image.size) == 0:
        raise InputError(f"empty picture {name}: it has {image.width} x {image.height} pixels; replace it or remove it")
    if image.mode not in _EIGHT_BIT_MODES and not image.mode.startswith("I;16"):
        kind = _MODE_WORDS.get(image.mode, f"of the kind {image.mode}")
        raise InputError(f"cannot use picture {name}: its pixels are {kind}; save it as 8-bit RGB or 8- or 16-bit grey")


@contextmanager
def _decoding_in_words(name: str) -> Iterator[None]:
    """Convert what Pillow raises on a bad file into a one-line InputError."""
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"not a picture: {name} is damaged or of another kind; give a PNG, JPEG, BMP, TIFF or WebP file"
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"picture {name} is too large: it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels; scale it down"
        ) from error
    # Pillow's decoders also raise errors of struct, zlib and indexing when the bytes are wrong.
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, struct.error, zlib.error) as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"cannot open picture {name}: {error.strerror}; check the path and its rights") from error
        early = "truncated" in str(error).lower()
        reason = "the file ends early" if early else "its data cannot be decoded"
        raise InputError(f"corrupt picture {name}: {reason}; replace it or remove it") from error
