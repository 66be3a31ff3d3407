"""Encode the support images: augmented views, and disturbed ones."""

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
from promptad.data.transforms import central_part, make_far_views, make_views, square_image
from promptad.features import DisturbedFeatures, SupportFeatures
from promptad.models.base import BATCH_SIZE
from promptad.settings import Settings

LEAST_DISTURBED = 16  # views, so that a mean over them says something


def with_bit_depth(settings: Settings, images: Sequence[ImageLike]) -> Settings:
    """Return settings with the bit depth of the support images, unless they say one."""
    return settings if settings.bit_depth is not None else replace(settings, bit_depth=find_bit_depth(images))


def encode_support(
    backbone: Backbone, images: Sequence[ImageLike], settings: Settings, batch_size: int = BATCH_SIZE
) -> SupportFeatures:
    """Encode the views of the support images, and far and disturbed ones if the settings need them."""
    views = []
    for image in images:
        square = square_image(read_image(image, settings.bit_depth), backbone.resize, backbone.resize)
        views += make_views(square, settings.support_views, settings.training.seed)
    features = backbone.encode_images(views, batch_size, layers=settings.needs_layers)
    far_views = disturbed = None
    if settings.needs_far_views:
        far_views = backbone.encode_images(make_far_views(views, settings.training.seed), batch_size, layers=True)
    if settings.needs_disturbed:
        disturbed = _encode_disturbed(backbone, views, settings, batch_size)
    return SupportFeatures(features, far_views, disturbed)


def _encode_disturbed(
    backbone: Backbone, views: Sequence[Image.Image], settings: Settings, batch_size: int
) -> DisturbedFeatures:
    """Encode every view with a disturbance, or several times each with another where there are few."""
    count = len(views) * math.ceil(LEAST_DISTURBED / len(views))
    images, masks = disturb_views(views, count, settings.training.seed)
    features = backbone.encode_images(images, batch_size, layers=True)
    side = math.isqrt(features.patch_tokens.shape[1])
    seen = [central_part(mask, backbone.image_encoder.image_size) for mask in masks]
    shares = np.stack([cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA) for mask in seen])
    return DisturbedFeatures(features, torch.from_numpy(shares).flatten(1).to(backbone.device))
