"""Normal scores: those of left-out images, the distribution fitted to them, and the thresholds that follow."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_parts import IMAGES, SETTINGS, VIEWS, make_prototypes, make_support
from scipy.stats import norm  # type: ignore[attr-defined]  # it has no type stubs

from promptad.models.memory_bank import CalibratedMemory, MemoryBank
from promptad.models.multi_prototype.calibration import calibrate
from promptad.models.multi_prototype.gumbel import MEMORY_EXTRA, WORDS_EXTRA, Gumbel, average, fit_gumbel, inflated
from promptad.models.multi_prototype.normal_scores import NormalScoreDistribution, folds
from promptad.models.multi_prototype.scoring import score_features
from promptad.models.multi_prototype.threshold import map_maxima


def test_each_image_is_left_out_once() -> None:
    found = [(others.nonzero().flatten().tolist(), own.nonzero().flatten().tolist()) for others, own in folds(6, 2)]
    assert found == [([2, 3, 4, 5], [0, 1]), ([0, 1, 4, 5], [2, 3]), ([0, 1, 2, 3], [4, 5])]


def gumbel(mean: float, std: float) -> tuple[float, float]:
    """Location and scale by the method of moments, as in textbooks."""
    scale = std * 6**0.5 / math.pi
    return mean - 0.5772156649 * scale, scale


@pytest.mark.parametrize("with_memory", [False, True])
def test_normal_scores_equal_their_reference(with_memory: bool) -> None:
    support, prototypes, bias = make_support(), make_prototypes(), torch.tensor([0.1, -0.1])
    bank = MemoryBank((torch.empty(0, 1),), torch.ones(1))  # not used: the features have distances already
    assert support.distances is not None
    memory = CalibratedMemory.calibrated(bank, support.distances, SETTINGS) if with_memory else None
    all_known = calibrate(support, prototypes, "prototype", bias)
    found = NormalScoreDistribution.estimate(support, VIEWS, prototypes, all_known, SETTINGS, memory)
    image, maxima = [], []
    for left_out in range(IMAGES):
        rest = [view for view in range(IMAGES * VIEWS) if view // VIEWS != left_out]
        known, other = support.rows(torch.tensor(rest)), None
        if memory is not None:
            distances = torch.stack([support.distances[view] for view in rest])
            mean, std = distances.mean(), distances.std(correction=0)
            here = mean + SETTINGS.position_share * (distances.mean(0) - mean)
            other = CalibratedMemory(bank, here, std[None], mean, std, *[torch.ones(())] * 3)
        calibration = calibrate(known, prototypes, "prototype", bias)
        for view in range(left_out * VIEWS, (left_out + 1) * VIEWS):
            own = score_features(support.rows(slice(view, view + 1)), prototypes, calibration, other)
            image.append(float(own.image))
            maxima.append(float(map_maxima(own, SETTINGS)))
    seen = score_features(support, prototypes, all_known, memory)
    for left_out_scores, seen_scores, guess in (
        (image, seen.image.tolist(), found.image),
        (maxima, map_maxima(seen, SETTINGS).tolist(), found.map_max),
    ):
        mean, std = statistics.mean(seen_scores), statistics.stdev(seen_scores)
        extra = MEMORY_EXTRA if with_memory else WORDS_EXTRA
        share = 1 / IMAGES**extra.power
        wide = gumbel(mean + extra.mean * share * std, std * (1 + extra.std * share))
        fair = gumbel(statistics.mean(left_out_scores), statistics.stdev(left_out_scores))
        np.testing.assert_allclose(guess, np.mean([wide, fair], 0), rtol=1e-4, atol=1e-4)
    assert found.left_out_scores == pytest.approx(image[::VIEWS], abs=1e-4)
    assert found.left_out_maxima == pytest.approx(maxima[::VIEWS], abs=1e-4)


def test_one_image_has_only_its_own_views_inflated() -> None:
    support, prototypes = replace(make_support(1), distances=None), make_prototypes()
    calibration = calibrate(support, prototypes, "prototype")
    found = NormalScoreDistribution.estimate(support, VIEWS, prototypes, calibration, SETTINGS)
    seen = score_features(support, prototypes, calibration).image
    assert found.image == inflated(seen, 1, WORDS_EXTRA)
    assert found.left_out_scores == ()
    assert found.image.exceeded_at(0.01) > fit_gumbel(seen).exceeded_at(0.01)


def test_inflation_vanishes_with_many_images() -> None:
    scores = torch.rand(50, generator=torch.Generator().manual_seed(0))
    for extra in (WORDS_EXTRA, MEMORY_EXTRA):
        assert inflated(scores, 100_000, extra) == pytest.approx(fit_gumbel(scores), rel=1e-4)


def test_the_threshold_depends_on_scores_of_left_out_images() -> None:
    """An outlier raises the threshold by far more if it is left out than if it is calibrated on."""
    support, prototypes, bias = make_support(), make_prototypes(), torch.zeros(2)
    odd = support.class_token.clone()
    odd[:VIEWS] = prototypes.abnormal[0]
    support = replace(support, class_token=odd, distances=None)
    calibration = calibrate(support, prototypes, "prototype", bias)
    seen = score_features(support, prototypes, calibration).image
    included = average(inflated(seen, IMAGES, WORDS_EXTRA), fit_gumbel(seen)).exceeded_at(0.01)
    found = NormalScoreDistribution.estimate(support, VIEWS, prototypes, calibration, SETTINGS).image.exceeded_at(0.01)
    assert found > included + 0.3


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


def test_a_lower_rate_has_higher_thresholds_and_the_median_is_shown_as_0_11() -> None:
    drawn = torch.from_numpy(np.random.default_rng(1).gumbel(0.0, 3.0, 20_000)).float()
    image = fit_gumbel(drawn)
    normal_scores = NormalScoreDistribution(image, Gumbel(2 * image.location, 2 * image.scale))
    strict, lax = (normal_scores.thresholds(rate, torch.device("cpu")) for rate in (0.01, 0.2))
    assert strict.image > lax.image
    assert strict.pixel == pytest.approx(2 * float(strict.image), rel=1e-4)
    median = float((drawn.median() - strict.image) / strict.image_scale)
    assert 1 / (1 + math.exp(-median)) == pytest.approx(0.11, abs=0.01)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_enough_images_are_counted_and_the_range_is_that_of_many_repeats(rate: float) -> None:
    generator, count = np.random.default_rng(2), math.ceil(1 / rate)
    guess = Gumbel(1e6, 1.0)  # an assumption that is far off must not matter
    actual = []
    for _ in range(4000):
        known = generator.normal(size=(2, count)) ** 2
        found = NormalScoreDistribution(guess, guess, tuple(known[0]), tuple(known[1]))
        assert found.counts(rate)
        thresholds = found.thresholds(rate, torch.device("cpu"))
        assert float(thresholds.pixel) in known[1].astype(np.float32)
        actual.append(2 * norm.sf(math.sqrt(float(thresholds.image))))
    assert np.mean(actual) <= rate
    assert np.quantile(actual, [0.1, 0.9]) == pytest.approx(found.rate_range(rate), rel=0.1)


def test_few_images_are_not_counted_and_the_range_is_wide() -> None:
    few = NormalScoreDistribution(Gumbel(0.0, 1.0), Gumbel(0.0, 1.0), (1.0,) * 99, (1.0,) * 99)
    assert not few.counts(0.01)
    assert few.counts(0.02)
    assert float(few.thresholds(0.01, torch.device("cpu")).image) == pytest.approx(-math.log(-math.log(0.99)))
    low, high = few.rate_range(0.01)
    assert low == pytest.approx(0.0025, rel=0.01)
    assert high == pytest.approx(0.0394, rel=0.01)


@pytest.mark.parametrize("count", [2, 10, 40])
def test_a_lower_rate_never_has_a_lower_threshold(count: int) -> None:
    known = np.random.default_rng(count).normal(size=(2, count))
    found = NormalScoreDistribution(Gumbel(0.0, 0.3), Gumbel(0.0, 0.3), tuple(known[0]), tuple(known[1]))
    levels = [found.thresholds(rate, torch.device("cpu")) for rate in np.geomspace(0.001, 1 - 1e-10, 60)]
    for name in ("image", "pixel"):
        assert (np.diff([float(getattr(level, name)) for level in levels]) <= 0).all()
    assert all(0 <= rate <= 1 for rate in found.rate_range(1 - 1e-10))
