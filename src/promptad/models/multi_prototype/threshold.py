"""The thresholds of image scores and anomaly maps, and what is made of raw scores by them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from promptad.models.anomaly_map import Scores, smooth_maps, spread_patches
from promptad.settings import ScoringSettings


@dataclass(frozen=True)
class Thresholds:
    """The raw scores above which an image, and a pixel of a smooth map, are anomalous; they are normalised to 0.5."""

    image: Tensor  # [], z-scores
    pixel: Tensor  # [], z-scores
    image_scale: Tensor  # [], z-scores: threshold plus scale is normalised to 0.73, threshold minus scale to 0.27
    pixel_scale: Tensor  # [], the same of the anomaly map

    def raw_scores(self, scores: Scores) -> Tensor:
        """Return the raw image scores [N] float64.

        Those of images that are unlike the part, or show what is like a known defect, are above the threshold.
        """
        raw = scores.image.double()
        defects = None if scores.defects is None else scores.defects.amax((1, 2))
        for found in (scores.lack, defects):
            if found is not None:
                raw = _raised(raw, found, self.image.double(), self.image_scale)
        return raw

    def maps(self, scores: Scores, settings: ScoringSettings) -> Tensor:
        """Return smooth raw maps [N, resolution, resolution], above the threshold at what is like a known defect."""
        maps = smooth_maps(scores.patches, settings)
        if scores.defects is None:
            return maps
        return _raised(maps, spread_patches(scores.defects, settings.resolution), self.pixel, self.pixel_scale)

    def normalize_scores(self, raw: Tensor) -> Tensor:
        """Turn raw image scores [N] into [0, 1]."""
        return torch.sigmoid((raw - self.image) / self.image_scale)

    def normalize_maps(self, maps: Tensor) -> Tensor:
        """Turn smooth raw maps [N, H, W] into [0, 1]."""
        return torch.sigmoid((maps - self.pixel) / self.pixel_scale)

    def decide(self, scores: Scores, settings: ScoringSettings) -> dict[str, Tensor]:
        """Turn raw scores into decisions, scores and smooth maps in [0, 1], named as in `runtime.postprocess`."""
        raw = self.raw_scores(scores)
        known = {}
        if scores.defects is not None and scores.defect is not None:
            known = {"defect": scores.defect, "defect_likeness": scores.defects.amax((1, 2))}
        return {
            "score": self.normalize_scores(raw),
            "raw_score": raw,
            "is_anomalous": ~(raw <= self.image),  # NaN is never good
            "anomaly_map": self.normalize_maps(self.maps(scores, settings)),
            **known,
        }


def map_maxima(scores: Scores, settings: ScoringSettings) -> Tensor:
    """Return the maxima [N] of the smooth maps, in z-scores."""
    return smooth_maps(scores.patches, settings).amax((1, 2))


def _raised(scores: Tensor, found: Tensor, threshold: Tensor, scale: Tensor) -> Tensor:
    """Return raw scores, at least a little above the threshold where something was found: it is above 1 there."""
    return torch.where(found > 1, torch.maximum(scores, threshold + scale * found), scores)
