"""Mean and standard deviation of values of normal images, and the mean of the largest of others."""

import torch
from torch import Tensor

SHRINKAGE = 0.5  # of a position's variance towards the mean variance of all positions
MIN_STD = 1e-4  # a value that never varies gets this standard deviation


def mean_and_std(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over the first axis."""
    return values.mean(0), values.std(0, correction=0).clamp_min(MIN_STD)


def position_mean_and_std(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and std [position, ...] of values [view, position, ...], variances shrunk to their mean.

    They are taken at each position, as PaDiM (Defard et al., 2021) models features.
    """
    mean, std = mean_and_std(values)
    variance = std.square()
    return mean, torch.sqrt((1 - SHRINKAGE) * variance + SHRINKAGE * variance.mean(0))


def mean_of_largest(values: Tensor, share: float) -> Tensor:
    """Return the mean [N] of a share of the values [N, patch], the largest ones: at least of one.

    As AnomalyDINO (Damm et al., WACV 2025, section 3) sums up patches: one patch alone is a matter of chance.
    """
    count = max(1, round(share * values.shape[1]))
    return values.topk(count, 1).values.mean(1)
