"""Intervals and tests against loops: every sign, every resample, the textbook's quantile."""

import random
from itertools import product
from statistics import fmean, stdev

import numpy as np
import pytest

from promptad.reports.comparison.significance import (
    Verdict,
    classes_interval,
    draws_interval,
    signed_rank_p,
    verdict_of,
)


def reference_signed_rank_p(values: list[float]) -> float:
    """The share of all ways to give signs to the ranks that are at least as one-sided; no ties, no zeros."""
    ranks = [1 + sum(abs(other) < abs(value) for other in values) for value in values]
    total = sum(ranks)
    every_sign = [[value > 0 for value in values], *product((False, True), repeat=len(ranks))]  # the true ones first
    sums = [sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign) for signs in every_sign]
    found, *possible = [min(one, total - one) for one in sums]
    return sum(one <= found for one in possible) / len(possible)


def reference_bootstrap(differences: list[list[float]], weights: list[float]) -> tuple[float, float]:
    """Draw classes and their draws with replacement in loops; the ends of the middle 95 %."""
    chance, means = random.Random(1), []
    for _ in range(20_000):
        total = weight = 0.0
        for _ in differences:
            chosen = chance.randrange(len(differences))
            own = [chance.choice(differences[chosen]) for _ in differences[chosen]]
            total += weights[chosen] * fmean(own)
            weight += weights[chosen]
        means.append(total / weight)
    means.sort()
    return means[int(0.025 * len(means))], means[int(0.975 * len(means))]


@pytest.mark.parametrize("count", [2, 5, 8, 12])
def test_the_signed_rank_test_counts_every_sign(count: int) -> None:
    values = np.random.default_rng(count).normal(0.5, 1, count)
    differences = values[:, None] + np.array([[-0.1, 0.0, 0.1]])  # draws about their mean
    assert signed_rank_p(differences) == pytest.approx(reference_signed_rank_p(values.tolist()))


def test_no_test_without_classes_and_nothing_to_tell_of_equal_ones() -> None:
    assert signed_rank_p(np.array([[1.0, 2.0]])) is None
    assert signed_rank_p(np.zeros((4, 2))) == 1


@pytest.mark.parametrize("weights", [[1.0] * 5, [1.0, 2.0, 3.0, 4.0, 10.0]])
def test_the_bootstrap_draws_classes_and_their_draws(weights: list[float]) -> None:
    differences = np.random.default_rng(0).normal(1, 2, (5, 3))
    found = classes_interval(differences, np.array(weights))
    assert found == pytest.approx(reference_bootstrap(differences.tolist(), weights), abs=0.08)
    assert found == classes_interval(differences, np.array(weights))


def test_one_class_has_the_interval_of_its_draws() -> None:
    draws = [1.0, 1.5, 2.5]
    reach = 4.302653 * stdev(draws) / 3**0.5  # Student's t of two degrees of freedom, at 97.5 %
    expected = fmean(draws) - reach, fmean(draws) + reach
    assert draws_interval(draws) == pytest.approx(expected, rel=1e-6)
    assert classes_interval(np.array([draws]), np.ones(1)) == pytest.approx(expected, rel=1e-6)
    assert draws_interval([1.0]) is None
    assert draws_interval([5.0, 5.0, 5.0]) is None  # no spread is no proof


@pytest.mark.parametrize(
    ("interval", "p_value", "verdict"),
    [
        ((0.1, 0.3), None, Verdict.BETTER),
        ((0.1, 0.3), 0.01, Verdict.BETTER),
        ((0.1, 0.3), 0.06, Verdict.NOT_TOLD_APART),
        ((-0.1, 0.3), 0.01, Verdict.NOT_TOLD_APART),
        ((0.0, 0.3), None, Verdict.NOT_TOLD_APART),
        (None, None, Verdict.NOT_TOLD_APART),
    ],
)
def test_a_verdict_needs_interval_and_test(
    interval: tuple[float, float] | None, p_value: float | None, verdict: Verdict
) -> None:
    assert verdict_of(0.2, interval, p_value, lower_is_better=False) == verdict
    mirrored = Verdict.WORSE if verdict == Verdict.BETTER else verdict
    assert verdict_of(0.2, interval, p_value, lower_is_better=True) == mirrored
