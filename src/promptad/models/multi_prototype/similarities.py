"""Cosine similarities of tokens to prototypes, and the margin of the abnormal ones over the best normal one."""

import math

import torch
from torch import Tensor

from promptad.models.multi_prototype.assignment import centred_per_image
from promptad.models.multi_prototype.prototypes import Prototypes

SMOOTHNESS = 10.0  # of the best normal similarity: cosines that differ by far less than 1 / 10 are averaged


def normal_similarities(tokens: Tensor, prototypes: Prototypes) -> Tensor:
    """Return the cosines [..., K] of class tokens [N, D] or patch tokens [N, patch, D] to the normal prototypes.

    Those of patches are centred per image.
    """
    similarities = tokens @ prototypes.normal.T
    return centred_per_image(similarities) if similarities.ndim == 3 else similarities


def margins(tokens: Tensor, prototypes: Prototypes, bias: Tensor) -> Tensor:
    """Return how far each abnormal similarity exceeds the best normal one: [..., M] cosines, of tokens as above.

    `bias` [K] is subtracted from the normal similarities. The best is a smooth maximum, the logarithm of the mean
    exponential: normal prototypes that are equally similar are averaged, where a plain maximum would add their noise,
    and one that is much more similar counts alone.
    """
    return margins_of(normal_similarities(tokens, prototypes), tokens @ prototypes.abnormal.T, bias)


def margins_of(normal: Tensor, abnormal: Tensor, bias: Tensor) -> Tensor:
    """Return the margins [..., M] of similarities to normal [..., K] and abnormal prototypes [..., M]."""
    scaled = SMOOTHNESS * (normal - bias)
    best_normal = (torch.logsumexp(scaled, -1, keepdim=True) - math.log(normal.shape[-1])) / SMOOTHNESS
    return abnormal - best_normal
