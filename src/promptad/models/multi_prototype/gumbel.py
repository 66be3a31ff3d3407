"""The distribution of the highest of many z-scores, of normal images: fitted to the views of a few of them."""

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor

MIN_STD = 1e-6  # z-scores; scores that are all the same get this standard deviation


class Extra(NamedTuple):
    """How much more a new normal part differs than the views of k support images do, in std of their scores."""

    mean: float  # of one image; it falls with this power of k
    std: float
    power: float


WORDS_EXTRA, MEMORY_EXTRA = Extra(2.0, 3.0, 1.0), Extra(5.0, 3.0, 2.0)  # of words alone, and with a memory bank


class Gumbel(NamedTuple):
    """The distribution of the largest of many: its distribution function is exp(-exp(-(x - location) / scale))."""

    location: float
    scale: float

    def exceeded_at(self, rate: float) -> float:
        """Return the number that is exceeded at a rate."""
        return self.location - self.scale * math.log(-math.log1p(-rate))


def fit_gumbel(scores: Tensor) -> Gumbel:
    """Return the Gumbel distribution with the mean and std of scores [N]."""
    return _with_mean_and_std(float(scores.double().mean()), float(scores.double().std()))


def average(first: Gumbel, second: Gumbel) -> Gumbel:
    """Return the distribution whose thresholds are the means of both."""
    return Gumbel((first.location + second.location) / 2, (first.scale + second.scale) / 2)


def inflated(scores: Tensor, images: int, extra: Extra) -> Gumbel:
    """Return the score distribution of new normal parts, given the scores [k * views] of the k calibration images.

    Mean and std grow by shares of the views' own std, which fall with a power of k. They were fitted to normal images
    of all beds' choosing draws, at k = 1, 2 and 4, as one fits a prior; nothing is reported on these draws.
    """
    mean, std, share = float(scores.double().mean()), float(scores.double().std()), images**-extra.power
    return _with_mean_and_std(mean + extra.mean * share * std, std * (1 + extra.std * share))


def _with_mean_and_std(mean: float, std: float) -> Gumbel:
    scale = max(std, MIN_STD) * math.sqrt(6) / math.pi
    return Gumbel(mean - np.euler_gamma * scale, scale)
