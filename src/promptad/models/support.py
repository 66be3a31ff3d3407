"""Encode the support images: augmented views, far ones, disturbed ones, and probes."""

import math
from collections.abc import Iterator, Sequence
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
from promptad.features import DisturbedFeatures, ImageFeatures, SupportFeatures
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
    features = _encode_views(backbone, views, images, settings, batch_size, masks)
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
    canvases = views[:: settings.support_views] if backbone.memory is None else _windows(images, settings, masks)
    squares = (square_image(image, backbone.resize, backbone.resize) for image in canvases)
    of_tiles, tiles = [look_of(square) for square in squares], settings.tile_count
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
    """Return `count` views of each window of each support image, as squares of the size of the backbone's canvas.

    They are those of the first window of the first image, then those of its second one …
    """
    views, training = [], settings.training
    for window in _windows(images, settings, masks):
        square = square_image(window, backbone.canvas, backbone.canvas)
        views += make_views(square, count, training.seed, training.turn, training.least_crop)
    return views


def _windows(images: Sequence[ImageLike], settings: Settings, masks: Path | None) -> Iterator[Image.Image]:
    """Yield the windows of the support images, those of the first one first."""
    reading = Reading.of(settings, masks)
    for image in images:
        yield from reading.windows(image)


def _encode_views(
    backbone: Backbone,
    views: Sequence[Image.Image],
    images: Sequence[ImageLike],
    settings: Settings,
    batch_size: int,
    masks: Path | None,
) -> ImageFeatures:
    """Encode the views of each window of the support images.

    Two encoders see the first of them, the window itself, as they see that of a new picture: each resizes it from its
    original size, not from that of the views.
    """
    layers, count = settings.needs_layers, settings.support_views
    if backbone.memory is None:
        return backbone.encode_images(views, batch_size, layers=layers)
    others = [view for number, view in enumerate(views) if number % count]
    firsts = backbone.encode_images(images, batch_size, Reading.of(settings, masks), layers=layers)
    rest = backbone.encode_images(others, batch_size, layers=layers)
    windows = torch.arange(len(firsts.class_token), device=backbone.device)[:, None]
    places = torch.arange(count - 1, device=backbone.device) + len(windows) + windows * (count - 1)  # [window, other]
    return ImageFeatures.joined([firsts, rest]).rows(torch.cat([windows, places], 1).flatten())


def _encode_disturbed(
    backbone: Backbone, views: Sequence[Image.Image], repeats: range, seed: int, batch_size: int, *, layers: bool
) -> DisturbedFeatures:
    """Encode every view with a disturbance, once for each of the repeats, which have others."""
    images, masks = disturb_views(views, repeats, seed)
    features = backbone.encode_images(images, batch_size, layers=layers)
    side = math.isqrt(features.patch_tokens.shape[1])
    size = round(backbone.canvas * backbone.image_encoder.image_size / backbone.resize)  # of the view, what is seen
    seen = [central_part(mask, size, size) for mask in masks]
    shares = np.stack([cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA) for mask in seen])
    return DisturbedFeatures(features, torch.from_numpy(shares).flatten(1).to(backbone.device))
