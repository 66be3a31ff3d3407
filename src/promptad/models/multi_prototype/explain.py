"""Explanations: the terms of a score, and the states nearest to the most unusual patch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from promptad.features import ImageFeatures
from promptad.models.memory_bank import CalibratedMemory
from promptad.models.multi_prototype.calibration import Calibration
from promptad.models.multi_prototype.prototypes import Prototypes, project_out
from promptad.models.multi_prototype.scoring import score_words
from promptad.models.multi_prototype.similarities import margins
from promptad.models.normal_stats import mean_and_std


@dataclass(frozen=True, eq=False)
class StateDirections:
    """The states as directions, with mean and std of the normal patches' margins: some are near to all images.

    A margin here is the similarity to a state less that to the mean normal prototype.
    """

    phrases: tuple[str, ...]  # "with hole", "damaged"
    groups: tuple[int, ...]  # index of the group of one meaning that each belongs to
    directions: Tensor  # [S, D], unit, the mean direction projected out
    mean: Tensor  # [S], of the margins of normal patches
    std: Tensor  # [S]

    @classmethod
    def calibrated(
        cls, groups: Sequence[Sequence[str]], features: Sequence[Tensor], prototypes: Prototypes, support: ImageFeatures
    ) -> "StateDirections":
        """Calibrate the states, groups of phrases with their text features [phrase, D], on the support patches."""
        directions = project_out(torch.cat(list(features)), prototypes.mean_direction)
        numbers = tuple(number for number, group in enumerate(groups) for _ in group)
        phrases = tuple(" ".join(phrase.replace("{}", "").split()) for group in groups for phrase in group)
        unknown = torch.zeros(len(phrases), device=directions.device)
        return cls(phrases, numbers, directions, unknown, unknown).calibrated_on(support, prototypes)

    def calibrated_on(self, support: ImageFeatures, prototypes: Prototypes) -> "StateDirections":
        """Return the same states, calibrated on other features."""
        patches = support.patch_tokens.flatten(0, 1)
        mean, std = mean_and_std(state_margins(patches, self.directions, prototypes))
        return replace(self, mean=mean, std=std)

    def scores(self, tokens: Tensor, prototypes: Prototypes) -> Tensor:
        """Return the z-scores [N, S] of the states for tokens [N, D]: the highest is that of the nearest state."""
        return (state_margins(tokens, self.directions, prototypes) - self.mean) / self.std


def state_margins(tokens: Tensor, directions: Tensor, prototypes: Prototypes) -> Tensor:
    """Return how far the similarity of tokens [N, D] to states [S, D] exceeds that to the mean normal prototype."""
    return tokens @ directions.T - (tokens @ prototypes.normal.mean(0))[:, None]


def explain(
    features: ImageFeatures,
    prototypes: Prototypes,
    calibration: Calibration,
    states: StateDirections,
    image_score: str,
    memory: CalibratedMemory | None = None,
    top_share: float = 0.0,
) -> dict[str, Tensor]:
    """Explain the scores of N images, by the names of `promptad.runtime.postprocess`.

    The prototype named is the one with the highest z-score at the most unusual patch, and the states are scored at that
    patch; if patches are not part of the score, the prototype is the class token's. The terms add up to the raw score.
    """
    count = len(prototypes.abnormal)
    patch_margins = margins(features.patch_tokens, prototypes, calibration.normal_bias)  # [N, patch, M]
    z_scores = ((patch_margins - calibration.patch_mean) / calibration.patch_std).flatten(1)
    places = z_scores.argmax(1)
    class_terms, patch_terms = score_words(
        features.class_token, patch_margins, prototypes, calibration, memory, top_share
    )
    class_margins = margins(features.class_token, prototypes, calibration.normal_bias)  # [N, M]
    of_class = ((class_margins - calibration.class_mean) / calibration.class_std).argmax(1)
    chosen = of_class if image_score == "class-token" else places % count
    patches = (places // count)[:, None, None].expand(-1, 1, features.patch_tokens.shape[2])
    tokens = features.patch_tokens.gather(1, patches)[:, 0]
    explained = {"prototype": chosen, "state_scores": states.scores(tokens, prototypes)}
    if image_score != "patches":
        explained["class_token_term"] = class_terms
    if image_score != "class-token":
        explained["patches_term"] = patch_terms
    if memory is not None:
        assert features.distances is not None, "the features have no memory-bank distances"
        explained["memory_term"] = memory.image_score(features.distances, top_share)
    return explained
