"""The decision: scores of left-out pictures, the distribution fitted to them, and the thresholds."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.decision import NormalScores, fit_gumbel, folds, map_peaks
from promptad.memory import CalibratedMemory, MemoryBank
from promptad.moments import position_moments
from promptad.prototypes import Prototypes
from promptad.records import ImageFeatures
from promptad.scoring import Calibration, calibrate, score_features
from promptad.settings import ScoringSettings

IMAGES, VIEWS, PATCHES, DIMENSIONS = 3, 4, 9, 16
SETTINGS = ScoringSettings(resolution=6, sigma=0.5)


def random_units(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, DIMENSIONS, generator=torch.Generator().manual_seed(seed)), dim=-1)


def make_prototypes() -> Prototypes:
    return Prototypes(
        random_units(2, seed=0), random_units(3, seed=1), random_units(seed=2), torch.ones(2), torch.ones(3)
    )


def make_support(images: int = IMAGES) -> ImageFeatures:
    count = images * VIEWS
    distances = torch.rand(count, PATCHES, generator=torch.Generator().manual_seed(5))
    return ImageFeatures(random_units(count, seed=3), random_units(count, PATCHES, seed=4), distances=distances)


def test_each_image_is_judged_once_by_all_others() -> None:
    found = [(others.nonzero().flatten().tolist(), own.nonzero().flatten().tolist()) for others, own in folds(6, 2)]
    assert found == [([2, 3, 4, 5], [0, 1]), ([0, 1, 4, 5], [2, 3]), ([0, 1, 2, 3], [4, 5])]


def test_a_single_image_is_halved() -> None:
    found = [(others.nonzero().flatten().tolist(), own.nonzero().flatten().tolist()) for others, own in folds(5, 5)]
    assert found == [([1, 3], [0, 2, 4]), ([0, 2, 4], [1, 3])]


@pytest.mark.parametrize("with_memory", [False, True])
def test_left_out_scores_equal_their_slow_twin(with_memory: bool) -> None:
    support, prototypes, offsets = make_support(), make_prototypes(), torch.tensor([0.1, -0.1])
    bank = MemoryBank(torch.empty(0, 1), torch.empty(0, 1))  # nobody asks it: the distances are there
    assert support.distances is not None
    memory = CalibratedMemory.calibrated(bank, support.distances, "position") if with_memory else None
    scores = NormalScores.of(support, VIEWS, prototypes, offsets, SETTINGS, memory)
    image, peaks = [], []
    for left_out in range(IMAGES):
        rest = [view for view in range(IMAGES * VIEWS) if view // VIEWS != left_out]
        known, other = support.rows(torch.tensor(rest)), None
        if memory is not None:
            distances = torch.stack([support.distances[view] for view in rest])
            mean, std = position_moments(distances)
            other = CalibratedMemory(bank, mean, std, distances.mean(), distances.std(correction=0))
        calibration = calibrate(known, prototypes, SETTINGS, other, offsets)
        for view in range(left_out * VIEWS, (left_out + 1) * VIEWS):
            own = score_features(support.rows(slice(view, view + 1)), prototypes, calibration, other)
            image.append(float(own.image))
            peaks.append(float(map_peaks(own, SETTINGS)))
    np.testing.assert_allclose(scores.image, sorted(image), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores.peaks, sorted(peaks), rtol=1e-4, atol=1e-4)


def test_what_an_image_scores_does_not_depend_on_its_own_statistics() -> None:
    """An outlier raises the highest score by far more where it is left out than where it is calibrated on."""
    support, prototypes, offsets = make_support(), make_prototypes(), torch.zeros(2)
    odd = support.class_token.clone()
    odd[:VIEWS] = prototypes.abnormal[0]
    support = replace(support, class_token=odd, distances=None)
    calibration = calibrate(support, prototypes, SETTINGS, offsets=offsets)
    seen = score_features(support, prototypes, calibration).image.max()
    assert NormalScores.of(support, VIEWS, prototypes, offsets, SETTINGS).image.max() > seen + 1


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_the_fitted_distribution_is_exceeded_at_the_rate(rate: float) -> None:
    drawn = np.random.default_rng(0).gumbel(3.0, 2.0, 100_000)
    found = fit_gumbel(torch.from_numpy(drawn))
    assert found.location == pytest.approx(3.0, abs=0.03)
    assert found.scale == pytest.approx(2.0, abs=0.03)
    assert (drawn > found.exceeded_at(rate)).mean() == pytest.approx(rate, rel=0.05)


def test_equal_scores_have_a_threshold_just_above_them() -> None:
    threshold = fit_gumbel(torch.full((4,), 2.5)).exceeded_at(0.01)
    assert 2.5 < threshold < 2.5 + 1e-4


def test_a_lower_rate_has_higher_thresholds_and_the_median_is_shown_as_promised() -> None:
    drawn = torch.from_numpy(np.random.default_rng(1).gumbel(0.0, 3.0, 20_000)).float().sort().values
    before = make_calibration()
    strict, lax = (NormalScores(drawn, 2 * drawn).decide(before, rate) for rate in (0.01, 0.2))
    assert strict.image_level > lax.image_level
    assert strict.map_level == pytest.approx(2 * float(strict.image_level), rel=1e-4)
    median = float((drawn.median() - strict.image_level) / strict.image_spread)
    assert 1 / (1 + math.exp(-median)) == pytest.approx(0.11, abs=0.01)
    assert strict.class_mean is before.class_mean


def make_calibration() -> Calibration:
    return calibrate(make_support(), make_prototypes(), SETTINGS)
