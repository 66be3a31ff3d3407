"""The decision: from which score on a picture is rejected, found from normal pictures alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, eq=False)
class NormalScores:
    """What views of the support images score where the statistics have not seen them.

    The scores of the views of one image are alike, and there are a few images only, so no count of them can promise a
    false-alarm rate of 1 %: without an assumption k images allow 1 / (k + 1) at best (conformal prediction, Vovk et
    al., 2005). The assumption is that of extreme values: a score is the largest of many deviations, so its tail is a
    Gumbel distribution's (Coles, 2001, chapter 3), fitted by its two moments.
    """

    image: Tensor  # [view], sorted: image scores, in deviations
    peaks: Tensor  # [view], sorted: the highest points of their smooth maps, in deviations

    @classmethod
    def of(
        cls,
        support: ImageFeatures,
        views: int,
        prototypes: Prototypes,
        offsets: Tensor,
        settings: ScoringSettings,
        memory: CalibratedMemory | None = None,
    ) -> "NormalScores":
        """Score the views of the support images, `views` of each, by statistics of the others.

        The prototypes stay those that were learned from all images. Where there is a memory, the features hold the
        distances that `CalibratedMemory.of` returns.
        """
        image, peaks = [], []
        for others, own in folds(len(support.class_token), views):
            known = support.rows(others)
            other_memory = memory and _of_others(memory, known, settings.calibration)
            calibration = calibrate(known, prototypes, settings, other_memory, offsets)
            scores = score_features(support.rows(own), prototypes, calibration, other_memory, settings.image_score)
            image.append(scores.image)
            peaks.append(map_peaks(scores, settings))
        return cls(torch.cat(image).sort().values, torch.cat(peaks).sort().values)

    def decide(self, calibration: Calibration, rate: float) -> Calibration:
        """Put the levels where good pictures go beyond them at this rate: by image score, by any point of the map.

        The spreads are such that, at a rate of 1 %, the median good picture is shown as 0.11.
        """
        image, peaks = fit_gumbel(self.image), fit_gumbel(self.peaks)
        numbers = image.exceeded_at(rate), peaks.exceeded_at(rate), SPREAD * image.scale, SPREAD * peaks.scale
        names = "image_level", "map_level", "image_spread", "map_spread"
        like = calibration.image_level
        return replace(calibration, **{n: like.new_tensor(v) for n, v in zip(names, numbers, strict=True)})


def folds(count: int, views: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield which of `count` views are learned from, and which are judged, each in one fold: [count] bool both.

    A fold judges the views of one image by those of all others. A single image is halved: every other view is judged
    by the rest, which have seen the same part.
    """
    number = torch.arange(count)
    group = number // views if count > views else number % 2
    for fold in range(int(group.max()) + 1):
        yield group != fold, group == fold


@dataclass(frozen=True)
class Gumbel:
    """The distribution of the largest of many: its distribution function is exp(-exp(-(x - location) / scale))."""

    location: float
    scale: float

    def exceeded_at(self, rate: float) -> float:
        """Return the number that is exceeded at a rate."""
        return self.location - self.scale * math.log(-math.log1p(-rate))


def fit_gumbel(scores: Tensor) -> Gumbel:
    """Return the Gumbel distribution with the mean and deviation of scores [N]."""
    scale = max(float(scores.double().std()), LEAST_SPREAD) * math.sqrt(6) / math.pi
    return Gumbel(float(scores.double().mean()) - np.euler_gamma * scale, scale)


def map_peaks(scores: Scores, settings: ScoringSettings) -> Tensor:
    """Return the highest points [N] of the smooth maps, in deviations."""
    return torch.from_numpy(smooth_maps(scores.patches, settings).max((1, 2)))


def _of_others(memory: CalibratedMemory, others: ImageFeatures, calibration: str) -> CalibratedMemory:
    """Return the memory as if calibrated on the other images alone.

    Their distances are to banks that hold the left-out image too, so they are a little small and its deviations a
    little large: that errs towards fewer false alarms.
    """
    assert others.distances is not None, "the memory bank was not asked"
    return CalibratedMemory.calibrated(memory.bank, others.distances, calibration)
