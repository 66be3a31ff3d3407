"""The baseline's scores: text and memory, fused by harmonic means."""

import torch
from torch import Tensor

from promptad.features import ImageFeatures
from promptad.models.anomaly_map import Scores, resize_maps, square_maps


def score_features(features: ImageFeatures, anchors: Tensor, temperature: float, resolution: int) -> Scores:
    """Score N images by their features: half harmonic means of text and memory, or the text alone.

    Memory is used if the features hold `distances` to a memory bank. The maximum of its map of `resolution` pixels a
    side is fused with the class token's text score (Li et al., 2024, section 3.4).
    """
    image = text_score(features.class_token, anchors, temperature)
    patches = text_score(features.patch_tokens, anchors, temperature)
    if features.distances is not None:
        image = half_harmonic_mean(memory_maps(features.distances, resolution).amax((1, 2)), image)
        patches = half_harmonic_mean(patches, features.distances)
    return Scores(image, square_maps(patches))


def text_score(tokens: Tensor, anchors: Tensor, temperature: float) -> Tensor:
    """Return how likely tokens [..., D] belong to the second of two anchors [2, D], the abnormal one: [...]."""
    return torch.softmax(temperature * (tokens @ anchors.T), -1)[..., 1]


def memory_maps(distances: Tensor, resolution: int) -> Tensor:
    """Return patch distances [N, patch] as maps [N, resolution, resolution]."""
    return resize_maps(square_maps(distances), resolution)


def half_harmonic_mean(first: Tensor, second: Tensor) -> Tensor:
    """Return 1 / (1 / first + 1 / second), which is 0 where one of them is 0."""
    return 1 / (1 / first + 1 / second)
