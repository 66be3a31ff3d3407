"""Encode the support images: augmented views, far ones, disturbed ones, and probes."""

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from PIL import Image

from promptad.backbones.clip import Backbone
from promptad.data.disturbances import disturb_views
from promptad.data.images import ImageLike, find_bit_depth, read_image
from promptad.data.squares import central_part, square_image
from promptad.data.transforms import make_far_views, make_views
from promptad.features import DisturbedFeatures, SupportFeatures
from promptad.settings import BATCH_SIZE, Settings

LEAST_DISTURBED = 16  # views to learn from, and as many probes: a mean over them says something


def with_bit_depth(settings: Settings, images: Sequence[ImageLike]) -> Settings:
    """Return settings with the bit depth of the support images, unless they say one."""
    return settings if settings.bit_depth is not None else replace(settings, bit_depth=find_bit_depth(images))


def encode_support(
    backbone: Backbone, images: Sequence[ImageLike], settings: Settings, batch_size: int = BATCH_SIZE
) -> SupportFeatures:
    """Encode the views of the support images, and far and disturbed ones and probes if the settings need them."""
    views, training = support_views(backbone, images, settings, settings.support_views), settings.training
    features = backbone.encode_images(views, batch_size, layers=settings.needs_layers)
    far_views = disturbed = probes = None
    seed, repeats = training.seed, math.ceil(LEAST_DISTURBED / len(views))
    if settings.needs_far_views:
        layers = settings.needs_layers
        far_views = backbone.encode_images(make_far_views(views, seed), batch_size, layers=layers)
    if settings.needs_disturbed:
        disturbed = _encode_disturbed(backbone, views, range(repeats), seed, batch_size, layers=False)
    if settings.needs_probes:
        probes = _encode_disturbed(backbone, views, range(repeats, 2 * repeats), seed, batch_size, layers=True)
    return SupportFeatures(features, far_views, disturbed, probes, settings.scoring.far_views, len(images) == 1)


def support_views(backbone: Backbone, images: Sequence[ImageLike], settings: Settings, count: int) -> list[Image.Image]:
    """Return `count` views of each support image, as squares of the size that the backbone resizes to."""
    views, training = [], settings.training
    for image in images:
        square = square_image(read_image(image, settings.bit_depth), backbone.resize, backbone.resize)
        views += make_views(square, count, training.seed, training.turn, training.least_crop)
    return views


def _encode_disturbed(
    backbone: Backbone, views: Sequence[Image.Image], repeats: range, seed: int, batch_size: int, *, layers: bool
) -> DisturbedFeatures:
    """Encode every view with a disturbance, once for each of the repeats, which have others."""
    images, masks = disturb_views(views, repeats, seed)
    features = backbone.encode_images(images, batch_size, layers=layers)
    side = math.isqrt(features.patch_tokens.shape[1])
    seen = [central_part(mask, backbone.image_encoder.image_size) for mask in masks]
    shares = np.stack([cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA) for mask in seen])
    return DisturbedFeatures(features, torch.from_numpy(shares).flatten(1).to(backbone.device))
