"""The words for what is unusual, and the terms of a score."""

import pytest
import torch
from test_decision import PATCHES, SETTINGS, make_prototypes, make_support, random_units

from promptad.memory import CalibratedMemory, MemoryBank
from promptad.prototypes import Prototypes
from promptad.records import ImageFeatures
from promptad.scoring import calibrate, score_features
from promptad.vocabulary import Vocabulary, explain, state_margins

GROUPS = [["{} with hole", "punctured {}"], ["{}  with scratch"], ["dirty {}"]]


def make_vocabulary(prototypes: Prototypes, support: ImageFeatures) -> Vocabulary:
    features = [random_units(len(group), seed=20 + number) for number, group in enumerate(GROUPS)]
    return Vocabulary.of(GROUPS, features, prototypes, support)


def test_phrases_are_words_without_the_part() -> None:
    vocabulary = make_vocabulary(make_prototypes(), make_support())
    assert vocabulary.phrases == ("with hole", "punctured", "with scratch", "dirty")
    assert vocabulary.groups == (0, 0, 1, 2)


def test_a_place_is_most_like_the_state_it_points_to_and_one_of_another_group() -> None:
    prototypes, support = make_prototypes(), make_support()
    vocabulary = make_vocabulary(prototypes, support)
    for number, phrase in enumerate(vocabulary.phrases):
        ((first, second),) = vocabulary.nearest(vocabulary.directions[number : number + 1], prototypes)
        assert first == phrase
        groups = [vocabulary.groups[vocabulary.phrases.index(name)] for name in (first, second)]
        assert groups[0] != groups[1]


def test_states_count_in_deviations_of_normal_patches() -> None:
    prototypes, support = make_prototypes(), make_support()
    vocabulary = make_vocabulary(prototypes, support)
    patches = support.patch_tokens.flatten(0, 1)
    deviations = (state_margins(patches, vocabulary.directions, prototypes) - vocabulary.mean) / vocabulary.std
    torch.testing.assert_close(deviations.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(deviations.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("image_score", ["both", "class-token", "patches"])
@pytest.mark.parametrize("with_memory", [False, True])
def test_the_terms_add_up_to_the_raw_score(image_score: str, with_memory: bool) -> None:
    support, prototypes = make_support(), make_prototypes()
    assert support.distances is not None
    bank = MemoryBank(torch.empty(0, 1), torch.empty(0, 1))
    memory = CalibratedMemory.calibrated(bank, support.distances, "position") if with_memory else None
    calibration = calibrate(support, prototypes, SETTINGS, memory)
    raw = score_features(support, prototypes, calibration, memory, image_score).image
    vocabulary = make_vocabulary(prototypes, support)
    explanations = explain(support, prototypes, calibration, vocabulary, image_score, memory)
    for explanation, expected in zip(explanations, raw.tolist(), strict=True):
        terms = (explanation.class_token, explanation.patches, explanation.memory)
        assert [term is not None for term in terms] == [
            image_score != "patches",
            image_score != "class-token",
            with_memory,
        ]
        assert sum(term for term in terms if term is not None) == pytest.approx(expected, abs=1e-3)


def test_the_prototype_that_answers_most_is_named() -> None:
    support, prototypes = make_support(), make_prototypes()
    calibration, vocabulary = calibrate(support, prototypes, SETTINGS), make_vocabulary(prototypes, support)
    for number, direction in enumerate(prototypes.abnormal):
        patches = support.patch_tokens[:1].clone()
        patches[0, PATCHES // 2] = 3 * direction
        seen = ImageFeatures(support.class_token[:1], patches)
        (explanation,) = explain(seen, prototypes, calibration, vocabulary, "both")
        assert explanation.prototype == number + 1
