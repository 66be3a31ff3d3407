"""Balanced assignment of patches to normal prototypes."""

import torch
from torch import Tensor

SHARPNESS = 20  # of an assignment: large enough that a patch belongs to one prototype
RELAXATION = 1.8  # of a step; below 2 it converges locally, about twice as fast as 1 (Thibault et al., 2021)
ROUNDS = 200
TOLERANCE = 0.01  # relative error of a share at which the iteration ends


@torch.no_grad()
def balanced_offsets(responses: Tensor, start: Tensor | None = None) -> Tensor:
    """Return offsets [K] that give every normal prototype its equal share of the patches.

    With them taken from the responses [patch, K], the soft assignment of `balanced_assignment` gives each prototype
    1/K of the patches: they are the dual potentials of entropic optimal transport between the patches and K equal
    masses, found by Sinkhorn's iteration (Cuturi, 2013; Asano et al., 2020, balance labels so). They sum to 0. From
    a `start` [K] near them, such as those of an epoch ago, a few rounds do.
    """
    count = responses.shape[1]
    softness = spread(responses) / SHARPNESS
    offsets = torch.zeros(count, device=responses.device) if start is None else start
    for _ in range(ROUNDS):
        shares = torch.softmax((responses - offsets) / softness, 1).mean(0)
        if (shares * count - 1).abs().max() < TOLERANCE:
            break
        offsets = offsets + RELAXATION * softness * torch.log(shares.clamp_min(1e-12) * count)
    return offsets - offsets.mean()


def levelled(responses: Tensor) -> Tensor:
    """Return responses [..., patch, K] of pictures without what each whole picture prefers among the K prototypes.

    Light and focus move all patches of a picture alike, and the next picture has others: usage that was balanced on
    known pictures would tip over on new ones. What is left tells places apart, and its mean is the picture's own.
    """
    preferences = responses - responses.mean(-1, keepdim=True)
    return responses - preferences.mean(-2, keepdim=True)


def balanced_assignment(responses: Tensor, offsets: Tensor, scale: Tensor) -> Tensor:
    """Return the share [token, K] of each prototype in each token; rows sum to 1.

    With the offsets and the spread (`scale`) of these responses, columns sum to tokens / K, within `TOLERANCE`
    unless `ROUNDS` were too few.
    """
    return torch.softmax((responses - offsets) * (SHARPNESS / scale), 1)


def spread(responses: Tensor) -> Tensor:
    """Return how far apart prototypes respond: the deviation of responses [patch, K] around each patch's own mean."""
    return (responses - responses.mean(1, keepdim=True)).std(correction=0).detach().clamp_min(1e-6)
