"""What the systems are compared with: our memory's term alone, and plain nearest neighbours without any training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from promptad.data.images import read_image
from promptad.features import ImageFeatures
from promptad.models.anomaly_map import Scores, smooth_maps, square_maps
from promptad.models.memory_bank import CalibratedMemory, MemoryBank, nearest_distances
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.threshold import (
    NormalScoreDistribution,
    average,
    fit_gumbel,
    folds,
    inflated,
    map_maxima,
)
from promptad.settings import ScoringSettings
from promptad.structures import Prediction

THUMBNAIL, PATCH = 32, 4  # pixels a side of an image that is compared as it is, and of its patches


@dataclass(frozen=True, eq=False)
class MemoryAlone(MultiPrototypeDetector):
    """A detector of which the memory bank's term alone counts; its thresholds are set in the same way as ours."""

    @classmethod
    def of(cls, detector: MultiPrototypeDetector, known: ImageFeatures, views: int) -> "MemoryAlone":
        """Take a detector with a memory bank, and the support images' features with leave-one-out distances."""
        alone = cls(detector.backbone, detector.head, detector.settings, detector.subject)
        rate = detector.settings.scoring.false_alarm_rate
        result = alone.with_thresholds(alone.scores_of_normal(known, views), rate)
        assert isinstance(result, MemoryAlone)
        return result

    def score(self, features: ImageFeatures) -> Scores:
        """Score the features of N images, in z-scores."""
        distances = self.add_memory_distances(features).distances
        assert distances is not None
        return self._scores(self._memory, distances)

    @property
    def _memory(self) -> CalibratedMemory:
        assert self.head.memory is not None, "the detector has no memory bank"
        return self.head.memory

    def scores_of_normal(self, known: ImageFeatures, views: int) -> NormalScoreDistribution:
        """Estimate the scores of new normal images, as `NormalScoreDistribution.estimate` does for all terms."""
        assert known.distances is not None
        scoring, images = self.settings.scoring, len(known.distances) // views
        scores = self._scores(self._memory, known.distances)
        estimates = [inflated(own, images) for own in (scores.image, map_maxima(scores, scoring))]
        if images > 1:
            parts = []
            for others, own_image in folds(len(known.distances), views):
                memory = CalibratedMemory.calibrated(self._memory.bank, known.distances[others], scoring.calibration)
                parts.append(self._scores(memory, known.distances[own_image]))
            left_out = torch.cat([part.image for part in parts]), torch.cat([map_maxima(p, scoring) for p in parts])
            estimates = [average(one, fit_gumbel(own)) for one, own in zip(estimates, left_out, strict=True)]
        return NormalScoreDistribution(*estimates)

    @staticmethod
    def _scores(memory: CalibratedMemory, distances: Tensor) -> Scores:
        return Scores(memory.image_score(distances), square_maps(memory.patch_scores(distances)))


def nearest_layers(support: ImageFeatures, test: ImageFeatures, scoring: ScoringSettings) -> Prediction:
    """Compare patches at the intermediate layers with those of the support images, which are not augmented."""
    distances = MemoryBank.from_support(support).add_distances(replace(test, distances=None)).distances
    assert distances is not None
    return _by_patches(distances, scoring)


def nearest_tokens(support: ImageFeatures, test: ImageFeatures, scoring: ScoringSettings) -> Prediction:
    """Compare patch tokens of the local path with those of the support images."""
    return _by_patches(nearest_distances(test.patch_tokens, support.patch_tokens.flatten(0, 1)), scoring)


def nearest_pixels(
    support: Sequence[Path], test: Sequence[Path], bit_depth: int | None, scoring: ScoringSettings
) -> Prediction:
    """Compare patches of 4 x 4 raw pixels of images of 32 x 32, by Euclidean distance: what needs no CLIP."""
    known, seen = (pixel_patches([_thumbnail(path, bit_depth) for path in paths]) for paths in (support, test))
    return _by_patches(torch.cdist(seen, known.flatten(0, 1)).amin(2), scoring)


def pixel_patches(thumbnails: Sequence[np.ndarray]) -> Tensor:
    """Return the patches [N, patch, numbers of a patch] of images [32, 32, 3] of levels 0 to 1."""
    pixels = torch.from_numpy(np.stack(thumbnails)).permute(0, 3, 1, 2)
    return F.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2)


def _by_patches(distances: Tensor, scoring: ScoringSettings) -> Prediction:
    """Return the largest distance of each image's patches [N, patch], and smooth maps of them."""
    score = distances.amax(1).double().cpu().numpy()
    return Prediction(score, smooth_maps(square_maps(distances), scoring), score)


def _thumbnail(path: Path, bit_depth: int | None) -> np.ndarray:
    small = read_image(path, bit_depth).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32) / 255
