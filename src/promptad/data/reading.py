"""How a picture is read: its deep pixels, the region that counts, and the tiles that it is cut into."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from promptad.data.corruptions import Corruption
from promptad.data.fingerprints import image_sha256
from promptad.data.images import ImageLike, image_size, read_image
from promptad.data.region_of_interest import PixelBox, RegionOfInterest, read_own_region
from promptad.data.tiles import Tiles
from promptad.errors import InputError
from promptad.settings import OWN_REGION, PictureSettings, Settings
from promptad.structures import WHOLE


@dataclass(frozen=True)
class Reading:
    """How pictures become the windows, one or several, that a backbone looks at."""

    bit_depth: int | None = None  # bits that the pixels of 16-bit images fill
    picture: PictureSettings = field(default_factory=PictureSettings)
    masks: Path | None = None  # folder of the regions, where each picture has its own
    corruption: Corruption | None = None  # what disturbs each picture, before its region is looked at

    @classmethod
    def of(cls, settings: Settings, masks: Path | None = None) -> "Reading":
        """Return how pictures are read with some settings."""
        return cls(settings.bit_depth, settings.picture, masks)

    @property
    def tiles(self) -> Tiles:
        """The tiles."""
        return tiles_of(self.picture)

    @cached_property
    def region(self) -> RegionOfInterest | None:
        """The region of all pictures, if there is one."""
        return region_of(self.picture)

    def windows(self, image: ImageLike) -> list[Image.Image]:
        """Read an image, and return the windows of it that are looked at, as many for every image.

        Raises:
            InputError: it cannot be read, or does not fit its region.
        """
        picture = read_image(image, self.bit_depth)
        if self.corruption is not None:
            picture = self.corruption.applied(picture, image_sha256(image, self.bit_depth))
        return self.windows_of(picture, image, self.region_of(image))

    def windows_of(self, picture: Image.Image, image: ImageLike, region: RegionOfInterest | None) -> list[Image.Image]:
        """Return the windows of a picture that was read from an image, and whose region is known."""
        if region is not None:
            counted = region.painted if self.picture.region == OWN_REGION else region.seen
            picture = counted(picture, _name_of(image))
        if self.tiles.count == 1:
            return [picture]
        return [picture.crop(box) for box in self.tiles.boxes(*picture.size)]

    def region_of(self, image: ImageLike) -> RegionOfInterest | None:
        """Return the region of one image: that of all, its own, or None.

        Raises:
            InputError: each has its own, and that of this one is not known.
        """
        if self.picture.region != OWN_REGION:
            return self.region
        if self.masks is None:
            raise InputError("it learned from pictures with a region each: give their folder by `region`")
        if not isinstance(image, str | Path):
            raise InputError("each picture has its own region, found by its file's name: give paths of pictures")
        return read_own_region(self.masks, Path(image))

    def mask_box(self, image: Path) -> PixelBox | None:
        """Return the box of a picture's true mask that shows what is looked at of the picture; None is all.

        Where what is shown moves, the box moves the other way, and may reach beyond the mask.
        """
        box = None if self.region is None else self.region.box
        if self.corruption is None or not self.corruption.moves:
            return box
        size = image_size(image)
        across, down = self.corruption.offset(size, image_sha256(image, self.bit_depth))
        left, top, right, bottom = box or (0, 0, *size)
        return left - across, top - down, right - across, bottom - down

    def counted(self, maps: np.ndarray, images: Sequence[ImageLike]) -> np.ndarray:
        """Return maps [N, H, W] of images that are 0 where the images' own regions do not count."""
        if self.picture.region != OWN_REGION:
            return maps
        regions = [self.region_of(image) for image in images]
        counted: np.ndarray = maps * np.stack([own.at(WHOLE, maps.shape[1:]) for own in regions if own is not None])
        return counted

    def key(self, image: ImageLike) -> tuple[object, ...]:
        """Return what tells this image, read in this way, from all others."""
        digest = image_sha256(image, self.bit_depth)
        disturbed = () if self.corruption is None else self.corruption.key
        if self.picture == PictureSettings():
            return digest, self.bit_depth, *disturbed
        text = self.picture.region
        if text == OWN_REGION and (own := self.region_of(image)) is not None:
            text = own.to_text()
        return digest, self.bit_depth, hashlib.sha256(text.encode()).hexdigest(), self.tiles, *disturbed


def tiles_of(picture: PictureSettings) -> Tiles:
    """Return the tiles of settings, in which they are decided."""
    assert picture.tiles is not None, "the tiles are decided by the support images first"
    rows, columns = picture.tiles
    return Tiles(rows, columns, picture.overlap) if rows * columns > 1 else Tiles()


def region_of(picture: PictureSettings) -> RegionOfInterest | None:
    """Return the region of all pictures, if settings have one."""
    return None if picture.region in ("", OWN_REGION) else RegionOfInterest.from_text(picture.region)


def _name_of(image: ImageLike) -> str:
    return str(image) if isinstance(image, str | Path) else "the picture"
