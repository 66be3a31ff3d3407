"""Trust in the starting words, by two signals: does CLIP know the part by its name, and do its words see a defect?

Knowing the name is not knowing the defect. A name that is not recognised leaves words without a part to speak of: then
the contrastive loss of the images counts. Words that do not react to disturbed views do not tell what is wrong with the
part: then learned prompts may leave them.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from promptad.backbones.clip import Backbone
from promptad.errors import InputError
from promptad.features import SupportFeatures
from promptad.models.multi_prototype.assignment import balancing_bias
from promptad.models.multi_prototype.calibration import calibrate
from promptad.models.multi_prototype.fusion import REACTING, patch_ranks, reaction
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.scoring import score_patches
from promptad.models.multi_prototype.similarities import margins, normal_similarities
from promptad.prompts.prompt_learner import initial_prompt_learner
from promptad.prompts.states import StateGroup, state_groups
from promptad.prompts.zero_shot import RECOGNISED, ZeroShotCheck, check_zero_shot
from promptad.settings import LossWeights, Settings

LEAST_CLOSENESS = 1 / 6  # of its weight: how much words that do not react at all still hold
LIKELIER, LIKELY = 2.0, 0.15  # a rival's name is proposed if it is this many times as probable, and this probable
SLACK = 0.05  # and if its words react no less than by this


@dataclass(frozen=True)
class WordsCheck:
    """What was found of the starting words: recognition of the name, and reaction to disturbed views."""

    zero_shot: ZeroShotCheck
    reaction: float | None = None  # 0 to 1; None if no view was disturbed
    rival_reaction: float | None = None  # of the likeliest other part's words, if the name is not recognised

    @property
    def believed(self) -> float:
        """How far the words are believed, 0 to 1: as they react, and in full if no view was disturbed."""
        return 1.0 if self.reaction is None else self.reaction

    @property
    def proposal(self) -> str:
        """The name of another part that fits better, or an empty text."""
        found = self.zero_shot
        likelier = found.rival_probability >= max(LIKELY, LIKELIER * found.probability)
        if not likelier or self.reaction is None or self.rival_reaction is None:
            return ""
        return found.rival if self.rival_reaction >= self.reaction - SLACK else ""

    def in_words(self) -> str:
        """Return a line for the log: what was found, and what follows."""
        found, recognised = self.zero_shot, self.zero_shot.probability >= RECOGNISED
        line = found.in_words()
        teachers = [] if recognised else ["pictures"]
        if self.reaction is not None:
            hardly = "" if self.reaction >= REACTING else "hardly "
            joint = "and" if recognised == (not hardly) else "but"
            line += f", {joint} its words {hardly}react to disturbed views of them ({self.reaction:.0%})"
            teachers += ["disturbed views"] * bool(hardly)
        line += f": {' and '.join(teachers)} teach the prompts" if teachers else ": prompts keep to words"
        if self.proposal:
            line += f'; called "{self.proposal}" it may do better'
        return line


def check_words(
    backbone: Backbone,
    words: str,
    groups: Sequence[StateGroup],
    start: Prototypes,
    support: SupportFeatures,
    settings: Settings,
) -> WordsCheck:
    """Check the starting words of a part, whose prototypes are `start`."""
    found = check_zero_shot(backbone, words, support.views.class_token)
    if support.disturbed is None:
        return WordsCheck(found)
    of_rival = None
    if found.probability < RECOGNISED:
        if not settings.prompts.states:
            groups = state_groups(found.rival.replace(" ", "_"))
        with suppress(InputError), torch.no_grad():  # the rival's prompts may be too long
            learner = initial_prompt_learner(backbone, found.rival, groups, settings.prompts, settings.training.seed)
            of_rival = reaction_of(Prototypes.from_features(*learner()), support)
    return WordsCheck(found, reaction_of(start, support), of_rival)


@torch.no_grad()
def reaction_of(prototypes: Prototypes, support: SupportFeatures) -> float:
    """Return how much the patches' term of some prototypes reacts to disturbed views, 0 to 1."""
    views, disturbed = support.views, support.disturbed
    assert disturbed is not None, "there are no disturbed views"
    bias = balancing_bias(normal_similarities(views.patch_tokens, prototypes).flatten(0, 1))
    calibration = calibrate(views, prototypes, "prototype", bias)
    of_views, of_disturbed = (
        score_patches(margins(of.patch_tokens, prototypes, bias), calibration) for of in (views, disturbed.images)
    )
    return float(reaction(patch_ranks(of_views, of_disturbed, disturbed.places), doubt=0))


def trust_weighted(weights: LossWeights, name: float, words: float) -> LossWeights:
    """Return the weights of the losses for a trust in the `name` and in the starting `words`, 0 to 1 each.

    If CLIP knows a part, its words separate normal from anomalous better than a few normal images do, and the
    contrastive loss only leads away from them. If they do not react to what is wrong with it, they are worth little
    closeness.
    """
    closeness = (LEAST_CLOSENESS + (1 - LEAST_CLOSENESS) * words) * weights.closeness
    return replace(weights, contrastive=(1 - name) * weights.contrastive, closeness=closeness)
