"""The vocabulary: manual states as directions, so that a place that is unusual can be put into words."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from promptad.memory import CalibratedMemory
from promptad.moments import moments
from promptad.prototypes import Prototypes, without_centre
from promptad.records import Explanation, ImageFeatures
from promptad.scoring import Calibration, class_scores, margins

MOST_WORDS = 2  # states that a picture is said to be like


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The manual states, and how far normal patches are from each: some are nearer to all pictures than others."""

    phrases: tuple[str, ...]  # "with hole", "damaged"
    groups: tuple[int, ...]  # which group of one meaning each is in
    directions: Tensor  # [S, D], unit, without the class centre
    mean: Tensor  # [S], of the margins of normal patches
    std: Tensor  # [S]

    @classmethod
    def of(
        cls, groups: Sequence[Sequence[str]], features: Sequence[Tensor], prototypes: Prototypes, support: ImageFeatures
    ) -> "Vocabulary":
        """Calibrate the states, groups of phrases with their text features [phrase, D], on the support patches."""
        directions = without_centre(torch.cat(list(features)), prototypes.centre)
        patches = support.patch_tokens.flatten(0, 1)
        mean, std = moments(state_margins(patches, directions, prototypes))
        numbers = tuple(number for number, group in enumerate(groups) for _ in group)
        phrases = tuple(" ".join(phrase.replace("{}", "").split()) for group in groups for phrase in group)
        return cls(phrases, numbers, directions, mean, std)

    def nearest(self, tokens: Tensor, prototypes: Prototypes) -> list[tuple[str, ...]]:
        """Return for each of the tokens [N, D] the states that it is most like, of as many groups, the likest first."""
        deviations = (state_margins(tokens, self.directions, prototypes) - self.mean) / self.std  # [N, S]
        return [self._first_of_groups(order) for order in deviations.argsort(1, descending=True).tolist()]

    def _first_of_groups(self, order: Sequence[int]) -> tuple[str, ...]:
        best: dict[int, str] = {}
        for number in order:
            best.setdefault(self.groups[number], self.phrases[number])
        return tuple(best.values())[:MOST_WORDS]


def state_margins(tokens: Tensor, directions: Tensor, prototypes: Prototypes) -> Tensor:
    """Return how far the response of tokens [N, D] to each state [S, D] exceeds that to the mean normal: [N, S]."""
    return tokens @ directions.T - (tokens @ prototypes.normal.mean(0))[:, None]


def explain(
    features: ImageFeatures,
    prototypes: Prototypes,
    calibration: Calibration,
    vocabulary: Vocabulary,
    image_score: str,
    memory: CalibratedMemory | None = None,
) -> tuple[Explanation, ...]:
    """Tell why N pictures have their scores.

    The prototype named is the one that answers most at the most unusual place, and that place is put into words; where
    patches take no part in the score, the prototype is the class token's.
    """
    count = len(prototypes.abnormal)
    patch_margins = margins(features.patch_tokens, prototypes, calibration.normal_offsets)  # [N, patch, M]
    deviations = ((patch_margins - calibration.patch_mean) / calibration.patch_std).flatten(1)
    patch_terms, places = deviations.max(1)
    class_margins = margins(features.class_token, prototypes, calibration.normal_offsets)  # [N, M]
    of_class = ((class_margins - calibration.class_mean) / calibration.class_std).argmax(1)
    fired = of_class if image_score == "class-token" else places % count
    tokens = features.patch_tokens[torch.arange(len(places), device=places.device), places // count]
    nobody = [None] * len(places)
    terms = zip(
        fired.tolist(),
        vocabulary.nearest(tokens, prototypes),
        nobody if image_score == "patches" else class_scores(features.class_token, prototypes, calibration).tolist(),
        nobody if image_score == "class-token" else patch_terms.tolist(),
        nobody if memory is None or features.distances is None else memory.image_term(features.distances).tolist(),
        strict=True,
    )
    return tuple(Explanation(1 + number, *rest) for number, *rest in terms)
