"""The decision: scores of left-out pictures, the distribution fitted to them, and the thresholds."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.decision import MORE_MEAN, MORE_SPREAD, Gumbel, NormalScores, fit_gumbel, folds, map_peaks, widened
from promptad.memory import CalibratedMemory, MemoryBank
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


def gumbel(mean: float, deviation: float) -> tuple[float, float]:
    """Location and scale by the moments of the distribution, as the textbooks have them."""
    scale = deviation * 6**0.5 / math.pi
    return mean - 0.5772156649 * scale, scale


@pytest.mark.parametrize("with_memory", [False, True])
def test_normal_scores_equal_their_slow_twin(with_memory: bool) -> None:
    support, prototypes, offsets = make_support(), make_prototypes(), torch.tensor([0.1, -0.1])
    bank = MemoryBank(torch.empty(0, 1), torch.empty(0, 1))  # nobody asks it: the distances are there
    assert support.distances is not None
    memory = CalibratedMemory.calibrated(bank, support.distances, "prototype") if with_memory else None
    all_known = calibrate(support, prototypes, SETTINGS, memory, offsets)
    found = NormalScores.of(support, VIEWS, prototypes, all_known, SETTINGS, memory)
    image, peaks = [], []
    for left_out in range(IMAGES):
        rest = [view for view in range(IMAGES * VIEWS) if view // VIEWS != left_out]
        known, other = support.rows(torch.tensor(rest)), None
        if memory is not None:
            distances = torch.stack([support.distances[view] for view in rest])
            mean, std = distances.mean(), distances.std(correction=0)
            other = CalibratedMemory(bank, mean[None], std[None], mean, std)
        calibration = calibrate(known, prototypes, SETTINGS, other, offsets)
        for view in range(left_out * VIEWS, (left_out + 1) * VIEWS):
            own = score_features(support.rows(slice(view, view + 1)), prototypes, calibration, other)
            image.append(float(own.image))
            peaks.append(float(map_peaks(own, SETTINGS)))
    seen = score_features(support, prototypes, all_known, memory)
    for left_out_scores, seen_scores, guess in (
        (image, seen.image.tolist(), found.image),
        (peaks, map_peaks(seen, SETTINGS).tolist(), found.peaks),
    ):
        mean, deviation = statistics.mean(seen_scores), statistics.stdev(seen_scores)
        wide = gumbel(mean + MORE_MEAN / IMAGES**2 * deviation, deviation * (1 + MORE_SPREAD / IMAGES**2))
        fair = gumbel(statistics.mean(left_out_scores), statistics.stdev(left_out_scores))
        np.testing.assert_allclose(guess, np.mean([wide, fair], 0), rtol=1e-4, atol=1e-4)


def test_one_image_has_but_its_own_views_widened() -> None:
    support, prototypes = replace(make_support(1), distances=None), make_prototypes()
    calibration = calibrate(support, prototypes, SETTINGS)
    found = NormalScores.of(support, VIEWS, prototypes, calibration, SETTINGS)
    seen = score_features(support, prototypes, calibration).image
    assert found.image == widened(seen, 1)
    assert found.image.exceeded_at(0.01) > fit_gumbel(seen).exceeded_at(0.01)


def test_widening_ends_with_many_images() -> None:
    scores = torch.rand(50, generator=torch.Generator().manual_seed(0))
    assert widened(scores, 1000) == pytest.approx(fit_gumbel(scores), rel=1e-4)


def test_what_an_image_scores_does_not_depend_on_its_own_statistics() -> None:
    """An outlier raises the highest score by far more where it is left out than where it is calibrated on."""
    support, prototypes, offsets = make_support(), make_prototypes(), torch.zeros(2)
    odd = support.class_token.clone()
    odd[:VIEWS] = prototypes.abnormal[0]
    support = replace(support, class_token=odd, distances=None)
    calibration = calibrate(support, prototypes, SETTINGS, offsets=offsets)
    seen = widened(score_features(support, prototypes, calibration).image, IMAGES).exceeded_at(0.01)
    found = NormalScores.of(support, VIEWS, prototypes, calibration, SETTINGS).image.exceeded_at(0.01)
    assert found > seen + 0.3


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
    drawn = torch.from_numpy(np.random.default_rng(1).gumbel(0.0, 3.0, 20_000)).float()
    before = make_calibration()
    image = fit_gumbel(drawn)
    normal_scores = NormalScores(image, Gumbel(2 * image.location, 2 * image.scale))
    strict, lax = (normal_scores.decide(before, rate) for rate in (0.01, 0.2))
    assert strict.image_level > lax.image_level
    assert strict.map_level == pytest.approx(2 * float(strict.image_level), rel=1e-4)
    median = float((drawn.median() - strict.image_level) / strict.image_spread)
    assert 1 / (1 + math.exp(-median)) == pytest.approx(0.11, abs=0.01)
    assert strict.class_mean is before.class_mean


def make_calibration() -> Calibration:
    return calibrate(make_support(), make_prototypes(), SETTINGS)
