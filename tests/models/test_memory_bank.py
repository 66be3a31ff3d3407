"""The memory bank against loop-written references, and its leave-one-out calibration."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.features import DisturbedFeatures, ImageFeatures, SupportFeatures
from promptad.models.distances import distances_to
from promptad.models.memory_bank import (
    CalibratedMemory,
    LeftOut,
    MemoryBank,
    equal_weights,
    leave_one_out_mask,
    weighted_sum,
)
from promptad.models.multi_prototype.calibration import calibrate
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.scoring import score_features
from promptad.models.normal_stats import SHRINKAGE
from promptad.settings import ScoringSettings

PATCHES, WIDTH = 4, 6
SHARE = 0.3  # of what is normal at a position


def random_units(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=-1)


def make_features(views: int, seed: int = 0) -> ImageFeatures:
    layers = random_units(views, PATCHES, seed=seed + 2), random_units(views, PATCHES, seed=seed + 3)
    return ImageFeatures(random_units(views, seed=seed), random_units(views, PATCHES, seed=seed + 1), layers)


def reference_distance(patches: tuple[Tensor, Tensor], rows: tuple[list[Tensor], list[Tensor]]) -> float:
    """The mean over the layers of half the cosine distance to the nearest row."""
    total = 0.0
    for patch, gallery in zip(patches, rows, strict=True):
        total += min((1 - float(patch @ row)) / 2 for row in gallery)
    return total / 2


def reference_distances(features: ImageFeatures, bank: ImageFeatures, banked: list[int], queried: list[int]) -> Tensor:
    """Distances [queried, patch] of some views to a bank of others."""
    assert features.layers
    assert bank.layers
    first, second = ([row for view in banked for row in layer[view]] for layer in bank.layers)
    return torch.tensor(
        [
            [
                reference_distance((features.layers[0][v, p], features.layers[1][v, p]), (first, second))
                for p in range(PATCHES)
            ]
            for v in queried
        ]
    )


def with_distances(support: SupportFeatures, views: int) -> SupportFeatures:
    """The support features with their distances, all layers alike."""
    return LeftOut.measured(support, views).added_to(support, equal_weights(support.views.layers))


def left_out_distances(support: SupportFeatures, views: int) -> Tensor:
    """The distances [view, patch] of the views, all layers alike."""
    return weighted_sum(LeftOut.measured(support, views).views, equal_weights(support.views.layers))


def calibrated_memory(support: ImageFeatures, calibration: str) -> tuple[CalibratedMemory, ImageFeatures]:
    """The memory of images with three views each, and their features with their leave-one-out distances."""
    known = with_distances(SupportFeatures(support), 3).views
    assert known.distances is not None
    settings = ScoringSettings(calibration=calibration, position_share=SHARE)
    return CalibratedMemory.calibrated(MemoryBank.from_support(support), known.distances, settings), known


def test_distances_equal_their_reference() -> None:
    support, test = make_features(3), make_features(2, seed=10)
    queried = MemoryBank.from_support(support).add_distances(test)
    assert queried.distances is not None
    assert queried.layers == ()
    torch.testing.assert_close(
        queried.distances, reference_distances(test, support, [0, 1, 2], [0, 1]), rtol=0, atol=1e-6
    )
    assert (queried.distances >= 0).all()
    assert (queried.distances <= 1).all()


def test_stored_patches_are_near_and_their_opposites_are_far() -> None:
    support = make_features(2)
    assert support.layers
    bank = MemoryBank((support.layers[0][0], support.layers[1][0]), torch.tensor([0.3, 0.7]))
    near = bank.add_distances(support).distances
    assert near is not None
    assert float(near[0].max()) == pytest.approx(0, abs=1e-6)
    only = MemoryBank((support.layers[0][0, :1], support.layers[1][0, :1]), torch.tensor([0.3, 0.7]))
    opposite = ImageFeatures(support.class_token, support.patch_tokens, (-support.layers[0], -support.layers[1]))
    far = only.add_distances(opposite).distances
    assert far is not None
    assert float(far[0, 0]) == pytest.approx(1)


def test_distances_are_added_once() -> None:
    bank = MemoryBank.from_support(make_features(2))
    queried = bank.add_distances(make_features(1, seed=5))
    assert bank.add_distances(queried) is queried


@pytest.mark.parametrize("count", [1, 3])
def test_a_bank_of_any_number_of_layers_averages_their_distances(count: int) -> None:
    support = replace(make_features(3), layers=tuple(random_units(3, PATCHES, seed=40 + n) for n in range(count)))
    test = replace(make_features(2, seed=10), layers=tuple(random_units(2, PATCHES, seed=60 + n) for n in range(count)))
    found = MemoryBank.from_support(support).add_distances(test).distances
    assert found is not None
    pairs = [(b.flatten(0, 1), a) for a, b in zip(test.layers, support.layers, strict=True)]
    of_layers = [distances_to(*pair, ("nearest",))[0] for pair in pairs]
    torch.testing.assert_close(found, torch.stack(of_layers).mean(0))
    assert LeftOut.measured(SupportFeatures(support), views=1).views.shape == (count, 3, PATCHES)
    both = MemoryBank.from_support(support, distances=("soft", "nearest")).all_distances(test.layers)
    expected_of_both = [distances_to(*pair, (name,))[0] for name in ("soft", "nearest") for pair in pairs]
    torch.testing.assert_close(both, torch.stack(expected_of_both))
    weights = torch.arange(1.0, count + 1) / sum(range(1, count + 1))
    weighted = MemoryBank.from_support(support, weights).add_distances(test).distances
    assert weighted is not None
    expected = sum((n + 1) * distances for n, distances in enumerate(of_layers)) / sum(range(1, count + 1))
    torch.testing.assert_close(weighted, expected)


def test_views_of_one_image_are_compared_with_those_of_the_others() -> None:
    support = make_features(6)
    found = left_out_distances(SupportFeatures(support), views=2)
    for image in range(3):
        own, others = [2 * image, 2 * image + 1], [view for view in range(6) if view // 2 != image]
        torch.testing.assert_close(found[own], reference_distances(support, support, others, own), rtol=0, atol=1e-6)


def test_probes_are_compared_with_what_their_views_are_compared_with() -> None:
    support, seen = make_features(6), make_features(12, seed=10)
    probes = DisturbedFeatures(seen, torch.zeros(12, PATCHES))
    found = with_distances(SupportFeatures(support, probes=probes), views=2)
    assert found.probes is not None
    assert found.probes.images.distances is not None
    for number in range(12):
        others = [view for view in range(6) if view // 2 != number % 6 // 2]
        expected = reference_distances(seen, support, others, [number])
        torch.testing.assert_close(found.probes.images.distances[number : number + 1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("images", [1, 3])
def test_far_views_are_in_the_bank_of_the_other_images_alone(images: int) -> None:
    views, far_views = make_features(2 * images), make_features(2 * images, seed=10)
    support = SupportFeatures(views, far_views)
    banked, mask = support.banked, leave_one_out_mask(support, 2)
    assert mask.shape == (2 * images, 4 * images)
    assert banked.layers
    assert torch.equal(banked.layers[0][2 * images :], far_views.layers[0])
    if images == 1:  # the half that is least similar, never itself
        assert mask.sum(1).tolist() == [2, 2]
        assert not mask[:, :2].diagonal().any()
    else:
        of_image = [0, 0, 1, 1, 2, 2] * 2
        assert mask.tolist() == [[own != other for other in of_image] for own in of_image[:6]]
    found = left_out_distances(support, 2)
    for view in range(2 * images):
        expected = reference_distances(views, banked, mask[view].nonzero().flatten().tolist(), [view])
        torch.testing.assert_close(found[view : view + 1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("views", [2, 3, 6, 7])
def test_views_of_the_only_image_are_compared_with_the_half_least_similar_to_them(views: int) -> None:
    support = make_features(views)
    found = left_out_distances(SupportFeatures(support), views)
    assert support.layers
    for view in range(views):
        similarity = {
            other: sum(float((layer[view] * layer[other]).sum()) for layer in support.layers)
            for other in range(views)
            if other != view
        }
        least = sorted(similarity, key=lambda other: similarity[other])[: math.ceil((views - 1) / 2)]
        expected = reference_distances(support, support, least, [view])
        torch.testing.assert_close(found[view : view + 1], expected, rtol=0, atol=1e-6)


def test_a_copy_of_a_view_is_not_compared_with_it() -> None:
    support = make_features(6)
    assert support.layers
    copies = [0, 0, 1, 1, 2, 2]
    doubled = ImageFeatures(
        support.class_token, support.patch_tokens, (support.layers[0][copies], support.layers[1][copies])
    )
    assert not leave_one_out_mask(SupportFeatures(doubled), views=6)[0, 1]
    assert left_out_distances(SupportFeatures(doubled), views=6).min() > 0.01


@pytest.mark.parametrize("calibration", ["position", "prototype", "none"])
def test_distances_become_z_scores(calibration: str) -> None:
    support, test = make_features(6), torch.rand(3, PATCHES)
    kept, left_out = calibrated_memory(support, calibration)
    values = left_out_distances(SupportFeatures(support), 3)
    assert left_out.layers == ()
    assert left_out.distances is not None
    assert torch.equal(left_out.distances, values)
    variances = [float(values[:, p].var(correction=0)) for p in range(PATCHES)]
    everywhere = (float(values.mean()), float(values.std(correction=0)))
    if calibration == "none":
        here, everywhere = [(0.0, 1.0)] * PATCHES, (0.0, 1.0)
    elif calibration == "prototype":
        means = [float(values[:, p].mean()) for p in range(PATCHES)]
        here = [(everywhere[0] + SHARE * (mean - everywhere[0]), everywhere[1]) for mean in means]
    else:
        typical = sum(variances) / PATCHES
        shrunk = [math.sqrt((1 - SHRINKAGE) * variance + SHRINKAGE * typical) for variance in variances]
        here = [(float(values[:, p].mean()), shrunk[p]) for p in range(PATCHES)]
    for image in range(3):
        of_patches = [(float(test[image, p]) - here[p][0]) / here[p][1] for p in range(PATCHES)]
        assert float(kept.image_score(test, top_share=0)[image]) == pytest.approx(max(of_patches), rel=1e-4)
        of_map = [(float(value) - everywhere[0]) / everywhere[1] for value in test[image]]
        assert kept.patch_scores(test)[image].tolist() == pytest.approx(of_map, rel=1e-4, abs=1e-5)


def test_the_memory_adds_its_terms_to_score_and_map() -> None:
    prototypes = Prototypes.from_features(random_units(2, seed=20), random_units(2, 3, seed=21))
    kept, support = calibrated_memory(make_features(6), "position")
    calibration = calibrate(support, prototypes, "prototype")
    test = kept.bank.add_distances(make_features(2, seed=30))
    assert test.distances is not None
    without, with_memory = (score_features(test, prototypes, calibration, m) for m in (None, kept))
    torch.testing.assert_close(with_memory.image - without.image, kept.image_score(test.distances, top_share=0))
    torch.testing.assert_close(
        (with_memory.patches - without.patches).flatten(1), kept.patch_scores(test.distances), rtol=1e-4, atol=1e-4
    )


def test_far_views_of_an_only_image_are_compared_with_its_views() -> None:
    views, far_views = make_features(3), make_features(3, seed=10)
    support = SupportFeatures(views, far_views, is_only_image=True)
    known = with_distances(support, 3)
    assert known.far_views is not None
    assert known.far_views.distances is not None
    expected = reference_distances(far_views, views, [0, 1, 2], [0, 1, 2])
    torch.testing.assert_close(known.far_views.distances, expected, rtol=0, atol=1e-6)
    assert known.normal.distances is not None
    assert len(known.normal.distances) == 6  # normal scores are calibrated on both
    several = with_distances(replace(support, is_only_image=False), 3)
    assert several.normal is several.views
