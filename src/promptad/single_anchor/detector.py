"""The single-anchor detector: two anchors and a memory bank on a backbone, in and out of a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from promptad.backbone.clip import Backbone
from promptad.detection import AnomalyDetector, Subject, subject_of
from promptad.errors import InputError
from promptad.memory import MemoryBank
from promptad.records import ImageFeatures, Prediction
from promptad.scoring import Scores, smooth_maps
from promptad.settings import Settings
from promptad.single_anchor.scoring import score_features, text_score


@dataclass(frozen=True, eq=False)
class AnchorDetector(AnomalyDetector):
    """A trained single-anchor detector of one class."""

    backbone: Backbone
    anchors: Tensor  # [2, D], unit: the normal one, the abnormal one
    bank: MemoryBank
    settings: Settings
    subject: Subject

    def remember(self, features: ImageFeatures) -> ImageFeatures:
        """Ask the memory bank about features, where it takes part."""
        return self.bank.ask(features) if self.settings.scoring.memory else features

    def score(self, features: ImageFeatures) -> Scores:
        """Score the features of N pictures; both scores are in [0, 1], and not calibrated."""
        resolution = self.settings.scoring.resolution
        return score_features(self.remember(features), self.anchors, self.backbone.log_temperature, resolution)

    @property
    def by_class_token(self) -> bool:
        """Whether image scores are made of class tokens alone: without the memory bank they are."""
        return not self.settings.scoring.memory

    def score_class_tokens(self, class_token: Tensor) -> Tensor:
        """Return the text scores of class tokens [N, D]."""
        return text_score(class_token, self.anchors, self.backbone.log_temperature)

    def readable(self, image_scores: Tensor) -> np.ndarray:
        """Return image scores as they are."""
        return image_scores.double().cpu().numpy()

    def to_prediction(self, scores: Scores) -> Prediction:
        """Return the scores as they are, and the maps resized and smoothed."""
        maps = smooth_maps(scores.patches, self.settings.scoring)
        return Prediction(self.readable(scores.image), maps, self.readable(scores.image))

    def explain(self, features: ImageFeatures) -> tuple[()]:  # noqa: ARG002 there is nothing to tell
        """Return nothing: there are no prototypes."""
        return ()

    def usage(self, features: ImageFeatures) -> None:  # noqa: ARG002 there is nothing to count
        """Return None: there are no prototypes."""
        return

    def learned(self) -> dict[str, Any]:
        """Return anchors and galleries under the ancestor's own names."""
        return {
            "text_features": self.anchors.cpu(),
            "feature_gallery1": self.bank.first.cpu(),
            "feature_gallery2": self.bank.second.cpu(),
        }


def restore_anchors(path: Path, checkpoint: dict[str, Any], backbone: Backbone) -> AnchorDetector:
    """Build the detector of a checkpoint, with settings and subject in it, on its backbone.

    Raises:
        InputError: its tensors do not have the backbone's widths.
    """
    anchors, first, second = (
        checkpoint[name].float().to(backbone.device)
        for name in ("text_features", "feature_gallery1", "feature_gallery2")
    )
    width, dimensions = backbone.image_tower.visual.proj.shape
    expected = (dimensions, width, width)
    found = tuple(tensor.shape[-1] for tensor in (anchors, first, second))
    if found != expected or anchors.shape[:-1] != (2,):
        raise InputError(
            f"{path} holds text features of {found[0]} and galleries of {found[1]} numbers, {backbone.settings.name}"
            f" has {expected[0]} and {expected[1]}: name the backbone it was trained on with --backbone"
        )
    return AnchorDetector(backbone, anchors, MemoryBank(first, second), checkpoint["settings"], subject_of(checkpoint))
