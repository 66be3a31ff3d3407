"""The trained head of a multi-prototype detector as one module: from features to raw anomaly scores."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from promptad.features import ImageFeatures
from promptad.models.anomaly_map import Scores, square_maps
from promptad.models.buffers import Buffers
from promptad.models.memory_bank import CalibratedMemory, MemoryBank
from promptad.models.multi_prototype.calibration import Calibration
from promptad.models.multi_prototype.explain import StateDirections
from promptad.models.multi_prototype.known_defects import KnownDefects
from promptad.models.multi_prototype.likeness import Likeness
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.scoring import score_features
from promptad.models.multi_prototype.support_distance import SupportDistance
from promptad.models.multi_prototype.threshold import Thresholds


class PrototypeHead(nn.Module):
    """Prototypes, calibration, states, memory bank, known defects and thresholds as buffers; none is trainable.

    So `.to` moves all of them, `state_dict` names them, and a traced graph includes them.
    """

    def __init__(
        self,
        prototypes: Prototypes,
        calibration: Calibration,
        states: StateDirections,
        memory: CalibratedMemory | None = None,
        likeness: Likeness | None = None,
        image_score: str = "both",
        top_share: float = 0.0,
        thresholds: Thresholds | None = None,
    ) -> None:
        """Store what was trained; `memory`, `likeness` and `thresholds` are None if there are none."""
        super().__init__()
        self.image_score, self.top_share = image_score, top_share
        self.phrases, self.groups = states.phrases, states.groups
        self._prototypes, self._calibration = Buffers(vars(prototypes)), Buffers(vars(calibration))
        self._states = Buffers({"directions": states.directions, "mean": states.mean, "std": states.std})
        self._layers = self._memory = self._likeness = self._thresholds = None
        self._distance: Buffers | None = None
        self._defects: Buffers | None = None
        if memory is not None:
            self.memory_distances = memory.bank.distances
            numbers = {name: number for name, number in vars(memory).items() if name != "bank"}
            self._layers = Buffers({f"layer_{n}": layer for n, layer in enumerate(memory.bank.layers, 1)})
            self._memory = Buffers({"weights": memory.bank.weights, **numbers})
        if likeness is not None:
            self._likeness = Buffers(vars(likeness))
        if thresholds is not None:
            self._thresholds = Buffers(vars(thresholds))

    @property
    def prototypes(self) -> Prototypes:
        """The prototypes."""
        return Prototypes(**self._prototypes.tensors())

    @property
    def calibration(self) -> Calibration:
        """The calibration of their margins."""
        return Calibration(**self._calibration.tensors())

    @property
    def states(self) -> StateDirections:
        """The states of the explanations."""
        return StateDirections(self.phrases, self.groups, **self._states.tensors())

    @property
    def memory(self) -> CalibratedMemory | None:
        """The memory bank, if there is one."""
        if self._layers is None or self._memory is None:
            return None
        numbers = self._memory.tensors()
        layers = tuple(self._layers.tensors().values())
        bank = MemoryBank(layers, numbers.pop("weights"), self.memory_distances)
        return CalibratedMemory(bank, **numbers)

    @property
    def likeness(self) -> Likeness | None:
        """What an image of the part should show, if it is known."""
        return None if self._likeness is None else Likeness(**self._likeness.tensors())

    @property
    def distance(self) -> SupportDistance | None:
        """How far images are from the support images, if it is known."""
        return None if self._distance is None else SupportDistance(**self._distance.tensors())

    @property
    def thresholds(self) -> Thresholds | None:
        """The thresholds, if they are set."""
        return None if self._thresholds is None else Thresholds(**self._thresholds.tensors())

    @property
    def defects(self) -> KnownDefects | None:
        """The known defects, if there are any."""
        return None if self._defects is None else KnownDefects(**self._defects.tensors())

    def with_memory(self, memory: CalibratedMemory | None) -> "PrototypeHead":
        """Return a head of the same tensors with another memory bank, or none; its thresholds are not set.

        It knows no defects.
        """
        return self.taught(memory, self.likeness, None)

    def with_thresholds(self, thresholds: Thresholds, suspicious: float = math.inf) -> "PrototypeHead":
        """Return a head of the same tensors with these thresholds; known defects count from a lower score on, too."""
        defects = self.defects
        if defects is not None:
            defects = replace(defects, suspicious=torch.full_like(thresholds.image, suspicious))
        return self.taught(self.memory, self.likeness, defects, thresholds)

    def with_distance(self, distance: SupportDistance) -> "PrototypeHead":
        """Return a head of the same tensors that knows how far images are from the support images."""
        head = self.taught(self.memory, self.likeness, self.defects, self.thresholds)
        head._distance = Buffers(vars(distance))
        return head

    def taught(
        self,
        memory: CalibratedMemory | None,
        likeness: Likeness | None,
        defects: KnownDefects | None,
        thresholds: Thresholds | None = None,
    ) -> "PrototypeHead":
        """Return a head of the same words, with all that verdicts change."""
        known = self.prototypes, self.calibration, self.states
        head = PrototypeHead(*known, memory, likeness, self.image_score, self.top_share, thresholds)
        head._distance = self._distance
        if defects is not None:
            head._defects = Buffers(vars(defects))
        return head

    def forward(self, class_token: Tensor, patch_tokens: Tensor, *layers: Tensor) -> tuple[Tensor, Tensor]:
        """Score class tokens [N, D] and patch tokens [N, P, D], with layers [N, P, width] for a memory bank.

        Returns:
            Raw image scores [N] and patch scores [N, side, side], both z-scores.
        """
        scores = self.score(ImageFeatures(class_token, patch_tokens, layers))
        return scores.image, scores.patches

    def score(self, features: ImageFeatures) -> Scores:
        """Score the features of N images."""
        known, likeness = self.add_memory_distances(features), self.likeness
        scoring = self.image_score, self.top_share
        scores = score_features(known, self.prototypes, self.calibration, self.memory, *scoring)
        if likeness is not None:
            scores = replace(scores, lack=likeness.lack(features.patch_tokens))
        if (defects := self.defects) is not None:
            of_patches, defect = defects.likeness(features.patch_tokens, scores.image)
            scores = replace(scores, defects=square_maps(of_patches), defect=defect)
        return scores

    def add_memory_distances(self, features: ImageFeatures) -> ImageFeatures:
        """Return features with their distances to the memory bank, if there is one."""
        memory = self.memory
        return features if memory is None else memory.bank.add_distances(features)
