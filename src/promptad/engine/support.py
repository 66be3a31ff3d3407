"""Encode the support images, as augmented views."""

from collections.abc import Sequence
from dataclasses import replace

from promptad.backbones.clip import Backbone
from promptad.data.images import ImageLike, find_bit_depth, read_image
from promptad.data.transforms import make_views, square_image
from promptad.features import ImageFeatures
from promptad.models.base import BATCH_SIZE
from promptad.settings import Settings


def with_bit_depth(settings: Settings, images: Sequence[ImageLike]) -> Settings:
    """Return settings with the bit depth of the support images, unless they say one."""
    return settings if settings.bit_depth is not None else replace(settings, bit_depth=find_bit_depth(images))


def encode_support(
    backbone: Backbone, images: Sequence[ImageLike], settings: Settings, batch_size: int = BATCH_SIZE
) -> ImageFeatures:
    """Encode the views of the support images: features of k * views images, grouped by support image."""
    views = []
    for image in images:
        square = square_image(read_image(image, settings.bit_depth), backbone.resize, backbone.resize)
        views += make_views(square, settings.support_views, settings.training.seed)
    return backbone.encode_images(views, batch_size, layers=settings.needs_layers)
