"""Every training loss and the balanced assignment against loop-written references, and at their limits."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.models import losses
from promptad.models.multi_prototype import assignment
from promptad.models.multi_prototype.assignment import SHARPNESS, balanced_assignment, balancing_bias, similarity_std

FEATURES, NORMAL, ABNORMAL, STATES, WIDTH = 12, 3, 5, 7, 8


def random_units(count: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


def random_shares(seed: int = 9) -> Tensor:
    return torch.softmax(torch.randn(FEATURES, NORMAL, generator=torch.Generator().manual_seed(seed)).double(), 1)


def skewed_similarities(patches: int, count: int, seed: int) -> Tensor:
    """Similarities [patch, count] in which the first prototype wins nearly everywhere."""
    generator = torch.Generator().manual_seed(seed)
    head_start = 0.2 * torch.arange(count, 0, -1)
    return 0.1 * torch.randn(patches, count, generator=generator) + head_start


def cosine(first: Tensor, second: Tensor) -> float:
    product = sum(float(a) * float(b) for a, b in zip(first, second, strict=True))
    return product / math.sqrt(sum(float(a) ** 2 for a in first) * sum(float(b) ** 2 for b in second))


def own_similarity(feature: Tensor, normal: Tensor, shares: Tensor) -> float:
    return sum(float(share) * cosine(feature, prototype) for share, prototype in zip(shares, normal, strict=True))


def after_a_step(loss: Callable[[Tensor], Tensor], start: Tensor, rate: float = 0.1) -> Tensor:
    """Unit vectors after one step against the gradient of `loss`."""
    moving = start.clone().requires_grad_()
    loss(moving).backward()  # type: ignore[no-untyped-call]
    assert moving.grad is not None
    return F.normalize(start - rate * moving.grad, dim=-1)


def close(found: Tensor, expected: float) -> None:
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_contrastive_loss_equals_its_reference() -> None:
    features, normal, shares = random_units(FEATURES, 1), random_units(NORMAL, 2), random_shares()
    negatives, temperature = random_units(ABNORMAL + STATES, 3), 14.0
    total = 0.0
    for feature, share in zip(features, shares, strict=True):
        right = math.exp(temperature * own_similarity(feature, normal, share))
        wrong = sum(math.exp(temperature * cosine(feature, negative)) for negative in negatives)
        total -= math.log(right / (right + wrong))
    close(losses.contrastive_loss(features @ normal.T, features @ negatives.T, shares, temperature), total / FEATURES)


def test_contrastive_loss_with_one_equal_negative_is_log_2() -> None:
    feature, prototype = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    close(losses.contrastive_loss(feature @ prototype.T, feature @ prototype.T, torch.ones(1, 1), 100.0), math.log(2))


def test_a_step_on_contrastive_loss_raises_the_own_similarity_and_lowers_the_negative_ones() -> None:
    features, normal, shares = random_units(FEATURES, 1), random_units(NORMAL, 2), random_shares()
    negatives = random_units(ABNORMAL, 3)
    moved = after_a_step(
        lambda n: losses.contrastive_loss(features @ n.T, features @ negatives.T, shares, 10.0), normal
    )
    away = after_a_step(lambda n: losses.contrastive_loss(features @ normal.T, features @ n.T, shares, 10.0), negatives)
    assert (shares * (features @ moved.T)).sum() > (shares * (features @ normal.T)).sum()
    assert (features @ away.T).mean() < (features @ negatives.T).mean()


def test_margin_loss_equals_its_reference() -> None:
    features, normal, shares = random_units(FEATURES, 1), random_units(NORMAL, 2), random_shares()
    abnormal = random_units(ABNORMAL, 3)
    total = 0.0
    for feature, share in zip(features, shares, strict=True):
        nearest = max(cosine(feature, prototype) for prototype in abnormal)
        total += max(0.0, 2 * (nearest - own_similarity(feature, normal, share)))
    assert total > 0
    close(losses.margin_loss(features @ normal.T, features @ abnormal.T, shares), total / FEATURES)


def test_margin_loss_is_the_difference_of_squared_distances() -> None:
    features, normal, abnormal = random_units(FEATURES, 1), random_units(1, 2), random_units(1, 3)
    to_normal = (features - normal).square().sum(1)
    to_abnormal = (features - abnormal).square().sum(1)
    expected = float((to_normal - to_abnormal).clamp_min(0).mean())
    close(losses.margin_loss(features @ normal.T, features @ abnormal.T, torch.ones(FEATURES, 1)), expected)


def test_margin_loss_is_zero_where_every_feature_is_nearest_to_its_own_prototype() -> None:
    own, other, as_near = torch.eye(2), torch.zeros(2, 2), torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert losses.margin_loss(own, other, torch.eye(2)) == 0
    assert losses.margin_loss(own, as_near, torch.eye(2)) == 0  # as near as its own one is enough


def test_matching_loss_equals_its_reference() -> None:
    abnormal, states = random_units(ABNORMAL, 3), random_units(STATES, 4)
    total = 0.0
    for axis in range(WIDTH):
        learned = sum(float(row[axis]) for row in abnormal) / ABNORMAL
        written = sum(float(row[axis]) for row in states) / STATES
        total += (learned - written) ** 2
    close(losses.matching_loss(abnormal, states), total)


def test_matching_loss_is_zero_for_equal_means() -> None:
    abnormal = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert losses.matching_loss(abnormal, torch.tensor([[0.0, 1.0], [0.0, -1.0]])) == 0
    assert losses.matching_loss(abnormal, torch.tensor([[0.0, 1.0]])) == 1


@pytest.mark.parametrize("loss", [losses.grouping_loss, losses.closeness_loss])
def test_a_distance_loss_equals_its_reference(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    learned, goals = random_units(ABNORMAL, 3), 0.3 * random_units(ABNORMAL, 4)
    total = sum(1 - cosine(row, goal) for row, goal in zip(learned, goals, strict=True))
    close(loss(learned, goals), total / ABNORMAL)


@pytest.mark.parametrize("loss", [losses.grouping_loss, losses.closeness_loss])
def test_a_distance_loss_is_0_at_the_goal_and_2_opposite_to_it(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    goals = random_units(ABNORMAL, 4)
    assert float(loss(goals, 0.5 * goals)) == pytest.approx(0, abs=1e-7)
    assert float(loss(-goals, goals)) == pytest.approx(2)


@pytest.mark.parametrize("loss", [losses.grouping_loss, losses.closeness_loss])
def test_a_step_on_a_distance_loss_brings_each_nearer_its_own_goal(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    learned, goals = random_units(ABNORMAL, 3), random_units(ABNORMAL, 4)
    moved = after_a_step(lambda rows: loss(rows, goals), learned)
    assert ((moved * goals).sum(1) > (learned * goals).sum(1)).all()


def test_balance_loss_equals_its_reference() -> None:
    similarities = random_units(FEATURES, 1) @ random_units(NORMAL, 2).T
    shares, softness = random_shares(), 0.3
    total = 0.0
    for row, share in zip(similarities, shares, strict=True):
        weights = [math.exp(float(response) / softness) for response in row]
        for weight, part in zip(weights, share, strict=True):
            total -= float(part) * math.log(weight / sum(weights))
    close(losses.balance_loss(similarities, shares, torch.tensor(softness)), total / FEATURES)


def test_balance_loss_is_lowest_where_similarities_agree_with_the_shares() -> None:
    shares = random_shares()
    agreeing = shares.log() + 5  # a shift of all similarities of a patch does not matter
    least = float(losses.balance_loss(agreeing, shares, torch.tensor(1.0)))
    close(-(shares * shares.log()).sum(1).mean(), least)
    assert float(losses.balance_loss(agreeing.roll(1, 1), shares, torch.tensor(1.0))) > least


def test_a_step_on_balance_loss_moves_a_prototype_towards_the_features_it_is_given() -> None:
    features, normal = random_units(FEATURES, 1), random_units(NORMAL, 2)
    shares = F.one_hot(torch.arange(FEATURES) % NORMAL, NORMAL).double()
    moved = after_a_step(lambda n: losses.balance_loss(features @ n.T, shares, torch.tensor(0.3)), normal, 0.01)
    assert (shares * (features @ moved.T)).sum() > (shares * (features @ normal.T)).sum()


@pytest.mark.parametrize("limit", [-0.5, 0.0, 0.3])
def test_repulsion_loss_equals_its_reference(limit: float) -> None:
    abnormal = random_units(ABNORMAL, 3)
    total, pairs = 0.0, 0
    for i in range(ABNORMAL):
        for j in range(i):
            total += max(0.0, cosine(abnormal[i], abnormal[j]) - limit)
            pairs += 1
    assert total > 0
    close(losses.repulsion_loss(abnormal, limit), total / pairs)


def test_repulsion_loss_is_zero_without_a_pair_that_is_too_near() -> None:
    assert losses.repulsion_loss(torch.eye(4), 0.0) == 0
    assert losses.repulsion_loss(torch.eye(4)[:1], -1.0) == 0
    assert losses.repulsion_loss(torch.eye(4)[[0, 0]], 0.25) == 0.75


def test_a_step_on_repulsion_loss_separates_a_pair() -> None:
    pair = F.normalize(torch.tensor([[1.0, 0.2, 0.0], [1.0, 0.0, 0.2]]), dim=1)
    moved = after_a_step(lambda rows: losses.repulsion_loss(rows, 0.3), pair)
    assert moved[0] @ moved[1] < pair[0] @ pair[1]


@pytest.mark.parametrize(("patches", "count"), [(40, 2), (300, 3), (300, 6)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_bias_gives_every_prototype_an_equal_share(patches: int, count: int, seed: int) -> None:
    similarities = skewed_similarities(patches, count, seed)
    bias = balancing_bias(similarities)
    assert similarities.argmax(1).eq(0).float().mean() > 0.7
    shares = balanced_assignment(similarities, bias, similarity_std(similarities))
    torch.testing.assert_close(shares.mean(0), torch.full((count,), 1 / count), rtol=0.01, atol=0)
    torch.testing.assert_close(shares.sum(1), torch.ones(patches))


def test_the_bias_sums_to_zero_and_ignores_shifts_of_all_prototypes() -> None:
    similarities = skewed_similarities(100, 4, 0)
    bias = balancing_bias(similarities)
    assert float(bias.sum()) == pytest.approx(0, abs=1e-6)
    assert bias[0] > bias[3]  # the favoured prototype has the larger bias
    torch.testing.assert_close(balancing_bias(similarities + torch.randn(100, 1)), bias, rtol=0, atol=1e-4)


def test_a_bias_from_a_nearby_start_needs_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    similarities = skewed_similarities(300, 3, 0)
    near = balancing_bias(similarities) + torch.tensor([0.001, -0.001, 0.0])
    monkeypatch.setattr(assignment, "MAX_ROUNDS", 8)
    for start, is_balanced in ((near, True), (None, False)):
        shares = balanced_assignment(
            similarities, balancing_bias(similarities, start), similarity_std(similarities)
        ).mean(0)
        assert bool(((3 * shares - 1).abs() < 0.01).all()) == is_balanced


def test_one_prototype_owns_every_patch() -> None:
    similarities = skewed_similarities(20, 1, 0)
    bias = balancing_bias(similarities)
    assert torch.equal(bias, torch.zeros(1))
    assert torch.equal(balanced_assignment(similarities, bias, similarity_std(similarities)), torch.ones(20, 1))


def test_the_balanced_assignment_equals_sinkhorns_scaling_of_rows_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "TOLERANCE", 1e-5)  # both run until they converge
    monkeypatch.setattr(assignment, "MAX_ROUNDS", 2000)
    similarities = skewed_similarities(30, 3, 0)
    softness = float(similarity_std(similarities)) / SHARPNESS
    plan = [[math.exp((float(value) - float(row.max())) / softness) for value in row] for row in similarities]
    for _ in range(2000):
        plan = [[value / sum(row) for value in row] for row in plan]
        columns = [sum(row[k] for row in plan) for k in range(3)]
        plan = [[value * len(plan) / 3 / column for value, column in zip(row, columns, strict=True)] for row in plan]
    found = balanced_assignment(similarities, balancing_bias(similarities), similarity_std(similarities))
    torch.testing.assert_close(found, torch.tensor(plan), rtol=0, atol=1e-3)


def test_similarity_std_is_around_each_patchs_own_mean() -> None:
    similarities = torch.tensor([[1.0, 3.0], [10.0, 14.0]])
    close(similarity_std(similarities), math.sqrt((1 + 1 + 4 + 4) / 4))
    assert similarity_std(torch.ones(5, 2)) > 0
