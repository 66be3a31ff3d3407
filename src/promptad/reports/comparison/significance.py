"""What a paired difference tells: an interval, a test, and a verdict."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from scipy import special, stats

CONFIDENCE, LEVEL = 0.95, 0.05  # of intervals, and of tests
RESAMPLES = 10_000
NO_SPREAD = 1e-9  # of percent, which rounding leaves
SEED = 0  # of the resamples, so that the same rows give the same interval
LEAST_CLASSES = 6  # of fewer no signed-rank test can tell anything at this level, whatever their differences

Interval = tuple[float, float]


class Verdict(StrEnum):
    """How one system stands to the other."""

    BETTER = "better"
    WORSE = "worse"
    NOT_TOLD_APART = "not told apart"


def verdict_of(difference: float, interval: Interval | None, p_value: float | None, lower_is_better: bool) -> Verdict:
    """Return better or worse where the interval leaves out 0, and so does the test if there is one."""
    if interval is None or interval[0] <= 0 <= interval[1] or (p_value is not None and p_value >= LEVEL):
        return Verdict.NOT_TOLD_APART
    return Verdict.WORSE if (difference > 0) == lower_is_better else Verdict.BETTER


def draws_interval(differences: Sequence[float]) -> Interval | None:
    """Return Student's interval of the mean difference of one class over draws.

    None for a single draw, and for draws that do not differ, as of rounded or of full marks: they show no spread.
    A bootstrap of so few draws as are usual, 3 to 5, would be far too narrow.
    """
    if np.ptp(differences) < NO_SPREAD:
        return None
    mean, error = float(np.mean(differences)), float(stats.sem(differences))
    reach = float(special.stdtrit(len(differences) - 1, (1 + CONFIDENCE) / 2)) * error
    return mean - reach, mean + reach


def classes_interval(differences: np.ndarray, weights: np.ndarray) -> Interval | None:
    """Return the bootstrap interval of a weighted mean over classes of `differences [class, draw]`.

    Classes are drawn with replacement, and for each its draws: what other classes and other draws would have given. Of
    one class it is that of its draws. Source: Davison and Hinkley, "Bootstrap Methods and their Application", 1997
    (nested resampling, percentiles).
    """
    classes, draws = differences.shape
    if classes == 1:
        return draws_interval(differences[0].tolist())
    chance = np.random.default_rng(SEED)
    chosen = chance.integers(classes, size=(RESAMPLES, classes))  # [resample, class]
    drawn = chance.integers(draws, size=(RESAMPLES, classes, draws))
    means = differences[chosen[..., None], drawn].mean(-1)
    weighted = (means * weights[chosen]).sum(-1) / weights[chosen].sum(-1)
    low, high = np.quantile(weighted, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(low), float(high)


def signed_rank_p(differences: np.ndarray) -> float | None:
    """Return the two-sided p of Wilcoxon's signed-rank test over classes, of `differences [class, draw]`.

    Its pairs are the classes' means over draws, as draws of one class are no independent pairs; None for one class.
    Source: Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006.
    """
    means = differences.mean(1)
    if len(means) < 2:
        return None
    if not means.any():
        return 1.0
    return float(stats.wilcoxon(means, zero_method="pratt").pvalue)
