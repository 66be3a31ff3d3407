"""Distances of patches to the rows of a memory bank: one function for each way to measure them, all 0 to 1.

Each is made for unit rows [row, width], and takes unit patches [N, patch, width] of N images with their cosines
[N, patch, row] to these rows, which all ways share; it returns distances [N, patch]. To add one, write its function and
a line in `DISTANCES`; it is then a choice of `--memory-distance`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from promptad.models.normal_stats import MIN_STD

MAX_COSINES = 2**22  # at a time: what is made of them stays near the processor
SOFT = 5  # rows that a soft distance is a mean of
RIDGE = 0.02  # of the number of patches
NEWTON_STEPS = 10  # each squares the error, which starts at 1 - 2 * RIDGE: 1e-17 after ten
VARIANCE = 0.99  # share of it that a subspace keeps

Measure = Callable[[Tensor, Tensor], Tensor]  # of patches and their cosines


def distances_to(rows: Tensor, patches: Tensor, names: Sequence[str]) -> Tensor:
    """Return the distances [name, N, patch] of unit patches [N, patch, width] to unit rows [row, width]."""
    measures = [DISTANCES[name](rows) for name in names]
    step = max(1, MAX_COSINES // (patches.shape[1] * len(rows)))
    found = []
    for chunk in [patches] if torch.compiler.is_compiling() else torch.split(patches, step):  # a graph takes any N
        cosines = chunk @ rows.T
        found.append(torch.stack([measure(chunk, cosines) for measure in measures]))
    return torch.cat(found, 1).clamp_min(0)


def nearest(_: Tensor) -> Measure:
    """Half the cosine distance to the nearest row (PromptAD, Li et al., CVPR 2024, section 3.4)."""
    return lambda _, cosines: (1 - cosines.amax(2)) / 2


def soft(rows: Tensor) -> Measure:
    """Half the cosine distance to a soft mean of the nearest rows.

    The mean of the `SOFT` nearest is weighted by their distances; the temperature is the median one of the image, as in
    ProCon.
    """
    count = min(SOFT, len(rows))

    def measure(_: Tensor, cosines: Tensor) -> Tensor:
        close = ((1 - cosines.topk(count, 2).values) / 2).clamp_min(0)
        temperature = close.flatten(1).median(1).values.clamp_min(MIN_STD)
        return (torch.softmax(-close / temperature[:, None, None], -1) * close).sum(-1)

    return measure


def refined(_: Tensor) -> Measure:
    """Half the cosine distance to the nearest row after all rows are made anew from the image itself.

    Every row is replaced by its ridge regression on the image's own patches. It keeps what many of these show, too, and
    loses what they do not, such as the light and grain of its own image. A defect, which few patches show, is hardly
    made anew, and stays far. The transfer of characteristics of FastRef (Tian et al., CVPR 2026), in closed form.
    """

    # Of patches Q and rows P the regression is P Q' (Q Q' + r)^-1 Q, so all follows from the cosines Q P'.
    def measure(patches: Tensor, cosines: Tensor) -> Tensor:
        ridge = RIDGE * patches.shape[1]
        weights = _inverse(patches @ patches.transpose(1, 2), ridge) @ cosines  # [N, patch, row]
        products = cosines - ridge * weights  # of the patches and the refined rows
        squares = (weights * products).sum(1, keepdim=True)  # of the lengths of these
        return (1 - (products / squares.clamp_min(MIN_STD).sqrt()).amax(2)) / 2

    return measure


def subspace(rows: Tensor) -> Measure:
    """Half the squared distance to the linear subspace that holds `VARIANCE` of the rows (SubspaceAD)."""
    eigenvalues, vectors = torch.linalg.eigh(rows.T @ rows)  # in rising order
    left_out = vectors[:, eigenvalues.cumsum(0) <= (1 - VARIANCE) * eigenvalues.sum()]
    return lambda patches, _: (patches @ left_out).square().sum(2) / 2


DISTANCES: dict[str, Callable[[Tensor], Measure]] = {
    "nearest": nearest,
    "soft": soft,
    "refined": refined,
    "subspace": subspace,
}


def _inverse(products: Tensor, ridge: float) -> Tensor:
    """Return the inverse of products [N, patch, patch] of unit patches, with a ridge added to their diagonals.

    By Newton's iteration (Schulz, 1933): matrix products alone, which every device and every exported graph has.
    """
    count = products.shape[1]
    identity = torch.eye(count, device=products.device, dtype=products.dtype)
    added = products + ridge * identity  # its eigenvalues are between the ridge and `count` + the ridge
    inverse = (2 / (count + 2 * ridge)) * identity.expand_as(added)
    for _ in range(NEWTON_STEPS):
        inverse = inverse @ (2 * identity - added @ inverse)
    return inverse
