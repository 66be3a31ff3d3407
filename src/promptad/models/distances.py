"""Distances of patches to the rows of a memory bank: one function for each way to measure them, all 0 to 1.

Each takes unit patches [N, patch, width] of N images and unit rows [row, width], and returns the distances [N, patch].
To add one, write its function and a line in `DISTANCES`; it is then a choice of `--memory-distance`.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from promptad.models.normal_stats import MIN_STD

MAX_COSINES = 2**22  # at a time: what is made of them stays near the processor
SOFT = 5  # rows that a soft distance is a mean of
RIDGE = 0.02  # of the number of patches
NEWTON_STEPS = 10  # each squares the error, which starts at 1 - 2 * RIDGE: 1e-17 after ten
VARIANCE = 0.99  # share of it that a subspace keeps


def nearest_distances(patches: Tensor, rows: Tensor) -> Tensor:
    """Return half the cosine distance to the nearest row (PromptAD, Li et al., CVPR 2024, section 3.4)."""
    return torch.cat([(1 - chunk.amax(2)) / 2 for _, chunk in _cosines(patches, rows)]).clamp_min(0)


def soft_distances(patches: Tensor, rows: Tensor) -> Tensor:
    """Return half the cosine distance to a soft mean of the nearest rows.

    The mean of the `SOFT` nearest is weighted by their distances; the temperature is the median one of the image, as in
    ProCon.
    """
    count = min(SOFT, len(rows))
    nearest = torch.cat([(1 - chunk.topk(count, 2).values) / 2 for _, chunk in _cosines(patches, rows)]).clamp_min(0)
    temperature = nearest.flatten(1).median(1).values.clamp_min(MIN_STD)
    weights = torch.softmax(-nearest / temperature[:, None, None], -1)
    return (weights * nearest).sum(-1)


def refined_distances(patches: Tensor, rows: Tensor) -> Tensor:
    """Return half the cosine distance to the nearest row after all rows are made anew from the image itself.

    Every row is replaced by its ridge regression on the image's own patches. It keeps what many of these show, too, and
    loses what they do not, such as the light and grain of its own image. A defect, which few patches show, is hardly
    made anew, and stays far.
    The transfer of characteristics of FastRef (Tian et al., CVPR 2026), in closed form.
    """
    # Of patches Q and rows P the regression is P Q' (Q Q' + r)^-1 Q, so all follows from the cosines Q P'.
    ridge, found = RIDGE * patches.shape[1], []
    for chunk, cosines in _cosines(patches, rows):
        weights = _inverse(chunk @ chunk.transpose(1, 2), ridge) @ cosines  # [n, patch, row]
        products = cosines - ridge * weights  # of the patches and the refined rows
        squares = (weights * products).sum(1, keepdim=True)  # of the lengths of these
        found.append((1 - (products / squares.clamp_min(MIN_STD).sqrt()).amax(2)) / 2)
    return torch.cat(found).clamp_min(0)


def subspace_distances(patches: Tensor, rows: Tensor) -> Tensor:
    """Return half the squared distance to the linear subspace that holds `VARIANCE` of the rows (SubspaceAD)."""
    eigenvalues, vectors = torch.linalg.eigh(rows.T @ rows)  # in rising order
    left_out = eigenvalues.cumsum(0) <= (1 - VARIANCE) * eigenvalues.sum()
    outside: Tensor = patches @ vectors[:, left_out]
    return outside.square().sum(2) / 2


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nearest": nearest_distances,
    "soft": soft_distances,
    "refined": refined_distances,
    "subspace": subspace_distances,
}


def _cosines(patches: Tensor, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a part of the N images at a time: patches [n, patch, width], and their cosines [n, patch, row]."""
    step = max(1, MAX_COSINES // (patches.shape[1] * len(rows)))
    for chunk in torch.split(patches, step):
        yield chunk, chunk @ rows.T


def _inverse(products: Tensor, ridge: float) -> Tensor:
    """Return the inverse of products [n, patch, patch] of unit patches, with a ridge added to their diagonals.

    By Newton's iteration (Schulz, 1933): matrix products alone, which every device and every exported graph has.
    """
    count = products.shape[1]
    identity = torch.eye(count, device=products.device, dtype=products.dtype)
    added = products + ridge * identity  # its eigenvalues are between the ridge and `count` + the ridge
    inverse = (2 / (count + 2 * ridge)) * identity.expand_as(added)
    for _ in range(NEWTON_STEPS):
        inverse = inverse @ (2 * identity - added @ inverse)
    return inverse
