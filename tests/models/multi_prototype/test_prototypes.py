"""Prototypes: directions without the mean direction of all prompts of a class."""

import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.models.multi_prototype.prototypes import Prototypes, project_out


def random_units(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def crowded_units(*shape: int, seed: int = 0) -> Tensor:
    """Unit vectors around one large common part, as the text features of one class are."""
    common = random_units(shape[-1], seed=99)
    return F.normalize(3 * common + random_units(*shape, seed=seed), dim=-1)


def mean_pair_cosine(units: Tensor) -> float:
    first, second = torch.triu_indices(len(units), len(units), offset=1)
    return float((units[first] * units[second]).sum(1).mean())


def make_prototypes() -> Prototypes:
    return Prototypes.from_features(crowded_units(3, 16, seed=1), crowded_units(3, 6, 16, seed=2))


def test_there_are_k_normal_and_m_abnormal_directions() -> None:
    prototypes = make_prototypes()
    shapes = [tuple(value.shape) for value in vars(prototypes).values()]
    assert shapes == [(3, 16), (6, 16), (16,), (3,), (6,)]


def test_directions_are_unit_and_orthogonal_to_the_mean_direction() -> None:
    prototypes = make_prototypes()
    directions = torch.cat([prototypes.normal, prototypes.abnormal])
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(9))
    torch.testing.assert_close(prototypes.mean_direction.norm(), torch.tensor(1.0))
    torch.testing.assert_close(directions @ prototypes.mean_direction, torch.zeros(9), rtol=0, atol=1e-6)


def test_the_mean_direction_is_midway_between_mean_normal_and_mean_abnormal() -> None:
    normal, pairs = random_units(2, 5, seed=3), random_units(2, 4, 5, seed=4)
    abnormal = torch.stack([(pairs[0, j] + pairs[1, j]) / (pairs[0, j] + pairs[1, j]).norm() for j in range(4)])
    centre = (normal[0] + normal[1]) / 2 + (abnormal[0] + abnormal[1] + abnormal[2] + abnormal[3]) / 4
    torch.testing.assert_close(Prototypes.from_features(normal, pairs).mean_direction, centre / centre.norm())


def test_the_raw_features_come_back() -> None:
    normal, pairs = crowded_units(3, 16, seed=1), crowded_units(3, 6, 16, seed=2)
    prototypes = Prototypes.from_features(normal, pairs)
    torch.testing.assert_close(prototypes.raw_normal(), normal, rtol=0, atol=1e-5)
    torch.testing.assert_close(prototypes.raw_abnormal(), F.normalize(pairs.mean(0), dim=1), rtol=0, atol=1e-5)


def test_removing_the_mean_direction_separates_crowded_features() -> None:
    prototypes = make_prototypes()
    assert mean_pair_cosine(prototypes.raw_abnormal()) > 0.8
    assert mean_pair_cosine(prototypes.abnormal) < 0.3
    assert mean_pair_cosine(prototypes.raw_normal()) > 0.8
    assert mean_pair_cosine(prototypes.normal) < 0.6


def test_project_out_removes_only_the_share_along_the_direction() -> None:
    along_first = torch.tensor([1.0, 0, 0])
    found = project_out(torch.tensor([[[0.6, 0.8, 0.0]], [[0.6, 0.0, -0.8]]]), along_first)
    torch.testing.assert_close(found, torch.tensor([[[0.0, 1, 0]], [[0, 0, -1]]]))


def test_one_prototype_of_each_kind_gives_two_opposite_directions() -> None:
    prototypes = Prototypes.from_features(crowded_units(1, 16, seed=1), crowded_units(1, 1, 16, seed=2))
    torch.testing.assert_close(prototypes.normal, -prototypes.abnormal, rtol=0, atol=1e-5)


def test_detached_prototypes_are_equal_and_need_no_gradient() -> None:
    normal = crowded_units(3, 16, seed=1).requires_grad_()
    prototypes = Prototypes.from_features(normal, crowded_units(3, 6, 16, seed=2))
    detached = prototypes.detach()
    for name, value in vars(prototypes).items():
        assert torch.equal(getattr(detached, name), value)
        assert value.requires_grad
        assert not getattr(detached, name).requires_grad
