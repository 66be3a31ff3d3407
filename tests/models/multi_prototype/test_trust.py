"""Trust in the starting words: recognition, reaction to disturbed views, and what follows for the losses."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from promptad.backbones.clip import Backbone
from promptad.data.demo.writer import draw_good
from promptad.features import SupportFeatures
from promptad.models.multi_prototype.trainer import Trainer
from promptad.models.multi_prototype.trust import LEAST_CLOSENESS, WordsCheck, trust_weighted
from promptad.models.support import encode_support
from promptad.prompts.states import state_groups
from promptad.prompts.zero_shot import ZeroShotCheck
from promptad.settings import LossWeights, PromptSettings, Settings, TrainingSettings

WEIGHTS = LossWeights(contrastive=3.0, closeness=5.0)
KNOWN, UNKNOWN = ZeroShotCheck("carpet", 0.987, "grid", 0.01), ZeroShotCheck("mat", 0.04, "carpet", 0.9)


@pytest.fixture(scope="module")
def zippers(tiny: Backbone) -> SupportFeatures:
    """Features of two good zippers, and of disturbed views of them."""
    images = [Image.fromarray(draw_good("zipper", 7, part)) for part in range(2)]
    return encode_support(tiny, images, Settings())


@pytest.mark.parametrize(("name", "words"), [(1.0, 1.0), (0.0, 0.0), (0.25, 0.5)])
def test_recognition_scales_the_contrastive_weight_and_reaction_the_closeness(name: float, words: float) -> None:
    found = trust_weighted(WEIGHTS, name, words)
    closeness = 5 * (LEAST_CLOSENESS + (1 - LEAST_CLOSENESS) * words)
    assert (found.contrastive, found.closeness) == pytest.approx((3 * (1 - name), closeness))
    assert found == replace(WEIGHTS, contrastive=found.contrastive, closeness=found.closeness)


def trainer(
    backbone: Backbone, words: str, support: SupportFeatures, trust: float | None = None, start: str = "words"
) -> Trainer:
    settings = Settings(prompts=PromptSettings(start=start), training=TrainingSettings(trust=trust))
    return Trainer(backbone, words, state_groups(words), support, settings)


def test_a_trainer_weighs_its_losses_by_what_it_finds(tiny: Backbone, zippers: SupportFeatures) -> None:
    found = trainer(tiny, "zipper", zippers)
    check, usual = found.check, LossWeights()
    assert check is not None
    assert check.zero_shot.probability > 0.9
    assert check.reaction is not None
    assert 0.2 < check.reaction <= 1
    assert found.weights == trust_weighted(usual, check.zero_shot.probability, check.reaction)
    assert check.rival_reaction is None  # the name is recognised
    given = trainer(tiny, "zipper", zippers, trust=0.3)
    assert given.check is None
    assert given.weights == trust_weighted(usual, 0.3, 0.3)
    assert trainer(tiny, "zipper", zippers, start="random").weights.closeness == 0


def test_words_that_see_nothing_react_less(tiny: Backbone, zippers: SupportFeatures) -> None:
    assert zippers.disturbed is not None
    generator = torch.Generator().manual_seed(0)
    share = zippers.disturbed.share
    elsewhere = share[:, torch.randperm(share.shape[1], generator=generator)]  # the mask tells nothing
    blind = replace(zippers, disturbed=replace(zippers.disturbed, share=elsewhere))
    seeing, not_seeing = (trainer(tiny, "zipper", support).check for support in (zippers, blind))
    assert seeing is not None
    assert not_seeing is not None
    assert seeing.reaction is not None
    assert not_seeing.reaction is not None
    assert seeing.reaction > not_seeing.reaction + 0.15


def test_a_name_that_fits_better_is_proposed(tiny: Backbone, zippers: SupportFeatures) -> None:
    check = trainer(tiny, "part", zippers).check
    assert check is not None
    assert check.zero_shot.rival == "zipper"
    assert check.proposal == "zipper"
    assert 'called "zipper" it may do better' in check.in_words()
    assert replace(check, rival_reaction=0.0, reaction=0.5).proposal == ""
    assert replace(check, rival_reaction=None).proposal == ""
    unsure = replace(check.zero_shot, probability=0.2, rival_probability=0.3)
    assert replace(check, zero_shot=unsure).proposal == ""


@pytest.mark.parametrize(
    ("check", "line"),
    [
        (
            WordsCheck(KNOWN, 0.63),
            'CLIP recognises "carpet" in the support images (99%), and its words react to disturbed views of them'
            " (63%): prompts keep to words",
        ),
        (
            WordsCheck(KNOWN, 0.12),
            'CLIP recognises "carpet" in the support images (99%), but its words hardly react to disturbed views of'
            " them (12%): disturbed views teach the prompts",
        ),
        (
            WordsCheck(UNKNOWN, 0.05, 0.5),
            'CLIP does not recognise "mat" in the support images (4%; "carpet": 90%), and its words hardly react to'
            " disturbed views of them (5%): pictures and disturbed views teach the prompts; called"
            ' "carpet" it may do better',
        ),
        (
            WordsCheck(UNKNOWN, 0.6, 0.5),
            'CLIP does not recognise "mat" in the support images (4%; "carpet": 90%), but its words react to disturbed'
            " views of them (60%): pictures teach the prompts",
        ),
        (WordsCheck(KNOWN), 'CLIP recognises "carpet" in the support images (99%): prompts keep to words'),
    ],
)
def test_the_line_says_what_was_found_and_what_follows(check: WordsCheck, line: str) -> None:
    assert check.in_words() == line
