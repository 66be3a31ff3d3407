"""Balanced assignment of patches to normal prototypes, by optimal transport."""

import torch
from torch import Tensor

SHARPNESS = 20  # of an assignment: large enough that a patch belongs to one prototype
RELAXATION = 1.8  # of a step; below 2 it converges locally, about twice as fast as 1 (Thibault et al., 2021)
MAX_ROUNDS = 200
TOLERANCE = 0.01  # relative error of a share at which the iteration ends


@torch.no_grad()
def balancing_bias(similarities: Tensor, start: Tensor | None = None) -> Tensor:
    """Return the bias [K] that gives every normal prototype its equal share of the patches.

    With it subtracted from the similarities [patch, K], the soft assignment of `balanced_assignment` gives each
    prototype 1/K of the patches. It holds the dual potentials of entropic optimal transport between the patches and K
    equal masses, found by Sinkhorn's iteration (Cuturi, 2013; used to balance labels by Asano et al., 2020), and sums
    to 0. From a `start` [K] close to it, such as the bias of the previous epoch, a few rounds are enough.
    """
    count = similarities.shape[1]
    softness = similarity_std(similarities) / SHARPNESS
    bias = torch.zeros(count, device=similarities.device) if start is None else start
    for _ in range(MAX_ROUNDS):
        shares = torch.softmax((similarities - bias) / softness, 1).mean(0)
        if (shares * count - 1).abs().max() < TOLERANCE:
            break
        bias = bias + RELAXATION * softness * torch.log(shares.clamp_min(1e-12) * count)
    return bias - bias.mean()


def centred_per_image(similarities: Tensor) -> Tensor:
    """Return similarities [..., patch, K] of images without each image's mean preference among the K prototypes.

    Light and focus shift all patches of an image alike and differ between images: usage that is balanced on the support
    images would not be on new ones. What is left distinguishes places within an image; each image's mean over its
    patches and prototypes is kept.
    """
    preferences = similarities - similarities.mean(-1, keepdim=True)
    return similarities - preferences.mean(-2, keepdim=True)


def balanced_assignment(similarities: Tensor, bias: Tensor, std: Tensor) -> Tensor:
    """Return the share [token, K] of each prototype in each token; rows sum to 1.

    With the bias and the `similarity_std` of these similarities, columns sum to tokens / K, within `TOLERANCE` unless
    `MAX_ROUNDS` were too few.
    """
    return torch.softmax((similarities - bias) * (SHARPNESS / std), 1)


def similarity_std(similarities: Tensor) -> Tensor:
    """Return the std [] of similarities [patch, K] around each patch's own mean: how far apart prototypes are."""
    return (similarities - similarities.mean(1, keepdim=True)).std(correction=0).detach().clamp_min(1e-6)
