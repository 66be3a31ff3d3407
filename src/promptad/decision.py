"""The decision: from which score on a picture is rejected, found from normal pictures alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from promptad.memory import CalibratedMemory
from promptad.prototypes import Prototypes
from promptad.records import ImageFeatures
from promptad.scoring import Calibration, Scores, calibrate, score_features, smooth_maps
from promptad.settings import ScoringSettings

LEAST_SPREAD = 1e-6  # deviations; scores that are all the same count as spread by this much
SPREAD = 2.0  # Gumbel scales beyond the threshold that are shown as 0.73
MORE_MEAN, MORE_SPREAD = 1.6, 1.2  # of a new good part beside the views of one support image, in their deviation


class Gumbel(NamedTuple):
    """The distribution of the largest of many: its distribution function is exp(-exp(-(x - location) / scale))."""

    location: float
    scale: float

    def exceeded_at(self, rate: float) -> float:
        """Return the number that is exceeded at a rate."""
        return self.location - self.scale * math.log(-math.log1p(-rate))


@dataclass(frozen=True)
class NormalScores:
    """What a new good picture scores, in deviations, as far as the support images tell.

    A few images cannot promise a false-alarm rate of 1 % by counting: without an assumption k of them allow
    1 / (k + 1) at best (conformal prediction, Vovk et al., 2005). The assumption is that of extreme values: a score is
    the largest of many deviations, so its tail is a Gumbel distribution's (Coles, 2001, chapter 3). Its two moments
    are guessed twice, and the guesses are averaged: from views of images that the statistics have not seen, which is
    fair but of k - 1 images, and wild where k is small; and from views that they have seen, widened by what a new part
    differs more than a view does. With one image there is the second guess only.
    """

    image: Gumbel  # of image scores
    peaks: Gumbel  # of the highest points of smooth maps

    @classmethod
    def of(
        cls,
        support: ImageFeatures,
        views: int,
        prototypes: Prototypes,
        calibration: Calibration,
        settings: ScoringSettings,
        memory: CalibratedMemory | None = None,
    ) -> "NormalScores":
        """Score the views of the support images, `views` of each.

        The prototypes stay those that were learned from all images. Where there is a memory, the features hold the
        distances that `CalibratedMemory.of` returns.
        """
        images = len(support.class_token) // views
        seen = score_features(support, prototypes, calibration, memory, settings.image_score)
        guesses = [widened(scores, images) for scores in (seen.image, map_peaks(seen, settings))]
        if images > 1:
            left_out = _left_out(support, views, prototypes, calibration.normal_offsets, settings, memory)
            guesses = [average(guess, fit_gumbel(scores)) for guess, scores in zip(guesses, left_out, strict=True)]
        return cls(*guesses)

    def decide(self, calibration: Calibration, rate: float) -> Calibration:
        """Put the levels where good pictures go beyond them at this rate: by image score, by any point of the map.

        The spreads are such that, at a rate of 1 %, the median good picture is shown as 0.11.
        """
        image, peaks = self.image, self.peaks
        numbers = image.exceeded_at(rate), peaks.exceeded_at(rate), SPREAD * image.scale, SPREAD * peaks.scale
        names = "image_level", "map_level", "image_spread", "map_spread"
        like = calibration.image_level
        return replace(calibration, **{n: like.new_tensor(v) for n, v in zip(names, numbers, strict=True)})


def fit_gumbel(scores: Tensor) -> Gumbel:
    """Return the Gumbel distribution with the mean and deviation of scores [N]."""
    return _of_moments(float(scores.double().mean()), float(scores.double().std()))


def widened(scores: Tensor, images: int) -> Gumbel:
    """Return what good parts score whose k `images` were calibrated on with these scores [k * views].

    Mean and deviation grow by parts of the views' own deviation, which fall with the square of k. They were fitted to
    good pictures of the demo's lines 0 and 1, at k = 1, 2 and 4, as one fits a prior; no other line took part.
    """
    mean, deviation = float(scores.double().mean()), float(scores.double().std())
    return _of_moments(mean + MORE_MEAN / images**2 * deviation, deviation * (1 + MORE_SPREAD / images**2))


def average(first: Gumbel, second: Gumbel) -> Gumbel:
    """Return the distribution whose thresholds are the means of both."""
    return Gumbel((first.location + second.location) / 2, (first.scale + second.scale) / 2)


def folds(count: int, views: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield which of `count` views are of all images but one, and which are of that one: [count] bool both."""
    image = torch.arange(count) // views
    for left_out in range(count // views):
        yield image != left_out, image == left_out


def map_peaks(scores: Scores, settings: ScoringSettings) -> Tensor:
    """Return the highest points [N] of the smooth maps, in deviations."""
    return torch.from_numpy(smooth_maps(scores.patches, settings).max((1, 2)))


def _left_out(
    support: ImageFeatures,
    views: int,
    prototypes: Prototypes,
    offsets: Tensor,
    settings: ScoringSettings,
    memory: CalibratedMemory | None,
) -> tuple[Tensor, Tensor]:
    """Return image scores and map peaks [k * views] of each image's views by statistics of the other images."""
    image, peaks = [], []
    for others, own in folds(len(support.class_token), views):
        known = support.rows(others)
        other_memory = memory and _of_others(memory, known, settings.calibration)
        calibration = calibrate(known, prototypes, settings, other_memory, offsets)
        scores = score_features(support.rows(own), prototypes, calibration, other_memory, settings.image_score)
        image.append(scores.image)
        peaks.append(map_peaks(scores, settings))
    return torch.cat(image), torch.cat(peaks)


def _of_moments(mean: float, deviation: float) -> Gumbel:
    scale = max(deviation, LEAST_SPREAD) * math.sqrt(6) / math.pi
    return Gumbel(mean - np.euler_gamma * scale, scale)


def _of_others(memory: CalibratedMemory, others: ImageFeatures, calibration: str) -> CalibratedMemory:
    """Return the memory as if calibrated on the other images alone.

    Their distances are to banks that hold the left-out image too, so they are a little small and its deviations a
    little large: that errs towards fewer false alarms.
    """
    assert others.distances is not None, "the memory bank was not asked"
    return CalibratedMemory.calibrated(memory.bank, others.distances, calibration)
