"""Names of prototypes: the words nearest to each in text space, for readers who would otherwise see numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.models.multi_prototype.explain import StateDirections
from promptad.models.multi_prototype.prototypes import Prototypes, project_out
from promptad.prompts.encode import TEMPLATES, encode_texts
from promptad.prompts.states import NORMAL_STATES, class_words
from promptad.runtime.postprocess import nearest_states


@dataclass(frozen=True)
class PrototypeName:
    """The words nearest to a prototype."""

    words: tuple[str, ...]  # the nearest first
    cosine: float  # of the nearest words to the prototype, the mean direction projected out of both

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        return {"words": list(self.words), "cosine": self.cosine}


def abnormal_names(prototypes: Prototypes, states: StateDirections) -> tuple[PrototypeName, ...]:
    """Return for each abnormal prototype the nearest states, built-in or the user's, of two meanings."""
    return _names(prototypes.abnormal @ states.directions.T, states.phrases, states.groups)


def normal_names(backbone: Backbone, class_name: str, prototypes: Prototypes) -> tuple[PrototypeName, ...]:
    """Return for each normal prototype the nearest of the templates, with the part's name, and of the normal states."""
    part = class_words(class_name)
    phrases = [f"{template} {part}" for template in TEMPLATES] + [f"a {state} {part}" for state in NORMAL_STATES]
    directions = project_out(encode_texts(backbone, [f"{phrase}." for phrase in phrases]), prototypes.mean_direction)
    return _names(prototypes.normal @ directions.T, phrases, [0] * len(phrases))


def _names(cosines: Tensor, phrases: Sequence[str], groups: Sequence[int]) -> tuple[PrototypeName, ...]:
    """Return a name for each row of cosines [K, phrase]: the nearest phrase of each group, of at most two groups."""
    with torch.no_grad():
        rows = cosines.cpu().numpy()
    return tuple(PrototypeName(nearest_states(row, phrases, groups), float(row.max())) for row in rows)
