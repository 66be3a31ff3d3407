"""Zero-shot classification: whether CLIP recognises the support images by name, and its effect on training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import LIGHT, TINY, Own, call
from PIL import Image

from promptad.backbones.clip import Backbone
from promptad.data.demo.writer import draw_good
from promptad.features import ImageFeatures, SupportFeatures
from promptad.models.multi_prototype.trainer import Trainer
from promptad.prompts.states import known_parts, user_states
from promptad.prompts.zero_shot import ZeroShotCheck, check_zero_shot, rivals
from promptad.settings import LossWeights, PromptSettings, Settings, TrainingSettings


@pytest.fixture(scope="module")
def zippers(tiny: Backbone) -> ImageFeatures:
    """Features of two good zippers."""
    images = [Image.fromarray(draw_good("zipper", 7, part)) for part in range(2)]
    return tiny.encode_images(images, 2)


def test_a_part_is_recognised_by_its_name_alone(tiny: Backbone, zippers: ImageFeatures) -> None:
    named = check_zero_shot(tiny, "zipper", zippers.class_token)
    assert named.probability > 0.9
    assert named.rival != "zipper"
    assert "recognises" in named.in_words()
    for words in ("part", "carpet"):
        other = check_zero_shot(tiny, words, zippers.class_token)
        assert other.probability < 0.1
        assert other.rival == "zipper"
        assert other.rival_probability > 0.9
        assert '"zipper"' in other.in_words()
        assert f'not recognise "{words}"' in other.in_words()


def test_the_probability_is_a_mean_over_images_at_clips_temperature(tiny: Backbone, zippers: ImageFeatures) -> None:
    both = check_zero_shot(tiny, "part", zippers.class_token)
    each = [check_zero_shot(tiny, "part", token[None]) for token in zippers.class_token]
    assert both.probability == pytest.approx(sum(one.probability for one in each) / 2, abs=1e-6)
    cool = check_zero_shot(replace(tiny, temperature=0.001), "zipper", zippers.class_token)
    assert cool.probability == pytest.approx(1 / (1 + len(rivals("zipper"))), rel=0.01)


def test_names_that_overlap_are_no_rivals() -> None:
    assert len(known_parts()) == len(set(known_parts()))
    assert {"capsule", "capsules", "fryum", "pipe fryum"} < set(known_parts())
    assert not {"capsule", "capsules"} & set(rivals("Capsule"))
    assert not {"fryum", "pipe fryum"} & set(rivals("fryum"))
    assert set(known_parts()) - set(rivals("dark wood")) == {"wood"}
    assert rivals("bracket") == known_parts()


def test_the_line_shows_probabilities_in_percent() -> None:
    known = ZeroShotCheck("carpet", 0.987, "grid", 0.01)
    assert '"carpet"' in known.in_words()
    assert "99%" in known.in_words()


def weights_of(
    backbone: Backbone, words: str, support: ImageFeatures, start: str = "words", trust: float | None = None
) -> LossWeights:
    training = TrainingSettings(trust=trust, weights=LossWeights(reaction=0.0))
    settings = Settings(prompts=PromptSettings(start=start), training=training)
    groups = user_states(("with hole", "with cut"))
    return Trainer(backbone, words, groups, SupportFeatures(support), settings).weights


def test_a_trainer_trusts_words_as_far_as_the_part_is_recognised(tiny: Backbone, zippers: ImageFeatures) -> None:
    usual = LossWeights()
    assert weights_of(tiny, "zipper", zippers).contrastive < 0.1 * usual.contrastive
    assert weights_of(tiny, "part", zippers).contrastive > 0.9 * usual.contrastive
    random = weights_of(tiny, "zipper", zippers, start="random")
    assert (random.contrastive, random.closeness) == (usual.contrastive, 0)  # no start that is worth staying close to
    assert weights_of(tiny, "part", zippers, trust=1.0).contrastive == 0
    assert weights_of(tiny, "zipper", zippers, trust=0.0).contrastive == usual.contrastive


def test_recognition_does_not_depend_on_the_order_of_images(tiny: Backbone, zippers: ImageFeatures) -> None:
    turned = replace(zippers, class_token=zippers.class_token.flip(0))
    one, two = (check_zero_shot(tiny, "zipper", features.class_token) for features in (zippers, turned))
    assert one.probability == pytest.approx(two.probability, abs=1e-6)
    assert not torch.equal(zippers.class_token[0], zippers.class_token[1])


def test_the_log_reports_whether_the_part_is_recognised(own: Own, tmp_path: Path) -> None:
    for name, found in (("carpet", 'recognises "carpet"'), ("part", 'not recognise "part"')):
        outcome = call("train", "--good", own.good, "--name", name, "--root-dir", tmp_path, *TINY, *LIGHT)
        assert outcome.code == 0, outcome.errors
        assert found in outcome.output.replace("\n", " ")
