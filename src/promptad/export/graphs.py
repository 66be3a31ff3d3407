"""A detector as three modules that can be traced: how pixels are prepared, the image encoder, and the head."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptad.backbones.clip import Backbone
from promptad.backbones.image_encoder import BlockEncoder
from promptad.backbones.timm_vit import TimmViT
from promptad.errors import InputError
from promptad.features import ImageFeatures
from promptad.models.base import AnomalyDetector


class Preparation(nn.Module):
    """From RGB squares [N, S, S, 3] uint8 to normalised pixels [N, 3, S, S]."""

    mean: Tensor  # [3, 1, 1]
    std: Tensor  # [3, 1, 1]

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.register_buffer("mean", backbone.mean)
        self.register_buffer("std", backbone.std)

    def forward(self, images: Tensor) -> Tensor:
        """Return the pixels of images."""
        return (images.permute(0, 3, 1, 2) / 255 - self.mean) / self.std


class Encoder(nn.Module):
    """From normalised pixels [N, 3, S, S] to class tokens [N, D], patch tokens [N, P, D] and layers [N, P, width]."""

    def __init__(self, encoder: BlockEncoder, layers: bool) -> None:
        super().__init__()
        self.visual = encoder.visual  # whose weights the graph holds
        self.encoder, self.layers = encoder, layers

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the features of pixels; layers only if they are asked for."""
        features = self.encoder.run_blocks(self.encoder.embed(pixels), self.layers)
        return features.class_token, features.patch_tokens, *features.layers


class Memory(nn.Module):
    """From RGB squares [N, M, M, 3] uint8 to the second encoder's features, [N, patch, width] of each layer."""

    mean: Tensor  # [3, 1, 1]
    std: Tensor  # [3, 1, 1]

    def __init__(self, encoder: TimmViT) -> None:
        super().__init__()
        self.model = encoder.model  # whose weights the graph holds
        self.register_buffer("mean", encoder.mean)
        self.register_buffer("std", encoder.std)
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images."""
        return self.encoder.features((images.permute(0, 3, 1, 2) / 255 - self.mean) / self.std)


class Head(nn.Module):
    """From features to a detector's outputs, in the order of their names."""

    def __init__(self, detector: AnomalyDetector) -> None:
        super().__init__()
        self.head = detector.head  # whose numbers the graph holds
        self.detector = detector

    def forward(self, class_token: Tensor, patch_tokens: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for class tokens [N, D], patch tokens [N, P, D] and layers [N, P, width]."""
        return tuple(self.detector.outputs(ImageFeatures(class_token, patch_tokens, layers)).values())


def image_encoder_of(backbone: Backbone) -> BlockEncoder:
    """Return a backbone's image encoder, of the kind that can be traced.

    Raises:
        InputError: it is of another kind.
    """
    if not isinstance(encoder := backbone.image_encoder, BlockEncoder):
        raise InputError(f"the backbone {backbone.settings.name} cannot be exported: its image encoder is no ViT")
    return encoder


def memory_encoder_of(backbone: Backbone) -> TimmViT:
    """Return a backbone's second encoder, of the kind that can be traced.

    Raises:
        InputError: it is of another kind.
    """
    if not isinstance(memory := backbone.memory, TimmViT):
        name = backbone.settings.memory_backbone
        raise InputError(f"the memory backbone {name} cannot be exported: it is no plain ViT")
    return memory


def layer_names(layers: int) -> tuple[str, ...]:
    """Return the names of the outputs that a memory bank is made of.

    >>> layer_names(2)
    ('layer_1', 'layer_2')
    """
    return tuple(f"layer_{number}" for number in range(1, layers + 1))


def feature_names(layers: int) -> tuple[str, ...]:
    """Return the names of an encoder's outputs, which are a head's inputs.

    >>> feature_names(2)
    ('class_token', 'patch_tokens', 'layer_1', 'layer_2')
    """
    return ("class_token", "patch_tokens", *layer_names(layers))


@torch.inference_mode()
def sample_features(backbone: Backbone, layers: int, count: int = 2) -> tuple[Tensor, ...]:
    """Return features of the shapes that a head takes, for `count` images: tracing needs an example.

    Raises:
        InputError: the backbone cannot be exported.
    """
    encoder, device = image_encoder_of(backbone), backbone.device
    banked = encoder.patches if backbone.memory is None else memory_encoder_of(backbone).side ** 2
    layer = banked, backbone.banked.width
    shapes = ((encoder.dimensions,), (encoder.patches, encoder.dimensions), *[layer] * layers)
    # Each is a tensor of its own: what is given twice would be traced as one.
    return tuple(F.normalize(torch.ones(count, *shape, device=device), dim=-1) for shape in shapes)
