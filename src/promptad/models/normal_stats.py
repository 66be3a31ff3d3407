"""Mean and standard deviation of values of normal images."""

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
