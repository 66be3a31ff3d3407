"""Recognition: how surely CLIP takes pictures for the part that the prompts name."""

from dataclasses import dataclass

import torch
from torch import Tensor

from promptad.backbone.clip import Backbone
from promptad.prompts.contexts import encode_phrases
from promptad.prompts.states import known_parts

RECOGNISED = 0.5  # the share from which a part is said to be recognised


@dataclass(frozen=True)
class Recognition:
    """What CLIP takes pictures for: the part that they are called, or another."""

    words: str  # what they are called
    share: float  # 0 to 1, of the probability that goes to these words
    rival: str  # the likeliest other part
    rival_share: float

    def in_words(self) -> str:
        """Return a line for the log: what it found, and what follows from it."""
        if self.share >= RECOGNISED:
            return f'CLIP recognises "{self.words}" in the support images ({self.share:.0%}): prompts keep to words'
        return (
            f'CLIP does not recognise "{self.words}" in the support images ({self.share:.0%}; "{self.rival}":'
            f" {self.rival_share:.0%}): the pictures teach the prompts; try a plainer name if there is one"
        )


@torch.no_grad()
def recognise(backbone: Backbone, words: str, class_token: Tensor) -> Recognition:
    """Classify pictures by their class tokens [N, D], as CLIP does without training (Radford et al., 2021).

    The choice is between `words` and the parts that states are written for, but those whose names overlap with them:
    "capsules" are no rival of a "capsule". The share is the mean probability over the pictures.
    """
    names = [words, *rivals(words)]
    texts = encode_phrases(backbone, names)  # [name, D]
    shares = torch.softmax(backbone.temperature * class_token @ texts.T, 1).mean(0)
    likeliest = int(shares[1:].argmax())
    return Recognition(words, float(shares[0]), names[1 + likeliest], float(shares[1 + likeliest]))


def rivals(words: str) -> tuple[str, ...]:
    """Return the names of known parts that do not overlap with these words.

    >>> "screw" in rivals("capsule"), "capsules" in rivals("capsule"), "wood" in rivals("pine wood")
    (True, False, False)
    """
    own = words.lower()
    return tuple(name for name in known_parts() if name not in own and own not in name)
