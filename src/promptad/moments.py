"""Moments: what is measured on normal pictures, as mean and standard deviation."""

import torch
from torch import Tensor

SHRINKAGE = 0.5  # of a position's variance towards the mean variance of all positions
LEAST_DEVIATION = 1e-4  # what never varies counts as deviating by this much


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over the first axis."""
    return values.mean(0), values.std(0, correction=0).clamp_min(LEAST_DEVIATION)


def position_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [position, ...] of values [view, position, ...], variances shrunk to their mean.

    They are taken at each position, as PaDiM (Defard et al., 2021) models features.
    """
    mean, std = moments(values)
    variance = std.square()
    return mean, torch.sqrt((1 - SHRINKAGE) * variance + SHRINKAGE * variance.mean(0))
