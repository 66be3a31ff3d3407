"""The detector: prototypes and their calibration on a backbone, in and out of a checkpoint."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from promptad.backbone.clip import Backbone
from promptad.decision import Gumbel, NormalScores
from promptad.detection import AnomalyDetector, Subject, subject_of
from promptad.memory import CalibratedMemory, MemoryBank
from promptad.prototypes import Prototypes
from promptad.records import Explanation, ImageFeatures, Prediction
from promptad.scoring import (
    Calibration,
    Scores,
    class_scores,
    normal_responses,
    readable,
    score_features,
    to_prediction,
)
from promptad.settings import Settings
from promptad.vocabulary import Vocabulary, explain

MEMORY_NUMBERS = ("patch_mean", "patch_std", "map_mean", "map_std")


@dataclass(frozen=True, eq=False)
class Detector(AnomalyDetector):
    """A trained multi-prototype detector of one class."""

    backbone: Backbone
    prototypes: Prototypes
    calibration: Calibration
    settings: Settings
    subject: Subject
    vocabulary: Vocabulary
    memory: CalibratedMemory | None = None
    normal_scores: NormalScores | None = None  # of the epoch that is kept; before, nothing is decided

    def deciding(self, normal_scores: NormalScores, rate: float) -> "Detector":
        """Return the detector with its thresholds where good pictures exceed them at a false-alarm rate."""
        settings = replace(self.settings, scoring=replace(self.settings.scoring, false_alarm_rate=rate))
        calibration = normal_scores.decide(self.calibration, rate)
        return replace(self, calibration=calibration, settings=settings, normal_scores=normal_scores)

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
        """Turn image scores into [0, 1], where 0.5 is the threshold."""
        return readable(image_scores, self.calibration)

    def to_prediction(self, scores: Scores) -> Prediction:
        """Turn deviations into scores and maps in [0, 1], where 0.5 is the threshold."""
        return to_prediction(scores, self.calibration, self.settings.scoring)

    def explain(self, features: ImageFeatures) -> tuple[Explanation, ...]:
        """Tell why N pictures have their scores."""
        known, image_score = self.remember(features), self.settings.scoring.image_score
        return explain(known, self.prototypes, self.calibration, self.vocabulary, image_score, self.memory)

    def usage(self, features: ImageFeatures) -> Tensor:
        """Return the share [N, K] of each normal prototype in the patches of N pictures."""
        responses = normal_responses(features.patch_tokens, self.prototypes) - self.calibration.normal_offsets
        return F.one_hot(responses.argmax(-1), len(self.prototypes.normal)).float().mean(1)

    def learned(self) -> dict[str, Any]:
        """Return prototypes, calibration and words, and memory and normal scores, empty where there are none."""
        return {
            "normal_prototypes": self.prototypes.normal.cpu(),
            "abnormal_prototypes": self.prototypes.abnormal.cpu(),
            "centre": self.prototypes.centre.cpu(),
            "normal_share": self.prototypes.normal_share.cpu(),
            "abnormal_share": self.prototypes.abnormal_share.cpu(),
            "calibration": _plain(vars(self.calibration)),
            "vocabulary": _plain(vars(self.vocabulary)),
            "normal_scores": {} if self.normal_scores is None else _plain(vars(self.normal_scores)),
            "memory": {} if self.memory is None else _memory_tensors(self.memory),
        }


def restore_prototypes(_: Path, checkpoint: dict[str, Any], backbone: Backbone) -> Detector:
    """Build the detector of a checkpoint on its backbone."""

    def moved(values: dict[str, Any]) -> dict[str, Any]:
        return {n: v.to(backbone.device) if isinstance(v, Tensor) else tuple(v) for n, v in values.items()}

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
    settings: Settings = checkpoint["settings"]
    detector = Detector(
        backbone,
        Prototypes(**moved(prototypes)),
        Calibration(**moved(checkpoint["calibration"])),
        settings,
        subject_of(checkpoint),
        Vocabulary(**moved(checkpoint["vocabulary"])),
        memory,
    )
    if not (scores := moved(checkpoint["normal_scores"])):
        return detector
    return detector.deciding(
        NormalScores(**{name: Gumbel(*of) for name, of in scores.items()}), settings.scoring.false_alarm_rate
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return tensors on the CPU, and tuples, which are no plain data for a checkpoint, as lists."""
    return {name: value.cpu() if isinstance(value, Tensor) else list(value) for name, value in values.items()}


def _memory_tensors(memory: CalibratedMemory) -> dict[str, Tensor]:
    numbers = {name: getattr(memory, name).cpu() for name in MEMORY_NUMBERS}
    return {"first": memory.bank.first.cpu(), "second": memory.bank.second.cpu(), **numbers}
