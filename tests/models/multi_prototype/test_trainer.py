"""Training on the backbone `tiny`: what is trained, on what, and the effect of each loss."""

import inspect
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.backbones.frozen_clip import clip_of
from promptad.features import DisturbedFeatures, ImageFeatures, SupportFeatures
from promptad.models import losses
from promptad.models.multi_prototype.assignment import balanced_assignment, balancing_bias, similarity_std
from promptad.models.multi_prototype.objective import (
    CLASS_SHARE,
    REPULSION_LIMIT,
    SHARPNESS,
    TrainInputs,
    group_means,
    total_loss,
)
from promptad.models.multi_prototype.objective import LOSSES as REGISTERED
from promptad.models.multi_prototype.prototypes import Prototypes, project_out
from promptad.models.multi_prototype.similarities import margins
from promptad.models.multi_prototype.trainer import Trainer, run_epochs
from promptad.models.multi_prototype.trust import reaction_of
from promptad.prompts.encode import encode_states
from promptad.prompts.states import user_states
from promptad.settings import LossWeights, PromptSettings, Settings, TrainingSettings

GROUPS = user_states(("with hole", "with cut", "broken {}", "with stain", "with thread", "with scratch"))
LOSSES = tuple(field.name for field in fields(LossWeights))
OFF = LossWeights(**dict.fromkeys(LOSSES, 0.0))


@pytest.fixture(scope="module")
def support(tiny: Backbone) -> SupportFeatures:
    """Features of two images of noise, and of both with a black half; the patches are thinned out to 16 an image."""
    pixels = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    black = pixels.clone()
    black[:, :, :56] = -2
    plain, disturbed = (thinned(tiny.image_encoder.encode(images)) for images in (pixels, black))
    share = (torch.arange(196)[::13] < 98).float().expand(2, 16)
    return SupportFeatures(plain, disturbed=DisturbedFeatures(disturbed, share))


def thinned(features: ImageFeatures) -> ImageFeatures:
    return replace(features, patch_tokens=features.patch_tokens[:, ::13])


def make_settings(
    epochs: int = 3,
    weights: LossWeights | None = None,
    prompts: PromptSettings | None = None,
    weight_decay: float = 0.0005,
    seed: int = 111,
) -> Settings:
    training = TrainingSettings(epochs=epochs, weights=weights or LossWeights(), weight_decay=weight_decay, seed=seed)
    return Settings(prompts=prompts or PromptSettings(), training=training)


class Epoch(NamedTuple):
    """The state of a trainer after an epoch."""

    number: int
    loss: float
    prototypes: Prototypes


def epoch_of(trainer: Trainer) -> Epoch:
    return Epoch(trainer.epoch, float(trainer.loss.detach()), trainer.prototypes.detach())


def run(backbone: Backbone, support: SupportFeatures, settings: Settings) -> list[Epoch]:
    trainer = Trainer(backbone, "carpet", GROUPS, support, settings)
    return [epoch_of(trainer) for _ in run_epochs([trainer])]


def random_units(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)


def make_inputs() -> TrainInputs:
    """Inputs of 2 class tokens and 12 patch tokens, three groups of states and other starting words."""
    features = random_units(14, seed=1)
    states = (random_units(3, seed=2), random_units(1, seed=3), random_units(2, seed=4))
    start = Prototypes.from_features(random_units(2, seed=5), random_units(2, 4, seed=6))
    seen = ImageFeatures(random_units(4, seed=9), random_units(4, 6, seed=10))
    places = torch.zeros(4, 6)
    places[0, 1:3] = places[1, 4] = places[3, 5] = 1
    return TrainInputs(features, features[2:], 2, states, start, 10.0, DisturbedFeatures(seen, places))


def make_prototypes() -> Prototypes:
    return Prototypes.from_features(random_units(2, seed=7), random_units(2, 4, seed=8))


def each_loss(prototypes: Prototypes, inputs: TrainInputs) -> dict[str, Tensor]:
    """The losses by name, written out from the inputs and the prototypes."""
    normal, abnormal = prototypes.normal, prototypes.abnormal
    first, second, third = (project_out(group, prototypes.mean_direction) for group in inputs.state_groups)
    states = torch.cat([first, second, third])
    similarities = inputs.centred_per_image(inputs.patch_tokens @ normal.T)
    to_normal = torch.cat([inputs.features[:2] @ normal.T, similarities])
    shares = balanced_assignment(to_normal, balancing_bias(similarities), similarity_std(similarities))
    negatives = torch.cat([abnormal, states])
    goals = torch.stack([group.mean(0) for group in (first, second, third, first)])
    starts = torch.cat([inputs.start.normal, inputs.start.abnormal])
    return {
        "contrastive": torch.stack(
            [
                losses.contrastive_loss(to_normal[kind], inputs.features[kind] @ negatives.T, shares[kind], 10.0)
                for kind in (slice(0, 2), slice(2, 14))  # class tokens, patch tokens
            ]
        ).sum(),
        "margin": losses.margin_loss(to_normal, inputs.features @ abnormal.T, shares),
        "matching": losses.matching_loss(abnormal, states),
        "grouping": losses.grouping_loss(abnormal, goals),
        "balance": losses.balance_loss(similarities, shares[2:], similarity_std(similarities)),
        "repulsion": losses.repulsion_loss(abnormal, REPULSION_LIMIT),
        "closeness": losses.closeness_loss(torch.cat([normal, abnormal]), starts),
        "reaction": reaction_loss(prototypes, inputs, balancing_bias(similarities)),
    }


def reaction_loss(prototypes: Prototypes, inputs: TrainInputs, bias: Tensor) -> Tensor:
    """How little disturbed patches and class tokens exceed the same ones before, written with loops."""
    assert inputs.disturbed is not None
    seen, before = inputs.disturbed.images, inputs.features
    known = {
        "class": margins(before[:2], prototypes, bias),
        "patch": margins(before[2:].view(2, 6, -1), prototypes, bias).flatten(0, 1),
    }

    def score(kind: str, margin: Tensor) -> Tensor:
        z_scores = (margin - known[kind].mean(0)) / known[kind].std(0, correction=0)
        return torch.logsumexp(SHARPNESS * z_scores, 0) / SHARPNESS

    of_patches, of_class = margins(seen.patch_tokens, prototypes, bias), margins(seen.class_token, prototypes, bias)
    patches = [
        F.softplus(score("patch", known["patch"][6 * (view % 2) + patch]) - score("patch", of_patches[view, patch]))
        for view, patch in ((0, 1), (0, 2), (1, 4), (3, 5))
    ]
    tokens = [F.softplus(score("class", known["class"][n % 2]) - score("class", of_class[n])) for n in range(4)]
    return torch.stack(patches).mean() + CLASS_SHARE * torch.stack(tokens).mean()


def same(first: Prototypes, second: Prototypes) -> bool:
    return all(torch.equal(value, getattr(second, name)) for name, value in vars(first).items())


def test_epoch_0_is_the_start_and_every_epoch_is_yielded(tiny: Backbone, support: SupportFeatures) -> None:
    epochs = run(tiny, support, make_settings(epochs=3))
    alone = run(tiny, support, make_settings(epochs=0))
    assert [epoch.number for epoch in epochs] == [0, 1, 2, 3]
    assert [epoch.number for epoch in alone] == [0]
    assert same(epochs[0].prototypes, alone[0].prototypes)
    assert epochs[1].loss != epochs[0].loss
    assert not any(same(before.prototypes, after.prototypes) for before, after in pairwise(epochs))


def test_prototypes_have_the_shapes_of_the_settings_and_no_gradient(tiny: Backbone, support: SupportFeatures) -> None:
    for settings, shapes in (
        (PromptSettings(), ((3, 128), (6, 128))),
        (PromptSettings(n_pro=1, n_pro_ab=4), ((1, 128), (4, 128))),
        (PromptSettings(n_pro=1, n_pro_ab=1), ((1, 128), (1, 128))),
    ):
        for epoch in run(tiny, support, make_settings(epochs=2, prompts=settings)):
            found = epoch.prototypes
            assert (found.normal.shape, found.abnormal.shape) == shapes
            assert all(value.isfinite().all() and not value.requires_grad for value in vars(found).values())


@pytest.mark.parametrize("start", ["words", "random"])
def test_the_loss_falls(tiny: Backbone, support: SupportFeatures, start: str) -> None:
    epochs = run(tiny, support, make_settings(epochs=10, prompts=PromptSettings(start=start)))
    assert epochs[-1].loss < epochs[0].loss - 0.01


def test_no_weight_of_the_backbone_changes(tiny: Backbone, support: SupportFeatures) -> None:
    before = {name: value.clone() for name, value in clip_of(tiny).state_dict().items()}
    run(tiny, support, make_settings(epochs=2))
    for name, value in clip_of(tiny).state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in clip_of(tiny).parameters())


def test_the_same_seed_gives_the_same_prototypes_to_the_bit(tiny: Backbone, support: SupportFeatures) -> None:
    prompts = PromptSettings(start="random")
    first, again, other = (
        run(tiny, support, make_settings(epochs=2, prompts=prompts, seed=seed))[-1] for seed in (1, 1, 2)
    )
    assert same(first.prototypes, again.prototypes)
    assert first.loss == again.loss
    assert not same(first.prototypes, other.prototypes)


def test_training_leaves_the_global_seed_alone(tiny: Backbone, support: SupportFeatures) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    run(tiny, support, make_settings(epochs=1, prompts=PromptSettings(start="random")))
    assert torch.equal(torch.rand(4), expected)


def test_with_every_loss_off_and_no_decay_the_prototypes_stay(tiny: Backbone, support: SupportFeatures) -> None:
    epochs = run(tiny, support, make_settings(epochs=3, weights=OFF, weight_decay=0.0))
    assert [epoch.loss for epoch in epochs] == [0, 0, 0, 0]
    assert same(epochs[0].prototypes, epochs[-1].prototypes)


def test_with_every_loss_off_only_decay_moves_the_prototypes(tiny: Backbone, support: SupportFeatures) -> None:
    epochs = run(tiny, support, make_settings(epochs=3, weights=OFF, weight_decay=0.5))
    assert not same(epochs[0].prototypes, epochs[-1].prototypes)
    torch.testing.assert_close(epochs[-1].prototypes.normal, epochs[0].prototypes.normal, rtol=0, atol=0.05)


def test_a_larger_closeness_weight_keeps_prototypes_nearer_to_their_start(
    tiny: Backbone, support: SupportFeatures
) -> None:
    ways = []
    for closeness in (0.0, 100.0):
        epochs = run(tiny, support, make_settings(epochs=20, weights=LossWeights(closeness=closeness)))
        ways.append(float((epochs[-1].prototypes.abnormal - epochs[0].prototypes.abnormal).norm()))
    assert ways[1] < 0.7 * ways[0]


@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_of_0_switches_only_its_loss_off(name: str) -> None:
    prototypes, inputs = make_prototypes(), make_inputs()
    heavy = LossWeights(**dict.fromkeys(LOSSES, 2.5))
    bias = balancing_bias(inputs.centred_per_image(inputs.patch_tokens @ prototypes.normal.T))
    without = total_loss(prototypes, inputs, replace(heavy, **{name: 0.0}), bias)
    difference = total_loss(prototypes, inputs, heavy, bias) - without
    loss = each_loss(prototypes, inputs)[name]
    assert loss > 0
    torch.testing.assert_close(difference, 2.5 * loss, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_reaches_the_text_features(name: str) -> None:
    normal, pairs = random_units(2, seed=7).requires_grad_(), random_units(2, 4, seed=8).requires_grad_()
    prototypes = Prototypes.from_features(normal, pairs)
    bias = torch.tensor([0.01, -0.01])
    total_loss(prototypes, make_inputs(), replace(OFF, **{name: 1.0}), bias).backward()  # type: ignore[no-untyped-call]
    for leaf in (normal, pairs):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().max() > 1e-4


def test_training_on_disturbed_views_makes_their_patches_stand_out(tiny: Backbone, support: SupportFeatures) -> None:
    rises = []
    for weight in (0.0, 10.0):
        epochs = run(tiny, support, make_settings(epochs=30, weights=replace(OFF, reaction=weight)))
        rises.append(reaction_of(epochs[-1].prototypes, support) - reaction_of(epochs[0].prototypes, support))
    assert rises[1] > rises[0] + 0.05


def test_every_weight_has_its_loss() -> None:
    assert REGISTERED.keys() == set(LOSSES)


def test_no_gradient_flows_through_the_assignment() -> None:
    prototypes, inputs = make_prototypes(), make_inputs()
    normal = prototypes.normal.clone().requires_grad_()
    similarities = inputs.centred_per_image(inputs.patch_tokens @ prototypes.normal.T)
    bias = balancing_bias(similarities)
    total_loss(replace(prototypes, normal=normal), inputs, replace(OFF, margin=1.0), bias).backward()  # type: ignore[no-untyped-call]
    to_normal = torch.cat([inputs.features[:2] @ prototypes.normal.T, similarities])
    shares = balanced_assignment(to_normal, bias, similarity_std(similarities))
    fixed = prototypes.normal.clone().requires_grad_()
    to_abnormal = inputs.features @ prototypes.abnormal.T
    to_fixed = torch.cat([inputs.features[:2] @ fixed.T, inputs.centred_per_image(inputs.patch_tokens @ fixed.T)])
    losses.margin_loss(to_fixed, to_abnormal, shares).backward()  # type: ignore[no-untyped-call]
    assert normal.grad is not None
    assert fixed.grad is not None
    torch.testing.assert_close(normal.grad, fixed.grad, rtol=0, atol=1e-6)


def test_groups_of_states_are_dealt_out_in_turn() -> None:
    groups = [torch.tensor([[float(number)]]) for number in (1, 2, 3, 4, 5)]
    assert group_means(groups, 2).tolist() == [[(1 + 3 + 5) / 3], [(2 + 4) / 2]]
    assert group_means(groups, 5).tolist() == [[1], [2], [3], [4], [5]]
    assert group_means(groups, 1).tolist() == [[3]]


def test_more_prototypes_than_groups_share_them() -> None:
    groups = [torch.tensor([[1.0], [3.0]]), torch.tensor([[7.0]])]
    assert group_means(groups, 5).tolist() == [[2], [7], [2], [7], [2]]


def test_every_phrase_of_a_prototypes_groups_has_equal_weight() -> None:
    groups = [torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[0.0]]), torch.tensor([[10.0]])]
    assert group_means(groups, 2).tolist() == [[4], [0]]


def test_the_manual_states_of_the_inputs_are_those_of_the_class(tiny: Backbone, support: SupportFeatures) -> None:
    weights = replace(OFF, matching=1.0)
    (start,) = run(tiny, support, make_settings(epochs=0, weights=weights))
    states = torch.cat(
        [project_out(group, start.prototypes.mean_direction) for group in encode_states(tiny, "carpet", GROUPS)]
    )
    assert start.loss == pytest.approx(float(losses.matching_loss(start.prototypes.abnormal, states)), rel=1e-4)


def test_class_tokens_and_patch_tokens_both_change_the_loss(tiny: Backbone, support: SupportFeatures) -> None:
    (plain,) = run(tiny, support, make_settings(epochs=0))
    for name in ("class_token", "patch_tokens"):
        turned = replace(support, views=replace(support.views, **{name: -getattr(support.views, name)}))
        (start,) = run(tiny, turned, make_settings(epochs=0))
        assert abs(start.loss - plain.loss) > 1e-3


def test_classes_trained_side_by_side_equal_those_trained_alone(tiny: Backbone, support: SupportFeatures) -> None:
    views = replace(support.views, patch_tokens=support.views.patch_tokens.roll(1, 0))
    turned = replace(support, views=views)
    other = PromptSettings(n_pro=2, n_pro_ab=4, n_ctx_ab=2)
    given = [
        ("carpet", support, make_settings(epochs=20)),
        ("metal nut", turned, make_settings(epochs=20, prompts=other)),
        ("pill", support, make_settings(epochs=20, seed=5)),
    ]

    def trainer(words: str, features: SupportFeatures, settings: Settings) -> Trainer:
        return Trainer(tiny, words, GROUPS, features, settings)

    together = [trainer(*own) for own in given]
    assert list(run_epochs(together)) == list(range(21))
    for epoch, own in zip(map(epoch_of, together), given, strict=True):
        single = trainer(*own)
        assert list(run_epochs([single])) == list(range(21))
        alone = epoch_of(single)
        assert epoch.number == alone.number == 20
        assert epoch.loss == pytest.approx(alone.loss, abs=1e-4)
        for name in ("normal", "abnormal", "mean_direction"):
            one, two = getattr(epoch.prototypes, name), getattr(alone.prototypes, name)
            torch.testing.assert_close(one, two, rtol=0, atol=1e-4)


def test_training_has_no_argument_for_a_test_split() -> None:
    assert list(inspect.signature(Trainer).parameters) == ["backbone", "words", "groups", "support", "settings"]
    assert list(inspect.signature(run_epochs).parameters) == ["trainers"]
    assert set(inspect.get_annotations(TrainInputs)) == {
        "features",
        "patch_tokens",
        "views",
        "state_groups",
        "start",
        "temperature",
        "disturbed",
    }


@dataclass(frozen=True, kw_only=True)
class MoreWeights(LossWeights):
    """The weights with that of one more loss."""

    shrinking: float = 0.0


def test_a_loss_is_one_line_in_the_registry_and_one_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTERED, "shrinking", lambda given: given.to_abnormal.square().mean())
    prototypes, inputs, bias = make_prototypes(), make_inputs(), torch.zeros(2)
    weights = MoreWeights(**dict.fromkeys(LOSSES, 0.0), shrinking=2.0)
    expected = 2 * (inputs.features @ prototypes.abnormal.T).square().mean()
    torch.testing.assert_close(total_loss(prototypes, inputs, weights, bias), expected)
