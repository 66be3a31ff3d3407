"""The region of interest: which pixels of a picture count. The others are never looked at."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from promptad.data.images import IMAGE_SUFFIXES, decoding_in_words, open_upright
from promptad.errors import InputError
from promptad.structures import Frame

PixelBox = tuple[int, int, int, int]  # left, top, right, bottom; the last two are exclusive
Place: TypeAlias = str | Path | Sequence[int]  # a box, or the file of a mask
COUNTS = 128  # grey level of a mask from which a pixel counts


@dataclass(frozen=True, eq=False)
class RegionOfInterest:
    """The pixels of a picture that count."""

    mask: np.ndarray  # [H, W] bool; some count

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures that it is of."""
        return self.mask.shape[1], self.mask.shape[0]

    @cached_property
    def box(self) -> PixelBox:
        """The smallest box that holds all that counts."""
        (left, right), (top, bottom) = (np.flatnonzero(self.mask.any(axis))[[0, -1]].tolist() for axis in (0, 1))
        return left, top, right + 1, bottom + 1

    @property
    def frame(self) -> Frame:
        """That box, as shares of a picture's sides."""
        (width, height), (left, top, right, bottom) = self.size, self.box
        return Frame(left / width, top / height, right / width, bottom / height)

    @cached_property
    def boxed(self) -> np.ndarray:
        """The mask in that box."""
        left, top, right, bottom = self.box
        return self.mask[top:bottom, left:right]

    def seen(self, picture: Image.Image, name: str) -> Image.Image:
        """Return what is looked at of a picture: the box, in which all else has the mean colour of what counts.

        Raises:
            InputError: the picture has another size than the mask.
        """
        self.check_size(picture.size, name)
        cut = picture.crop(self.box)
        return cut if self.boxed.all() else _painted(cut, self.boxed)

    def painted(self, picture: Image.Image, name: str) -> Image.Image:
        """Return a whole picture, in which all else has the mean colour of what counts.

        Raises:
            InputError: as of `seen`.
        """
        self.check_size(picture.size, name)
        return picture if self.mask.all() else _painted(picture, self.mask)

    def at(self, frame: Frame, shape: Sequence[int]) -> np.ndarray:
        """Return the part of the mask in a frame, at the height and width of a map [H, W] bool."""
        left, top, right, bottom = frame.on(*self.size)
        part = Image.fromarray(self.mask).resize(
            (shape[1], shape[0]), Image.Resampling.NEAREST, (left, top, right, bottom)
        )
        return np.array(part, bool)

    def check_size(self, size: tuple[int, int], name: str) -> None:
        """Check that a picture has the mask's size.

        Raises:
            InputError: it has another one.
        """
        if size != self.size:
            raise InputError(
                f"{name} has {size[0]} x {size[1]} pixels, and the region is of pictures of {self.size[0]} x"
                f" {self.size[1]}: give pictures of that size, or a region of theirs"
            )

    def to_text(self) -> str:
        """Return the mask as text, for settings."""
        written = BytesIO()
        Image.fromarray(self.mask).save(written, "PNG", optimize=True)
        return base64.b64encode(written.getvalue()).decode()

    @classmethod
    def from_text(cls, text: str) -> "RegionOfInterest":
        """Read the mask of settings.

        Raises:
            InputError: it is none.
        """
        return _from_text(text)

    @property
    def words(self) -> str:
        """What it is, in words."""
        width, height = self.size
        return f"{100 * self.mask.mean():.3g} % of {width} x {height} pixels"


@lru_cache(maxsize=64)
def _from_text(text: str) -> RegionOfInterest:
    try:
        with Image.open(BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
            mask = np.array(image.convert("1"), bool)
    except (binascii.Error, OSError, SyntaxError, ValueError) as error:
        raise InputError("`region` in the settings is no mask: train the class again") from error
    if not mask.any():
        raise InputError("`region` in the settings counts no pixel: train the class again")
    return RegionOfInterest(mask)


def make_region(
    counted: Sequence[str | Path], ignored: Sequence[str | Path], size: tuple[int, int]
) -> RegionOfInterest:
    """Return the region of pictures of a size: all that is counted, or everything, without what is ignored.

    Args:
        counted: boxes "x0,y0,x1,y1" in pixels, and files of masks, which are white where pixels count.
        ignored: the same of what does not count.
        size: width and height of the pictures.

    Raises:
        InputError: a box or mask cannot be read, does not fit the size, or nothing is left that counts.
    """
    shape = size[1], size[0]
    mask = np.zeros(shape, bool) if counted else np.ones(shape, bool)
    for place in counted:
        mask |= _mask_of(place, size, "region")
    for place in ignored:
        mask &= ~_mask_of(place, size, "ignore")
    if not mask.any():
        raise InputError(f"`ignore` {', '.join(map(str, ignored))}: nothing is left of the picture; ignore less")
    return RegionOfInterest(mask)


def as_places(places: "Place | Sequence[Place] | None") -> tuple[str | Path, ...]:
    """Return one place or several, boxes of four numbers or files, as `make_region` takes them.

    >>> as_places((0, 10, 200, 300)), as_places(["mask.png", [0, 0, 9, 9]]), as_places(None)
    (('0,10,200,300',), ('mask.png', '0,0,9,9'), ())
    """
    if places is None:
        return ()
    if isinstance(places, str | Path):
        return (places,)
    boxes = [one for one in places if not isinstance(one, int)]
    several: Sequence[Place] = boxes or [[one for one in places if isinstance(one, int)]]
    return tuple(one if isinstance(one, str | Path) else ",".join(map(str, one)) for one in several)


def masks_folder(counted: Sequence[str | Path], ignored: Sequence[str | Path] = ()) -> Path | None:
    """Return the folder of masks, one for each picture, if that is what is asked for.

    Raises:
        InputError: something else is asked for beside it.
    """
    folders = [Path(place) for place in counted if Path(place).is_dir()]
    if not folders:
        return None
    if len(counted) + len(ignored) > 1:
        raise InputError(f"`region` {folders[0]} holds a mask for each picture: give nothing beside it")
    return folders[0]


def read_own_region(folder: Path, picture: Path) -> RegionOfInterest:
    """Return the region of one picture: the mask in a folder that has its name.

    Raises:
        InputError: there is none, it cannot be read or is all black.
    """
    found = [file for file in folder.glob(f"{_escaped(picture.stem)}.*") if file.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise InputError(
            f"no region of {picture} in {folder}: put a mask {picture.stem}.png there, white where it counts"
        )
    return RegionOfInterest(read_region_mask(min(found), "region"))


def read_region_mask(path: Path, setting: str) -> np.ndarray:
    """Read a mask [H, W] bool: white, or lighter than middle grey, counts.

    Raises:
        InputError: it cannot be read, or is all black.
    """
    if not path.exists():
        raise InputError(f"`{setting}` {path}: there is no such file; give a mask, or left,top,right,bottom in pixels")
    mask = open_upright(path)
    with decoding_in_words(str(path)):
        grey = np.asarray(mask.convert("L"))
    if (lightest := int(grey.max())) < COUNTS:
        dark = "all black" if lightest == 0 else f"nowhere lighter than middle grey (at most {lightest} of 255)"
        raise InputError(f"`{setting}` {path} is {dark}: paint white what it is to hold")
    counts: np.ndarray = grey >= COUNTS
    return counts


def _mask_of(place: str | Path, size: tuple[int, int], setting: str) -> np.ndarray:
    """Return a box or the file of a mask as a mask [H, W] bool."""
    match _numbers(str(place)):
        case None:
            return _mask_of_file(Path(place), size, setting)
        case left, top, right, bottom if 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]:
            mask = np.zeros((size[1], size[0]), bool)
            mask[top:bottom, left:right] = True
            return mask
    raise InputError(
        f"`{setting}` {place}: give left,top,right,bottom in pixels, within pictures of {size[0]} x {size[1]}"
    )


def _mask_of_file(place: Path, size: tuple[int, int], setting: str) -> np.ndarray:
    """Return the mask [H, W] bool of a file, which is of a size."""
    mask = read_region_mask(place, setting)
    if mask.shape != (size[1], size[0]):
        raise InputError(
            f"`{setting}` {place} has {mask.shape[1]} x {mask.shape[0]} pixels, and the pictures {size[0]} x"
            f" {size[1]}: export the mask at their size"
        )
    return mask


def _numbers(text: str) -> tuple[int, ...] | None:
    """Return the numbers of what is to be a box; None if the text names a file.

    >>> _numbers("0,10,200,300"), _numbers("mask.png")
    ((0, 10, 200, 300), None)
    """
    try:
        return tuple(map(int, text.split(",")))
    except ValueError:
        return None


def _painted(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    pixels = np.array(picture)
    pixels[~mask] = np.rint(pixels[mask].mean(0)).astype(np.uint8)
    return Image.fromarray(pixels)


def _escaped(name: str) -> str:
    """Return a name in which a pattern's signs stand for themselves."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
