"""The raw scores of normal images, and the level that a given share of them exceeds: from normal images only."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from scipy.special import betaincinv
from torch import Tensor

from promptad.features import ImageFeatures
from promptad.models.memory_bank import WORDS_WEIGHTS, CalibratedMemory
from promptad.models.multi_prototype.calibration import Calibration, calibrate
from promptad.models.multi_prototype.gumbel import MEMORY_EXTRA, WORDS_EXTRA, Gumbel, average, fit_gumbel, inflated
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.scoring import score_features
from promptad.models.multi_prototype.threshold import Thresholds, map_maxima
from promptad.settings import ScoringSettings

SCALE = 2.0  # Gumbel scales above the threshold that are shown as 0.73
UNSURE = 4.0  # with a few images the tail is at most so many times that asked for, on nine parts of ten
SURE = 0.1, 0.9  # quantiles of the actual rate where enough images are counted


class ConfirmedScores(NamedTuple):
    """The raw scores of pictures that people gave a verdict on."""

    good: tuple[float, ...] = ()  # each by what is known without this picture
    defective: tuple[float, ...] = ()


NONE_CONFIRMED = ConfirmedScores()


@dataclass(frozen=True)
class NormalScoreDistribution:
    """The raw scores of a new normal image, as far as the support images can show.

    A few images cannot promise a false-alarm rate of 1 % by counting: without an assumption k of them allow
    1 / (k + 1) at best (conformal prediction, Vovk et al., 2005). The assumption is that of extreme values: a score is
    the largest of many z-scores, so its tail is a Gumbel distribution's (Coles, 2001, chapter 3). Its mean and std are
    estimated twice, and the estimates are averaged: from views of images that are left out of the statistics, which
    is fair but uses k - 1 images, and is noisy if k is small; and from views that are part of them, inflated by how
    much more a new part differs than a view does. With one image there is the second estimate only.

    From 1 / rate images on, counting does it, with no assumption about the tail: the threshold is that of conformal
    prediction, as far as a left-out image, from which prompts were learned, is like a new one. Good pictures that
    people confirmed are counted, too. As long as there are too few, they raise the threshold where that errs less often
    on all confirmed pictures, good and defective: people look at rejected pictures, so these are no fair sample.
    """

    image: Gumbel  # of image scores
    map_max: Gumbel  # of the maxima of smooth maps
    left_out_scores: tuple[float, ...] = ()  # of each support image by the statistics of the others; empty if k = 1
    left_out_maxima: tuple[float, ...] = ()
    confirmed_scores: ConfirmedScores = NONE_CONFIRMED
    confirmed_maxima: ConfirmedScores = NONE_CONFIRMED

    @classmethod
    def estimate(
        cls,
        support: ImageFeatures,
        views: int,
        prototypes: Prototypes,
        calibration: Calibration,
        settings: ScoringSettings,
        memory: CalibratedMemory | None = None,
        tiles: int = 1,
    ) -> "NormalScoreDistribution":
        """Score the views of the support images, `views` of each, or of each of its tiles: the highest of these counts.

        The prototypes are always those trained on all images. If there is a memory bank, the features must hold their
        distances to a bank without their own image.
        """
        images = len(support.class_token) // (tiles * views)
        extra = WORDS_EXTRA if memory is None else MEMORY_EXTRA
        scores = score_features(support, prototypes, calibration, memory, settings.image_score, settings.top_share)
        kinds = (_highest(own, views, tiles) for own in (scores.image, map_maxima(scores, settings)))
        image, map_max = (inflated(own, images, extra) for own in kinds)
        if images == 1:
            return cls(image, map_max)
        of_tiles = _left_out(support, tiles * views, prototypes, calibration.normal_bias, settings, memory)
        left_out = [_highest(own, views, tiles) for own in of_tiles]
        image, map_max = (average(*pair) for pair in zip((image, map_max), map(fit_gumbel, left_out), strict=True))
        of_images, of_maps = (tuple(own[::views].tolist()) for own in left_out)
        return cls(image, map_max, of_images, of_maps)

    def thresholds(self, rate: float, device: torch.device) -> Thresholds:
        """Return the thresholds that normal images exceed at this rate: by image score, by any pixel of the map.

        The scales are such that, at an estimated rate of 1 %, the median normal image is shown as 0.11.
        """
        levels = (
            self.image_level(rate),
            self._level(rate, self.map_max, self.left_out_maxima, self.confirmed_maxima),
        )
        numbers = *levels, SCALE * self.image.scale, SCALE * self.map_max.scale
        return Thresholds(*(torch.tensor(number, device=device) for number in numbers))

    def suspicious_level(self, rate: float) -> float:
        """Return the raw image score from which on an image may be rejected at this rate for what it is like, too.

        Normal images exceed it at the square root of the rate, which leaves the other root to the second sign.
        """
        if self.counts(rate):
            return conformal_level((*self.left_out_scores, *self.confirmed_scores.good), math.sqrt(rate))
        return self.image.exceeded_at(math.sqrt(rate))

    def image_level(self, rate: float) -> float:
        """Return the raw image score that normal images exceed at this rate."""
        return self._level(rate, self.image, self.left_out_scores, self.confirmed_scores)

    def _level(self, rate: float, tail: Gumbel, left_out: Sequence[float], confirmed: ConfirmedScores) -> float:
        if self.counts(rate):
            return conformal_level((*left_out, *confirmed.good), rate)
        level = max(tail.exceeded_at(rate), *left_out, -math.inf)  # never below what counting gives for a larger rate
        return raised_level(level, confirmed)

    @property
    def counted(self) -> int:
        """The number of good pictures that are left out in turn and can be counted."""
        return len(self.left_out_scores) + len(self.confirmed_scores.good)

    def counts(self, rate: float) -> bool:
        """Whether there are enough good pictures to count for this rate, without an assumption about the tail."""
        return self.counted >= 1 / rate

    def rate_range(self, rate: float) -> tuple[float, float]:
        """Return the lowest and highest false-alarm rate that a threshold for `rate` may actually have.

        Where images are counted, the actual rate has a beta distribution (Vovk, 2012), and these are quantiles of it.
        Otherwise it is what was seen on parts that the constants were fitted to: on nine of ten the tail beyond the
        threshold was at most `UNSURE` times as large.
        """
        if not self.counts(rate):
            low, high = (-math.expm1(times * math.log1p(-rate)) for times in (1 / UNSURE, UNSURE))
            return low, high
        count = self.counted
        above = count + 1 - conformal_rank(count, rate)
        low, high = betaincinv(above, count + 1 - above, SURE)
        return float(low), float(high)


def conformal_rank(count: int, rate: float) -> int:
    """Return which of `count` normal scores, counted from the lowest as 1, a new one exceeds at this rate at most.

    >>> conformal_rank(99, 0.01), conformal_rank(100, 0.01), conformal_rank(19, 0.05)
    (99, 100, 19)
    """
    return max(1, math.ceil((count + 1) * (1 - rate) - 1e-9))


def conformal_level(scores: Sequence[float], rate: float) -> float:
    """Return the score that a new normal image exceeds at this rate at most (Vovk et al., 2005), given those of others.

    That holds whatever their distribution, if they are exchangeable.
    """
    return sorted(scores)[conformal_rank(len(scores), rate) - 1]


def raised_level(level: float, confirmed: ConfirmedScores) -> float:
    """Return a threshold, raised to the lowest one that errs least often on confirmed pictures.

    >>> raised_level(2.0, ConfirmedScores((1.0, 3.0, 4.0), (5.0,)))
    4.0
    >>> raised_level(2.0, ConfirmedScores((3.0,), (2.5, 2.6)))
    2.0
    """

    def errors(threshold: float) -> int:
        false_alarms = sum(score > threshold for score in confirmed.good)
        return false_alarms + sum(score <= threshold for score in confirmed.defective)

    return min(sorted({level, *(score for score in confirmed.good if score > level)}), key=errors)


def folds(count: int, views: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield which of `count` views are of all images but one, and which are of that one: [count] bool both."""
    image = torch.arange(count) // views
    for left_out in range(count // views):
        yield image != left_out, image == left_out


def _highest(scores: Tensor, views: int, tiles: int) -> Tensor:
    """Return the highest [k * views] of the scores of tiles [k * tiles * views]."""
    return scores.view(-1, tiles, views).amax(1).flatten()


def _left_out(
    support: ImageFeatures,
    views: int,
    prototypes: Prototypes,
    bias: Tensor,
    settings: ScoringSettings,
    memory: CalibratedMemory | None,
) -> tuple[Tensor, Tensor]:
    """Return image scores and map maxima [k * views] of each image's views, calibrated on the other images."""
    image, maxima = [], []
    for others, own in folds(len(support.class_token), views):
        known = support.rows(others)
        other_memory = memory and _of_others(memory, known, settings)
        calibration = calibrate(known, prototypes, settings.calibration, bias)
        by = settings.image_score, settings.top_share
        scores = score_features(support.rows(own), prototypes, calibration, other_memory, *by)
        image.append(scores.image)
        maxima.append(map_maxima(scores, settings))
    return torch.cat(image), torch.cat(maxima)


def _of_others(memory: CalibratedMemory, others: ImageFeatures, settings: ScoringSettings) -> CalibratedMemory:
    """Return the memory as if calibrated on the other images alone.

    Their distances are to banks that include the left-out image too, so they are a little small and its z-scores a
    little large: that errs towards fewer false alarms.
    """
    assert others.distances is not None, "the features have no memory-bank distances"
    other = CalibratedMemory.calibrated(memory.bank, others.distances, settings)
    return replace(other, **{name: getattr(memory, name) for name in WORDS_WEIGHTS})
