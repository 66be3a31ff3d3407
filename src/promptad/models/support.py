"""Encode the support images: augmented views, far ones, disturbed ones, and probes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from promptad.backbones.clip import Backbone
from promptad.data.disturbances import disturb_views
from promptad.data.images import ImageLike, find_bit_depth, image_size, read_image
from promptad.data.reading import Reading, region_of
from promptad.data.region_of_interest import make_region, masks_folder
from promptad.data.squares import central_part, square_image
from promptad.data.tiles import tiles_for
from promptad.data.transforms import make_far_views, make_views
from promptad.features import DisturbedFeatures, SupportFeatures
from promptad.runtime.look import look_of, mean_look
from promptad.settings import BATCH_SIZE, OWN_REGION, Settings

MOST_LEARNED = 128  # views of tiles that prompts are learned from
LEAST_DISTURBED = 16  # views to learn from, and as many probes: a mean over them says something


def with_bit_depth(settings: Settings, images: Sequence[ImageLike]) -> Settings:
    """Return settings with the bit depth of the support images, unless they say one."""
    return settings if settings.bit_depth is not None else replace(settings, bit_depth=find_bit_depth(images))


def with_region(
    settings: Settings,
    images: Sequence[ImageLike],
    counted: Sequence[str | Path],
    ignored: Sequence[str | Path],
) -> Settings:
    """Return settings with the region that is asked for, of pictures of the size of the first support image.

    Args:
        settings: those without it.
        images: the support images.
        counted: boxes and masks of what counts, as of `make_region`, or a folder of masks, one for each picture.
        ignored: the same of what does not.

    Raises:
        InputError: a box or mask does not fit, or the image cannot be read.
    """
    if not counted and not ignored:
        return settings
    text = OWN_REGION
    if masks_folder(counted, ignored) is None:
        text = make_region(counted, ignored, _size_of(images[0], settings)).to_text()
    return replace(settings, picture=replace(settings.picture, region=text))


def with_tiles(settings: Settings, images: Sequence[ImageLike], side: int) -> Settings:
    """Return settings with the tiles that suit the first support image and a backbone of `side`, unless they say some.

    Raises:
        InputError: the image cannot be read.
    """
    picture = settings.picture
    if picture.tiles is not None:
        return settings
    region = region_of(picture)
    width, height = _size_of(images[0], settings) if region is None else region.boxed.shape[::-1]
    return replace(settings, picture=replace(picture, tiles=tiles_for(width, height, side, picture.overlap)))


def _size_of(image: ImageLike, settings: Settings) -> tuple[int, int]:
    return image_size(Path(image)) if isinstance(image, str | Path) else read_image(image, settings.bit_depth).size


def encode_support(
    backbone: Backbone,
    images: Sequence[ImageLike],
    settings: Settings,
    batch_size: int = BATCH_SIZE,
    masks: Path | None = None,
) -> SupportFeatures:
    """Encode the views of the support images, and far and disturbed ones and probes if the settings need them.

    `masks` is the folder of the images' regions, where each has its own.
    """
    views, training = support_views(backbone, images, settings, settings.support_views, masks), settings.training
    features = backbone.encode_images(views, batch_size, layers=settings.needs_layers)
    far_views = disturbed = probes = None
    step = 1 if settings.tile_count == 1 else math.ceil(len(views) / MOST_LEARNED) | 1  # odd: views of all kinds
    learned = views[::step]
    seed, repeats = training.seed, math.ceil(LEAST_DISTURBED / len(learned))
    if settings.needs_far_views:
        layers = settings.needs_layers
        far_views = backbone.encode_images(make_far_views(views, seed), batch_size, layers=layers)
    if settings.needs_disturbed:
        disturbed = _encode_disturbed(backbone, learned, range(repeats), seed, batch_size, layers=False)
    if settings.needs_probes:
        probes = _encode_disturbed(backbone, learned, range(repeats, 2 * repeats), seed, batch_size, layers=True)
    of_tiles, tiles = [look_of(image) for image in views[:: settings.support_views]], settings.tile_count
    looks = tuple(mean_look(of_tiles[start : start + tiles]) for start in range(0, len(of_tiles), tiles))
    banked, only = settings.scoring.far_views, len(images) == 1
    return SupportFeatures(features, far_views, disturbed, probes, banked, only, looks, tiles, step)


def support_views(
    backbone: Backbone,
    images: Sequence[ImageLike],
    settings: Settings,
    count: int,
    masks: Path | None = None,
) -> list[Image.Image]:
    """Return `count` views of each window of each support image, as squares of the size that the backbone resizes to.

    They are those of the first window of the first image, then those of its second one …
    """
    views, training, reading = [], settings.training, Reading.of(settings, masks)
    for image in images:
        for window in reading.windows(image):
            square = square_image(window, backbone.resize, backbone.resize)
            views += make_views(square, count, training.seed, training.turn, training.least_crop)
    return views


def _encode_disturbed(
    backbone: Backbone, views: Sequence[Image.Image], repeats: range, seed: int, batch_size: int, *, layers: bool
) -> DisturbedFeatures:
    """Encode every view with a disturbance, once for each of the repeats, which have others."""
    images, masks = disturb_views(views, repeats, seed)
    features = backbone.encode_images(images, batch_size, layers=layers)
    side = math.isqrt(features.patch_tokens.shape[1])
    size = backbone.image_encoder.image_size
    seen = [central_part(mask, size, size) for mask in masks]
    shares = np.stack([cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA) for mask in seen])
    return DisturbedFeatures(features, torch.from_numpy(shares).flatten(1).to(backbone.device))
