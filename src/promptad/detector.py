"""The detector: prototypes and their calibration on a backbone, in and out of a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from promptad.backbone.clip import Backbone
from promptad.detection import AnomalyDetector, Subject, subject_of
from promptad.memory import CalibratedMemory, MemoryBank
from promptad.prototypes import Prototypes
from promptad.records import ImageFeatures, Prediction
from promptad.scoring import Calibration, Scores, class_scores, readable, score_features, to_prediction
from promptad.settings import Settings

MEMORY_NUMBERS = ("patch_mean", "patch_std", "map_mean", "map_std")


@dataclass(frozen=True, eq=False)
class Detector(AnomalyDetector):
    """A trained multi-prototype detector of one class."""

    backbone: Backbone
    prototypes: Prototypes
    calibration: Calibration
    settings: Settings
    subject: Subject
    memory: CalibratedMemory | None = None

    def remember(self, features: ImageFeatures) -> ImageFeatures:
        """Ask the memory bank about features, where there is one."""
        return features if self.memory is None else self.memory.bank.ask(features)

    def score(self, features: ImageFeatures) -> Scores:
        """Score the features of N pictures, in deviations from normal."""
        known, image_score = self.remember(features), self.settings.scoring.image_score
        return score_features(known, self.prototypes, self.calibration, self.memory, image_score)

    @property
    def by_class_token(self) -> bool:
        """Whether image scores are made of class tokens alone."""
        return self.memory is None and self.settings.scoring.image_score == "class-token"

    def score_class_tokens(self, class_token: Tensor) -> Tensor:
        """Return the image scores of class tokens [N, D], in deviations from normal."""
        return class_scores(class_token, self.prototypes, self.calibration)

    def readable(self, image_scores: Tensor) -> np.ndarray:
        """Turn image scores into [0, 1], where 0.5 is the level of the support images."""
        return readable(image_scores, self.calibration)

    def to_prediction(self, scores: Scores) -> Prediction:
        """Turn deviations into scores and maps in [0, 1], where 0.5 is the level of the support images."""
        return to_prediction(scores, self.calibration, self.settings.scoring)

    def usage(self, features: ImageFeatures) -> Tensor:
        """Return the share [N, K] of each normal prototype in the patches of N pictures."""
        responses = features.patch_tokens @ self.prototypes.normal.T - self.calibration.normal_offsets
        return F.one_hot(responses.argmax(-1), len(self.prototypes.normal)).float().mean(1)

    def learned(self) -> dict[str, Any]:
        """Return prototypes, calibration and memory; without one this is empty."""
        return {
            "normal_prototypes": self.prototypes.normal.cpu(),
            "abnormal_prototypes": self.prototypes.abnormal.cpu(),
            "centre": self.prototypes.centre.cpu(),
            "normal_share": self.prototypes.normal_share.cpu(),
            "abnormal_share": self.prototypes.abnormal_share.cpu(),
            "calibration": {name: value.cpu() for name, value in vars(self.calibration).items()},
            "memory": {} if self.memory is None else _memory_tensors(self.memory),
        }


def restore_prototypes(_: Path, checkpoint: dict[str, Any], backbone: Backbone) -> Detector:
    """Build the detector of a checkpoint on its backbone."""

    def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(backbone.device) for name, value in tensors.items()}

    prototypes = {
        "normal": checkpoint["normal_prototypes"],
        "abnormal": checkpoint["abnormal_prototypes"],
        **{name: checkpoint[name] for name in ("centre", "normal_share", "abnormal_share")},
    }
    kept = moved(checkpoint["memory"])
    memory = None
    if kept:
        bank = MemoryBank(kept["first"], kept["second"])
        memory = CalibratedMemory(bank, *(kept[name] for name in MEMORY_NUMBERS))
    return Detector(
        backbone,
        Prototypes(**moved(prototypes)),
        Calibration(**moved(checkpoint["calibration"])),
        checkpoint["settings"],
        subject_of(checkpoint),
        memory,
    )


def _memory_tensors(memory: CalibratedMemory) -> dict[str, Tensor]:
    numbers = {name: getattr(memory, name).cpu() for name in MEMORY_NUMBERS}
    return {"first": memory.bank.first.cpu(), "second": memory.bank.second.cpu(), **numbers}
