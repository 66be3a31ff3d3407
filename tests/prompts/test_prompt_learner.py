"""Prompts against plain sentences, and the built-in states."""

import json
from importlib.resources import files

import pytest
import torch
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.errors import InputError
from promptad.prompts.encode import STATE_TEMPLATES, TEMPLATES, encode_states, encode_texts
from promptad.prompts.prompt_learner import PromptLearner, initial_prompt_learner
from promptad.prompts.states import StateGroup, built_in_states, class_words, state_groups, user_states
from promptad.settings import PromptSettings

GROUPS = user_states(("with hole", "with cut", "scratched {}", "broken {}", "with stain", "with thread"))
STATES = json.loads((files("promptad.prompts") / "states.json").read_text(encoding="utf-8"))


def make_prompt_learner(backbone: Backbone, settings: PromptSettings, seed: int = 111) -> PromptLearner:
    return initial_prompt_learner(backbone, "metal nut", GROUPS, settings, seed)


def nudge() -> Tensor:
    """A small step of a context vector, different in each element: layer norms would remove an equal one."""
    return 0.1 * torch.randn(128, generator=torch.Generator().manual_seed(0))


def least_distance(rows: Tensor) -> float:
    """The distance between the two nearest of the rows [N, D]."""
    first, second = torch.triu_indices(len(rows), len(rows), offset=1)
    return float((rows[first] - rows[second]).norm(dim=1).min())


@pytest.mark.parametrize("start", ["random", "words"])
def test_all_pairs_of_contexts_are_distinct_prompts(tiny: Backbone, start: str) -> None:
    with torch.no_grad():
        normal, abnormal = make_prompt_learner(tiny, PromptSettings(n_pro=3, n_pro_ab=6, start=start))()
    assert (normal.shape, abnormal.shape) == ((3, 128), (3, 6, 128))
    assert least_distance(torch.cat([normal, abnormal.flatten(0, 1)])) > 1e-4


def test_a_normal_prompt_is_its_plain_sentence(tiny: Backbone) -> None:
    with torch.no_grad():
        normal, _ = make_prompt_learner(tiny, PromptSettings(n_pro=10, n_pro_ab=1))()
    for number, template in ((0, "a photo of a"), (6, "a photo of one"), (9, "a photo of my")):
        assert TEMPLATES[number] == template
        expected = encode_texts(tiny, [f"{template} metal nut."])[0]
        torch.testing.assert_close(normal[number], expected, rtol=0, atol=1e-5)


def test_a_normal_state_comes_before_the_part_in_normal_prompts_alone(tiny: Backbone) -> None:
    plain, stated = (
        make_prompt_learner(tiny, PromptSettings(n_pro=4, n_pro_ab=2, normal_states=on)) for on in (False, True)
    )
    with torch.no_grad():
        (_, abnormal), (normal, same) = plain(), stated()
    torch.testing.assert_close(same, abnormal, rtol=0, atol=1e-5)
    sentences = ["a photo of a flawless metal nut.", "cropped photo of the perfect metal nut."]
    torch.testing.assert_close(normal[:2], encode_texts(tiny, sentences), rtol=0, atol=1e-5)
    (fourth,) = encode_texts(tiny, ["bright photo of the flawless metal nut."])  # states come in turn
    torch.testing.assert_close(normal[3], fourth, rtol=0, atol=1e-5)


def test_a_context_takes_the_end_of_a_longer_template_and_repeats_a_shorter_one(tiny: Backbone) -> None:
    for length, template in ((4, "cropped photo of the"), (7, "of the a cropped photo of the")):
        learner = make_prompt_learner(tiny, PromptSettings(n_pro=2, n_ctx=length))
        expected = tiny.text_encoder.embed(torch.tensor(tiny.token_ids(template)))
        assert torch.equal(learner.normal_context[1], expected)


def test_an_abnormal_prompt_is_the_plain_sentence_of_its_pair(tiny: Backbone) -> None:
    with torch.no_grad():
        _, abnormal = make_prompt_learner(tiny, PromptSettings(n_pro=2, n_pro_ab=6))()
    for i, template in enumerate(("a photo of a", "cropped photo of the")):
        for j, state in enumerate(("hole", "cut", "scratched", "broken", "stain", "thread")):
            assert len(tiny.token_ids(state)) == 1
            expected = encode_texts(tiny, [f"{template} {state} metal nut."])[0]
            torch.testing.assert_close(abnormal[i, j], expected, rtol=0, atol=1e-5)


def test_longer_abnormal_contexts_are_whole_in_their_prompts(tiny: Backbone) -> None:
    groups = (StateGroup("deep dark hole", ("{} with deep dark hole",)),)
    learner = initial_prompt_learner(tiny, "carpet", groups, PromptSettings(n_pro=1, n_pro_ab=1, n_ctx_ab=3), 111)
    with torch.no_grad():
        normal, abnormal = learner()
    expected = encode_texts(tiny, ["a photo of a carpet.", "a photo of a deep dark hole carpet."])
    torch.testing.assert_close(torch.cat([normal, abnormal[0]]), expected, rtol=0, atol=1e-5)


def test_an_abnormal_context_changes_only_its_own_prompts(tiny: Backbone) -> None:
    learner = make_prompt_learner(tiny, PromptSettings(n_pro=3, n_pro_ab=4))
    with torch.no_grad():
        normal, abnormal = learner()
        learner.abnormal_context[2] += nudge()
        changed_normal, changed_abnormal = learner()
    change = (changed_abnormal - abnormal).norm(dim=2)  # [normal, abnormal]
    torch.testing.assert_close(changed_normal, normal, rtol=0, atol=1e-6)
    assert change[:, [0, 1, 3]].max() < 1e-6
    assert change[:, 2].min() > 1e-3


def test_a_normal_context_changes_only_its_own_prompts(tiny: Backbone) -> None:
    learner = make_prompt_learner(tiny, PromptSettings(n_pro=3, n_pro_ab=4))
    with torch.no_grad():
        before = torch.cat([features.view(3, -1, 128) for features in learner()], 1)  # [normal, 1 + abnormal, D]
        learner.normal_context[1] += nudge()
        after = torch.cat([features.view(3, -1, 128) for features in learner()], 1)
    change = (after - before).norm(dim=2)
    assert change[[0, 2]].max() < 1e-6
    assert change[1].min() > 1e-3


def test_only_context_vectors_are_trainable(tiny: Backbone) -> None:
    learner = make_prompt_learner(tiny, PromptSettings(n_pro=3, n_ctx=4, n_pro_ab=6, n_ctx_ab=2))
    shapes = {name: tuple(parameter.shape) for name, parameter in learner.named_parameters()}
    assert shapes == {"normal_context": (3, 4, 128), "abnormal_context": (6, 2, 128)}


def test_a_random_start_follows_its_seed(tiny: Backbone) -> None:
    settings = PromptSettings(start="random")
    first, again, other = (make_prompt_learner(tiny, settings, seed) for seed in (1, 1, 2))
    assert torch.equal(first.normal_context, again.normal_context)
    assert torch.equal(first.abnormal_context, again.abnormal_context)
    assert not torch.equal(first.normal_context, other.normal_context)
    assert not torch.equal(first.abnormal_context, other.abnormal_context)


@pytest.mark.parametrize(
    ("class_name", "own", "settings"),
    [
        ("carpet", (), PromptSettings(n_pro=3, n_ctx=3)),
        ("carpet", (), PromptSettings(n_pro=11)),
        ("carpet", ("with hole", "with cut"), PromptSettings(n_pro_ab=6)),
        ("carpet", ("with deep hole", "with small hole"), PromptSettings(n_pro_ab=2)),
        ("zipper", (), PromptSettings(n_pro_ab=6)),
    ],
)
def test_initial_context_vectors_differ(
    tiny: Backbone, class_name: str, own: tuple[str, ...], settings: PromptSettings
) -> None:
    learner = initial_prompt_learner(tiny, class_words(class_name), state_groups(class_name, own), settings, 111)
    assert least_distance(learner.normal_context.detach().flatten(1)) > 1e-4
    assert least_distance(learner.abnormal_context.detach().flatten(1)) > 1e-4


def test_a_manual_state_is_the_mean_over_templates(tiny: Backbone) -> None:
    groups = built_in_states("carpet")[:2]
    features = encode_states(tiny, "carpet", groups)
    assert len(features) == 2
    for group, found in zip(groups, features, strict=True):
        assert found.shape == (len(group.phrases), 128)
        for phrase, feature in zip(group.phrases, found, strict=True):
            written = phrase.replace("{}", "carpet")
            mean = torch.zeros(128)
            for template in TEMPLATES[:STATE_TEMPLATES]:
                mean += encode_texts(tiny, [f"{template} {written}."])[0] / STATE_TEMPLATES
            torch.testing.assert_close(feature, mean / mean.norm(), rtol=0, atol=1e-5)


def test_a_state_may_hold_other_braces(tiny: Backbone) -> None:
    (features,) = encode_states(tiny, "carpet", user_states(("with {odd} mark",)))
    mean = encode_texts(tiny, [f"{t} carpet with {{odd}} mark." for t in TEMPLATES[:STATE_TEMPLATES]]).mean(0)
    torch.testing.assert_close(features[0], mean / mean.norm(), rtol=0, atol=1e-5)


def test_sentences_of_many_lengths_are_encoded_as_each_alone(tiny: Backbone) -> None:
    texts = ["a", "a photo of a carpet with hole in the weave.", "a photo"]
    alone = torch.cat([encode_texts(tiny, [text]) for text in texts])
    torch.testing.assert_close(encode_texts(tiny, texts), alone, rtol=0, atol=1e-5)


def test_a_sentence_longer_than_clip_reads_is_refused(tiny: Backbone) -> None:
    assert len(encode_texts(tiny, ["hole " * 75])) == 1
    with pytest.raises(InputError, match=r"prompt 'hole hole .* is longer than CLIP's 77 tokens; shorten it"):
        encode_texts(tiny, ["a", "hole " * 76])


def test_contexts_longer_than_clip_reads_are_refused(tiny: Backbone) -> None:
    with torch.no_grad():  # metal nut . and the two ends are 5 tokens
        assert make_prompt_learner(tiny, PromptSettings(n_pro=1, n_pro_ab=1, n_ctx=71))()[0].isfinite().all()
    with pytest.raises(InputError, match="prompts of 78 tokens exceed CLIP's 77: lower `n_ctx` or `n_ctx_ab`"):
        make_prompt_learner(tiny, PromptSettings(n_pro=1, n_pro_ab=1, n_ctx=72))


def test_user_states_are_groups_of_their_own() -> None:
    assert user_states((" with hole ", "scratched {}", "{} with a deep cut")) == (
        StateGroup("hole", ("{} with hole",)),
        StateGroup("scratched", ("scratched {}",)),
        StateGroup("cut", ("{} with a deep cut",)),
    )


@pytest.mark.parametrize("phrase", ["", "  ", "{}", " {} "])
def test_an_empty_state_is_refused(phrase: str) -> None:
    with pytest.raises(InputError, match=r"`states` 'with hole,.*': a state is empty; write such as \"with hole"):
        user_states(("with hole", phrase))


def test_user_states_replace_the_built_in_ones() -> None:
    assert state_groups("carpet", ("with moth hole",)) == user_states(("with moth hole",))
    assert state_groups("carpet") == built_in_states("carpet")


@pytest.mark.parametrize(
    ("class_name", "words"),
    [
        ("carpet", "carpet"),
        ("metal_nut", "metal nut"),
        ("pcb3", "printed circuit board"),
        ("my_own_part", "my own part"),
    ],
)
def test_a_class_name_becomes_words(class_name: str, words: str) -> None:
    assert class_words(class_name) == words


@pytest.mark.parametrize(("dataset", "class_name"), [("mvtec", "carpet"), ("visa", "cashew")])
def test_a_class_has_its_own_states_before_the_generic_ones(dataset: str, class_name: str) -> None:
    own, generic = STATES[dataset][class_name], STATES["generic"]
    groups = built_in_states(class_name)
    assert own.keys() & generic.keys()
    assert own.keys() - generic.keys()
    assert [group.name for group in groups] == [*own, *(name for name in generic if name not in own)]
    for group in groups:
        assert group.phrases == (*own.get(group.name, ()), *generic.get(group.name, ()))


def test_an_unknown_part_has_the_generic_states() -> None:
    groups = built_in_states("gearbox")
    assert {group.name: list(group.phrases) for group in groups} == STATES["generic"]


@pytest.mark.parametrize("class_name", [*STATES["mvtec"], *STATES["visa"], "gearbox"])
def test_every_built_in_state_has_one_place_for_the_parts_name(class_name: str) -> None:
    phrases = [phrase for group in built_in_states(class_name) for phrase in group.phrases]
    assert {phrase.count("{}") for phrase in phrases} == {1}
    assert len(set(phrases)) == len(phrases)
