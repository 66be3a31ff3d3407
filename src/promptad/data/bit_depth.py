"""Bit depth: how many bits the pixels of 16-bit images fill, and how they become 8 bits.

Cameras of 10, 12 or 14 bits write 16-bit files, and no header tells which: white is 1023, 4095, 16383 or 65535.
"""

import numpy as np
from PIL import Image

from promptad.errors import InputError
from promptad.settings import MAX_BIT_DEPTH

BIT_DEPTHS = (8, 10, 12, 14, 16)  # of cameras
_COLOUR_MODES = frozenset({"LA", "RGB", "RGBA"})
_MIRRORED_TURN = 5  # and above: TIFF orientations that exchange width and height


def needed_bits(highest: int) -> int:
    """Return the least bit depth of a camera that has this value.

    >>> needed_bits(0), needed_bits(1023), needed_bits(1024), needed_bits(65535)
    (8, 10, 12, 16)
    """
    return next(depth for depth in BIT_DEPTHS if highest < 2**depth)


def highest_value(pixels: np.ndarray) -> int:
    """Return the highest value of grey pixels [H, W], or of the colours of [H, W, 3] or, with alpha, [H, W, 4]."""
    return int(pixels.max() if pixels.ndim == 2 else pixels[..., :3].max())


def to_eight_bits(pixels: np.ndarray, bit_depth: int | None, name: str) -> np.ndarray:
    """Return 16-bit pixels, as `highest_value` takes them, as uint8; white becomes 255.

    Args:
        pixels: uint16.
        bit_depth: bits that they fill; None if it is not known, as no image that was learned from had 16 bits: then
            only an image that plainly fills all 16 is converted.
        name: the image's name in errors.

    Raises:
        InputError: the pixels do not fit into the bit depth, or it is needed and not known.
    """
    highest = highest_value(pixels)
    needed = needed_bits(highest)
    if bit_depth is None and needed < MAX_BIT_DEPTH:
        raise InputError(
            f"cannot tell what is white in picture {name}: its 16-bit pixels go up to {highest}, and the pictures that"
            f" were learned from have 8 bits; convert it as those were, or train with `bit_depth` {needed}"
        )
    if bit_depth is not None and highest >= 2**bit_depth:
        raise InputError(
            f"picture {name} is brighter than `bit_depth` {bit_depth} allows: its pixels go up to {highest}, those that"
            f" were learned from to {2**bit_depth - 1}; train again with `bit_depth` {needed}"
        )
    shallow = _scaled(pixels, bit_depth or MAX_BIT_DEPTH)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        alpha = pixels[..., 3]
        shallow[..., 3] = _scaled(alpha, needed_bits(int(alpha.max())))
    return shallow


def deep_pixels(image: Image.Image) -> np.ndarray | None:
    """Return the uint16 pixels of a 16-bit image, grey [H, W] or colours [H, W, 3 or 4]; None for any other image.

    Raises:
        InputError: it is a turned TIFF of 16-bit colours.
        Exception: whatever Pillow raises on a damaged file.
    """
    if image.mode.startswith("I;16") or _is_deep_ppm(image):
        return np.asarray(image).astype(np.uint16)
    return _decoded_colours(image) if _is_deep_colour(image) else None


def _scaled(pixels: np.ndarray, bit_depth: int) -> np.ndarray:
    """Return pixels, of which white is 2 ** bit_depth - 1, as uint8, rounded."""
    white = 2**bit_depth - 1
    scaled: np.ndarray = (np.minimum(pixels, white).astype(np.uint32) * 255 + white // 2) // white
    return scaled.astype(np.uint8)


def _is_deep_ppm(image: Image.Image) -> bool:
    """Whether an image is a grey PGM of more than 8 bits, which Pillow scales to 16 bits but calls 32."""
    return bool(image.mode == "I" and image.format == "PPM")


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether an image, not decoded yet, has colours of 16 bits, of which Pillow would drop the lower 8."""
    if image.mode not in _COLOUR_MODES:
        return False
    arguments = [tile[3] for tile in getattr(image, "tile", [])]
    # A PPM tells its own white, by which Pillow scales well, unless it just says 65535.
    return any(";16" in str(of_tile) or of_tile == ("RGB", 65535) for of_tile in arguments)


def _decoded_colours(image: Image.Image) -> np.ndarray:
    try:
        import cv2  # noqa: PLC0415 the runtime reads all other images without it
    except ImportError as error:
        raise InputError(
            "pictures of 16-bit colours need OpenCV: pip install opencv-python-headless, or save it with 8 bits"
        ) from error
    if image.format == "TIFF" and image.getexif().get(0x0112, 1) >= _MIRRORED_TURN:
        raise InputError("a turned TIFF of 16-bit colours cannot be read: save it upright, or as PNG")
    file = image.fp  # type: ignore[attr-defined]  # of images that are not decoded yet
    file.seek(0)
    content = np.frombuffer(file.read(), np.uint8)
    image.load()  # a damaged file is an error here already, in Pillow's words
    decoded = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise OSError("OpenCV cannot decode it")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGBA if decoded.shape[2] == 4 else cv2.COLOR_BGR2RGB))
