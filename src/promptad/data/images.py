"""Load any supported image as upright RGB, or raise InputError."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, Union

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from promptad.data.arrays import NAME as ARRAY_NAME
from promptad.data.arrays import image_of_array, is_array, pixels_of
from promptad.data.bit_depth import deep_pixels, highest_value, needed_bits, to_eight_bits
from promptad.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

ImageLike: TypeAlias = Union[str, Path, Image.Image, np.ndarray, "Tensor"]

# Pillow's decoders that are used: others start programs (EPS), or are not meant for photographs.
FORMATS = ["PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM"]
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".j2k"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
UNREADABLE_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".psd", ".exr", ".hdr", ".dcm", ".svg", ".eps"}
    | {".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"}
)
if features.check("avif"):  # of Pillow's newer versions
    FORMATS.append("AVIF")
    IMAGE_SUFFIXES |= {".avif"}
    UNREADABLE_SUFFIXES -= {".avif"}
if find_spec("pillow_heif"):  # the extra "heic"
    pillow_heif = import_module("pillow_heif")
    pillow_heif.register_heif_opener()
    FORMATS.append("HEIF")
    IMAGE_SUFFIXES |= {".heic", ".heif"}
    UNREADABLE_SUFFIXES -= {".heic", ".heif"}

LARGE = 2**24  # pixels of an image that is not decoded beside another one

_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"})
_MODE_WORDS = {"I": "32-bit integers", "F": "32-bit floats"}
# Pillow's keys of an orientation that is not yet applied; without any of these the header's size is the upright size.
_ORIENTATION_KEYS = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})


def read_image(image: ImageLike, bit_depth: int | None = None) -> Image.Image:
    """The image as upright 8-bit RGB.

    EXIF orientation is applied, transparent pixels are composited over white, 16-bit pixels are scaled so that
    `bit_depth` bits of white are 255 (see `to_eight_bits`), and only the first of several frames is used. An array or
    tensor is grey [H, W] or [H, W, 1], RGB [H, W, 3] or RGBA [H, W, 4], or has its channels first, as uint8, uint16 or
    floats from 0 to 1. Raises InputError for a file or a value that is not such an image, or does not fit the bit
    depth.
    """
    if is_array(image):
        return _to_rgb(image_of_array(image, bit_depth), ARRAY_NAME)
    with _opened(image) as (opened, name):
        return _to_rgb(_upright_eight_bits(opened, name, bit_depth), name)


def read_image_bytes(content: bytes, name: str, bit_depth: int | None = None) -> Image.Image:
    """The image in the bytes of a file, as `read_image` gives it; errors call it `name`."""
    with decoding_in_words(name), _opened_file(BytesIO(content), len(content), name) as opened:
        return _to_rgb(_upright_eight_bits(opened, name, bit_depth), name)


def find_bit_depth(images: Iterable[ImageLike]) -> int | None:
    """The bits that the brightest pixel of the 16-bit images needs; None if none has 16 bits.

    Images that cannot be read are passed over: whoever reads them says what is wrong.
    """
    highest = []
    for image in images:
        with suppress(InputError):
            if (pixels := _deep_pixels(image)) is not None:
                highest.append(highest_value(pixels))
    return needed_bits(max(highest)) if highest else None


def _deep_pixels(image: ImageLike) -> np.ndarray | None:
    """The 16-bit pixels of an image as of `deep_pixels`; None if it has others."""
    if is_array(image):
        pixels = pixels_of(image)
        return pixels if pixels.dtype == np.uint16 else None
    with _opened(image) as (opened, _):
        return deep_pixels(opened)


def is_large(image: Any) -> bool:
    """Whether the header of a file, or of its bytes, promises a large image; whoever reads it says what is wrong."""
    image = BytesIO(image) if isinstance(image, bytes) else image
    if isinstance(image, str | Path | BytesIO):
        with suppress(Exception), Image.open(image, formats=FORMATS) as opened:
            return opened.width * opened.height > LARGE
    return False


def open_upright(path: Path) -> Image.Image:
    """The file's image with its EXIF orientation applied, in its own mode."""
    with _opened(path) as (image, _):
        return ImageOps.exif_transpose(image)


@contextmanager
def _opened(image: ImageLike) -> Iterator[tuple[Image.Image, str]]:
    """Yield a file, open, or a PIL image as it is, and its name; errors of the body are put in words."""
    if isinstance(image, Image.Image):
        name = str(getattr(image, "filename", "")) or "given as a PIL image"
        with decoding_in_words(name):
            yield image, name
        return
    if not isinstance(image, str | Path):
        raise InputError(
            f"cannot read a picture from a {type(image).__name__}: give a path, a PIL image, an array or a tensor"
        )
    path = Path(image)
    with decoding_in_words(str(path)):
        if not path.exists():
            raise InputError(f"no picture at {path}: check the path")
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a picture: name a picture in it")
        with _opened_file(path, path.stat().st_size, str(path)) as opened:
            yield opened, str(path)


def _opened_file(file: Path | BinaryIO, size: int, name: str) -> Image.Image:
    if size == 0:
        raise InputError(f"empty picture {name}: the file has no bytes; replace it or remove it")
    return Image.open(file, formats=FORMATS)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file as `read_image` gives them, from the header alone where that is certain."""
    if path.is_file():
        with decoding_in_words(str(path)), Image.open(path, formats=FORMATS) as image:
            # A TIFF keeps its orientation among its own tags, and Pillow's versions differ in when they apply it.
            if image.format != "TIFF" and not _ORIENTATION_KEYS & {str(key) for key in image.info}:
                return image.size
    return open_upright(path).size


def _upright_eight_bits(image: Image.Image, name: str, bit_depth: int | None) -> Image.Image:
    """The image with its EXIF orientation applied, its 16-bit pixels scaled to 8 bits."""
    if min(image.size) > 0 and (pixels := deep_pixels(image)) is not None:
        shallow = Image.fromarray(to_eight_bits(pixels, bit_depth, name))
        if image.format != "TIFF":  # which is upright since it was decoded
            shallow.info = {key: value for key, value in image.info.items() if key in _ORIENTATION_KEYS}
        image = shallow
    return ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    check_pixels(image, name)
    with decoding_in_words(name):
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        return image.convert("RGB")


def check_pixels(image: Image.Image, name: str) -> None:
    """Raise InputError for an image without pixels, or with pixels of more than 8 bits that are not grey of 16."""
    if min(image.size) == 0:
        raise InputError(f"empty picture {name}: it has {image.width} x {image.height} pixels; replace it or remove it")
    if image.mode not in _EIGHT_BIT_MODES and not image.mode.startswith("I;16"):
        kind = _MODE_WORDS.get(image.mode, f"of the kind {image.mode}")
        raise InputError(f"cannot use picture {name}: its pixels are {kind}; save it as 8-bit RGB or 8- or 16-bit grey")


@contextmanager
def decoding_in_words(name: str) -> Iterator[None]:
    """Convert what Pillow raises on a bad file into a one-line InputError."""
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"not a picture: {name} is damaged or of another kind; give a PNG, JPEG, BMP, TIFF, WebP or GIF file"
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
