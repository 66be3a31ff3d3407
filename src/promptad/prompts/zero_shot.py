"""Does CLIP know the part by its name? The zero-shot class probability of the support images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.prompts.encode import encode_phrases
from promptad.prompts.states import known_parts

RECOGNISED = 0.5  # probability from which the log reports a part as recognised


@dataclass(frozen=True)
class ZeroShotCheck:
    """The zero-shot classification of images: the named part, or another."""

    words: str  # the name of the part
    probability: float  # 0 to 1, of this name
    rival: str  # the most probable other part
    rival_probability: float

    def in_words(self) -> str:
        """Return the result, as the beginning of a line for the log."""
        if self.probability >= RECOGNISED:
            return f'CLIP recognises "{self.words}" in the support images ({self.probability:.0%})'
        return (
            f'CLIP does not recognise "{self.words}" in the support images ({self.probability:.0%}; "{self.rival}":'
            f" {self.rival_probability:.0%})"
        )


@torch.no_grad()
def check_zero_shot(backbone: Backbone, words: str, class_token: Tensor) -> ZeroShotCheck:
    """Classify images by their class tokens [N, D], as CLIP does without training (Radford et al., 2021).

    The choice is between `words` and the parts with built-in states, except those whose names overlap with them:
    "capsules" is not a rival of "capsule". The probability is the mean over the images.
    """
    names = [words, *rivals(words)]
    texts = encode_phrases(backbone, names)  # [name, D]
    probabilities = torch.softmax(backbone.temperature * class_token @ texts.T, 1).mean(0)
    likeliest = int(probabilities[1:].argmax())
    return ZeroShotCheck(words, float(probabilities[0]), names[1 + likeliest], float(probabilities[1 + likeliest]))


def rivals(words: str) -> tuple[str, ...]:
    """Return the names of known parts that do not overlap with these words.

    >>> "screw" in rivals("capsule"), "capsules" in rivals("capsule"), "wood" in rivals("pine wood")
    (True, False, False)
    """
    own = words.lower()
    return tuple(name for name in known_parts() if name not in own and own not in name)
