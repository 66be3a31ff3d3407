"""The memory bank against slow twins written with loops, and its calibration on views that it has not seen."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promptad import memory
from promptad.memory import CalibratedMemory, MemoryBank, left_out_distances, nearest_distances, strangers
from promptad.moments import SHRINKAGE
from promptad.prototypes import Prototypes
from promptad.records import ImageFeatures
from promptad.scoring import calibrate, score_features
from promptad.settings import ScoringSettings

PATCHES, WIDTH = 4, 6


def random_units(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=-1)


def make_features(views: int, seed: int = 0) -> ImageFeatures:
    taps = random_units(views, PATCHES, seed=seed + 2), random_units(views, PATCHES, seed=seed + 3)
    return ImageFeatures(random_units(views, seed=seed), random_units(views, PATCHES, seed=seed + 1), taps)


def slow_distance(patches: tuple[Tensor, Tensor], rows: tuple[list[Tensor], list[Tensor]]) -> float:
    """The mean over the taps of half the cosine distance to the nearest row."""
    total = 0.0
    for patch, gallery in zip(patches, rows, strict=True):
        total += min((1 - float(patch @ row)) / 2 for row in gallery)
    return total / 2


def slow_distances(features: ImageFeatures, bank: ImageFeatures, banked: list[int], asked: list[int]) -> Tensor:
    """Distances [asked, patch] of some views to a bank of others."""
    assert features.taps
    assert bank.taps
    first, second = ([row for view in banked for row in tap[view]] for tap in bank.taps)
    return torch.tensor(
        [
            [slow_distance((features.taps[0][v, p], features.taps[1][v, p]), (first, second)) for p in range(PATCHES)]
            for v in asked
        ]
    )


def test_distances_equal_their_slow_twin() -> None:
    support, test = make_features(3), make_features(2, seed=10)
    asked = MemoryBank.of(support).ask(test)
    assert asked.distances is not None
    assert asked.taps is None
    torch.testing.assert_close(asked.distances, slow_distances(test, support, [0, 1, 2], [0, 1]), rtol=0, atol=1e-6)
    assert (asked.distances >= 0).all()
    assert (asked.distances <= 1).all()


def test_what_is_remembered_is_near_and_its_opposite_is_far() -> None:
    support = make_features(2)
    assert support.taps
    bank = MemoryBank(support.taps[0][0], support.taps[1][0])
    near = bank.ask(support).distances
    assert near is not None
    assert float(near[0].max()) == pytest.approx(0, abs=1e-6)
    only = MemoryBank(support.taps[0][0, :1], support.taps[1][0, :1])
    opposite = ImageFeatures(support.class_token, support.patch_tokens, (-support.taps[0], -support.taps[1]))
    far = only.ask(opposite).distances
    assert far is not None
    assert float(far[0, 0]) == pytest.approx(1)


def test_features_are_asked_about_once() -> None:
    bank = MemoryBank.of(make_features(2))
    asked = bank.ask(make_features(1, seed=5))
    assert bank.ask(asked) is asked


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    patches, rows = random_units(5, PATCHES, seed=1), random_units(7, seed=2)
    whole = nearest_distances(patches, rows)
    monkeypatch.setattr(memory, "MOST_COSINES", 2 * PATCHES * 7)
    torch.testing.assert_close(nearest_distances(patches, rows), whole)


def test_views_of_one_image_are_compared_with_those_of_the_others() -> None:
    support = make_features(6)
    found = left_out_distances(support, views=2)
    for image in range(3):
        own, others = [2 * image, 2 * image + 1], [view for view in range(6) if view // 2 != image]
        torch.testing.assert_close(found[own], slow_distances(support, support, others, own), rtol=0, atol=1e-6)


@pytest.mark.parametrize("views", [2, 3, 6, 7])
def test_views_of_the_only_image_are_compared_with_the_half_least_like_them(views: int) -> None:
    support = make_features(views)
    found = left_out_distances(support, views)
    assert support.taps
    for view in range(views):
        likeness = {
            other: sum(float((tap[view] * tap[other]).sum()) for tap in support.taps)
            for other in range(views)
            if other != view
        }
        least = sorted(likeness, key=lambda other: likeness[other])[: math.ceil((views - 1) / 2)]
        expected = slow_distances(support, support, least, [view])
        torch.testing.assert_close(found[view : view + 1], expected, rtol=0, atol=1e-6)


def test_a_copy_of_a_view_does_not_hide_how_far_it_is() -> None:
    support = make_features(6)
    assert support.taps
    twins = [0, 0, 1, 1, 2, 2]
    doubled = ImageFeatures(support.class_token, support.patch_tokens, (support.taps[0][twins], support.taps[1][twins]))
    assert not strangers(doubled, views=6)[0, 1]
    assert left_out_distances(doubled, views=6).min() > 0.01


@pytest.mark.parametrize("calibration", ["position", "prototype", "none"])
def test_distances_count_in_deviations(calibration: str) -> None:
    support, test = make_features(6), torch.rand(3, PATCHES)
    kept, left_out = CalibratedMemory.of(support, 3, calibration)
    values = left_out_distances(support, 3)
    assert torch.equal(kept.bank.first, MemoryBank.of(support).first)
    assert left_out.distances is not None
    assert torch.equal(left_out.distances, values)
    variances = [float(values[:, p].var(correction=0)) for p in range(PATCHES)]
    everywhere = (float(values.mean()), float(values.std(correction=0)))
    if calibration == "none":
        here, everywhere = [(0.0, 1.0)] * PATCHES, (0.0, 1.0)
    elif calibration == "prototype":
        here = [everywhere] * PATCHES
    else:
        typical = sum(variances) / PATCHES
        shrunk = [math.sqrt((1 - SHRINKAGE) * variance + SHRINKAGE * typical) for variance in variances]
        here = [(float(values[:, p].mean()), shrunk[p]) for p in range(PATCHES)]
    for picture in range(3):
        of_patches = [(float(test[picture, p]) - here[p][0]) / here[p][1] for p in range(PATCHES)]
        assert float(kept.image_term(test)[picture]) == pytest.approx(max(of_patches), rel=1e-4)
        of_map = [(float(value) - everywhere[0]) / everywhere[1] for value in test[picture]]
        assert kept.map_term(test)[picture].tolist() == pytest.approx(of_map, rel=1e-4, abs=1e-5)


def test_the_memory_adds_its_terms_to_score_and_map() -> None:
    prototypes = Prototypes.from_features(random_units(2, seed=20), random_units(2, 3, seed=21))
    kept, support = CalibratedMemory.of(make_features(6), 3, "position")
    calibration = calibrate(support, prototypes, ScoringSettings(), kept)
    test = kept.bank.ask(make_features(2, seed=30))
    assert test.distances is not None
    without, with_memory = (score_features(test, prototypes, calibration, m) for m in (None, kept))
    torch.testing.assert_close(with_memory.image - without.image, kept.image_term(test.distances))
    torch.testing.assert_close(
        (with_memory.patches - without.patches).flatten(1), kept.map_term(test.distances), rtol=1e-4, atol=1e-4
    )
    levels = score_features(support, prototypes, calibration, kept)
    assert float(levels.image.max()) == pytest.approx(float(calibration.image_level))
