"""The states nearest to the most unusual patch, and the terms of a score."""

import pytest
import torch
from random_parts import PATCHES, make_prototypes, make_support, random_units

from promptad.features import ImageFeatures
from promptad.models.memory_bank import CalibratedMemory, MemoryBank
from promptad.models.multi_prototype.calibration import calibrate
from promptad.models.multi_prototype.explain import StateDirections, explain, state_margins
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.scoring import score_features
from promptad.runtime.postprocess import TERMS, nearest_states
from promptad.settings import ScoringSettings

GROUPS = [["{} with hole", "punctured {}"], ["{}  with scratch"], ["dirty {}"]]
POSITION = ScoringSettings(calibration="position")


def make_states(prototypes: Prototypes, support: ImageFeatures) -> StateDirections:
    features = [random_units(len(group), seed=20 + number) for number, group in enumerate(GROUPS)]
    return StateDirections.calibrated(GROUPS, features, prototypes, support)


def test_phrases_are_words_without_the_part() -> None:
    states = make_states(make_prototypes(), make_support())
    assert states.phrases == ("with hole", "punctured", "with scratch", "dirty")
    assert states.groups == (0, 0, 1, 2)


def test_the_nearest_states_are_the_one_pointed_to_and_one_of_another_group() -> None:
    prototypes, support = make_prototypes(), make_support()
    states = make_states(prototypes, support)
    for number, phrase in enumerate(states.phrases):
        (scores,) = states.scores(states.directions[number : number + 1], prototypes).numpy()
        first, second = nearest_states(scores, states.phrases, states.groups)
        assert first == phrase
        groups = [states.groups[states.phrases.index(name)] for name in (first, second)]
        assert groups[0] != groups[1]


def test_states_are_calibrated_on_normal_patches() -> None:
    prototypes, support = make_prototypes(), make_support()
    states = make_states(prototypes, support)
    patches = support.patch_tokens.flatten(0, 1)
    z_scores = (state_margins(patches, states.directions, prototypes) - states.mean) / states.std
    torch.testing.assert_close(z_scores.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(z_scores.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("image_score", ["both", "class-token", "patches"])
@pytest.mark.parametrize("with_memory", [False, True])
def test_the_terms_add_up_to_the_raw_score(image_score: str, with_memory: bool) -> None:
    support, prototypes = make_support(), make_prototypes()
    assert support.distances is not None
    bank = MemoryBank((torch.empty(0, 1),), torch.ones(1))
    memory = CalibratedMemory.calibrated(bank, support.distances, POSITION) if with_memory else None
    calibration = calibrate(support, prototypes, "prototype")
    raw = score_features(support, prototypes, calibration, memory, image_score).image
    states = make_states(prototypes, support)
    explained = explain(support, prototypes, calibration, states, image_score, memory)
    terms = [explained[name] for name in TERMS if name in explained]
    assert ("class_token_term" in explained) == (image_score != "patches")
    assert ("patches_term" in explained) == (image_score != "class-token")
    assert ("memory_term" in explained) == with_memory
    torch.testing.assert_close(torch.stack(terms).sum(0), raw, rtol=0, atol=1e-3)


def test_the_prototype_with_the_highest_z_score_is_named() -> None:
    support, prototypes = make_support(), make_prototypes()
    calibration, states = calibrate(support, prototypes, "prototype"), make_states(prototypes, support)
    for number, direction in enumerate(prototypes.abnormal):
        patches = support.patch_tokens[:1].clone()
        patches[0, PATCHES // 2] = 3 * direction
        seen = ImageFeatures(support.class_token[:1], patches)
        assert explain(seen, prototypes, calibration, states, "both")["prototype"].tolist() == [number]
