"""What words count for beside a memory bank, against references written with loops."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.features import DisturbedFeatures, ImageFeatures, SupportFeatures
from promptad.models.memory_bank import CalibratedMemory, LeftOut, MemoryBank
from promptad.models.multi_prototype.calibration import calibrate
from promptad.models.multi_prototype.fusion import image_ranks, patch_ranks, reaction, weigh_distances, weigh_words
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.scoring import score_features
from promptad.settings import ScoringSettings

VIEWS, PATCHES, WIDTH = 16, 9, 8
NORMAL, ABNORMAL, ELSEWHERE = (F.normalize(torch.eye(WIDTH)[row] + 0.1, dim=0) for row in range(3))


def random(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def around(direction: Tensor, *shape: int, seed: int) -> Tensor:
    """Unit vectors [..., WIDTH] around a direction."""
    noise = torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed))
    return F.normalize(direction + 0.02 * noise, dim=-1)


def make_support(defect: Tensor, far: float, *, class_sees: bool = True) -> SupportFeatures:
    """Views that look normal, and probes whose first patch looks like `defect` and is `far` from the bank."""
    views = ImageFeatures(around(NORMAL, VIEWS, seed=1), around(NORMAL, VIEWS, PATCHES, seed=2))
    views = replace(views, distances=random(VIEWS, PATCHES, seed=3))
    seen = ImageFeatures(around(NORMAL, VIEWS, seed=4), around(NORMAL, VIEWS, PATCHES, seed=5))
    distances, patches = random(VIEWS, PATCHES, seed=6), seen.patch_tokens.clone()
    distances[:, 0] += far
    patches[:, 0] = around(defect, VIEWS, seed=7)
    class_token = around(defect, VIEWS, seed=8) if class_sees else seen.class_token
    share = torch.zeros(VIEWS, PATCHES)
    share[:, 0] = 1
    probes = DisturbedFeatures(ImageFeatures(class_token, patches, (), distances), share)
    return SupportFeatures(views, probes=probes)


def weights(support: SupportFeatures, starting_words: float = 1.0) -> tuple[float, float]:
    """Weights of the class token's and of the patches' term in image scores."""
    prototypes = Prototypes.from_features(NORMAL[None], ABNORMAL[None, None])
    calibration = calibrate(support.views, prototypes, "prototype")
    assert support.views.distances is not None
    memory = CalibratedMemory.calibrated(
        MemoryBank((torch.empty(0, 1),), torch.ones(1)), support.views.distances, ScoringSettings()
    )
    found = weigh_words(memory, support, prototypes, calibration, starting_words)
    assert torch.equal(found.map_mean, memory.map_mean)
    assert float(found.map_weight) == float(weigh_words(memory, support, prototypes, calibration).patches_weight)
    return float(found.class_token_weight), float(found.patches_weight)


def test_words_that_react_as_much_as_the_memory_have_half_its_weight() -> None:
    assert weights(make_support(ABNORMAL, far=2)) == (0.5, 0.5)


def test_words_that_do_not_react_are_silent() -> None:
    of_class, of_patches = weights(make_support(NORMAL, far=2))
    assert of_patches < 0.15
    assert of_class < 0.15
    assert weights(make_support(F.normalize(NORMAL - ABNORMAL, dim=0), far=2)) == (0, 0)


def test_image_scores_trust_words_less_that_hardly_reacted_before_they_learned() -> None:
    support = make_support(ABNORMAL, far=2)
    assert weights(support, starting_words=0.3) == (0.5, 0.5)
    assert weights(support, starting_words=0.15) == pytest.approx((0.25, 0.25))
    assert weights(support, starting_words=0) == (0, 0)


def test_words_may_be_seen_by_patches_alone() -> None:
    of_class, of_patches = weights(make_support(ABNORMAL, far=2, class_sees=False))
    assert of_patches == 0.5
    assert of_class < 0.3


def test_beside_a_memory_that_reacts_little_words_have_no_more_than_half_its_weight() -> None:
    assert weights(make_support(ABNORMAL, far=0.01)) == (0.5, 0.5)


def test_weights_scale_the_terms_of_words_in_score_and_map() -> None:
    support = make_support(ABNORMAL, far=2)
    prototypes = Prototypes.from_features(NORMAL[None], ABNORMAL[None, None])
    calibration, test = calibrate(support.views, prototypes, "prototype"), support.views
    assert test.distances is not None
    whole = CalibratedMemory.calibrated(
        MemoryBank((torch.empty(0, 1),), torch.ones(1)), test.distances, ScoringSettings()
    )
    parts = replace(
        whole, class_token_weight=torch.tensor(0.25), patches_weight=torch.tensor(0.5), map_weight=torch.tensor(0.3)
    )
    for by, share in (("class-token", 0.25), ("patches", 0.5)):
        text, found = (score_features(test, prototypes, calibration, of, by) for of in (None, parts))
        memory = score_features(test, prototypes, calibration, whole, by).image - text.image
        torch.testing.assert_close(found.image, share * text.image + memory)
    maps = [score_features(test, prototypes, calibration, of).patches for of in (None, parts, whole)]
    torch.testing.assert_close(maps[1], maps[2] - 0.7 * maps[0], rtol=1e-4, atol=1e-4)


def test_distances_count_by_their_reaction_and_deviation() -> None:
    views, probes = random(3, 16, PATCHES, seed=1), random(3, 16, PATCHES, seed=2)
    views[1], probes[1] = 5 * views[1], 5 * probes[1]
    probes[0, :, 0], probes[1, :, 0] = 2, 6  # farther than any view's patch; those of the third are as any
    places = torch.zeros(16, PATCHES, dtype=torch.bool)
    places[:, 0] = True
    weights = weigh_distances(LeftOut(views, probes, None), places)
    reactions = [max(0.05, float(reaction(patch_ranks(views[n], probes[n], places), 0))) for n in range(3)]
    assert reactions[:2] == [1, 1]
    expected = torch.tensor([reactions[n] ** 2 / float(views[n].std(correction=0)) for n in range(3)])
    torch.testing.assert_close(weights, expected / expected.sum())


def test_ranks_of_patches_equal_their_reference() -> None:
    scores, disturbed, places = random(4, PATCHES, seed=1), random(3, PATCHES, seed=2), random(3, PATCHES, seed=3) > 0.6
    places[1] = False
    expected = []
    for view in (0, 2):
        below = [
            sum(float(other < value) for other in scores.flatten()) / scores.numel()
            for value, is_disturbed in zip(disturbed[view], places[view], strict=True)
            if is_disturbed
        ]
        expected.append(sum(below) / len(below))
    torch.testing.assert_close(patch_ranks(scores, disturbed, places), torch.tensor(expected))


def test_ranks_of_images_equal_their_reference() -> None:
    scores, disturbed, pairs = random(4, seed=1), random(8, seed=2), torch.arange(8) % 4
    expected = [
        (sum(float(other < value) for other in scores) / 4 + float(value > scores[pair])) / 2
        for value, pair in zip(disturbed, pairs, strict=True)
    ]
    torch.testing.assert_close(image_ranks(scores, disturbed, pairs), torch.tensor(expected))


@pytest.mark.parametrize("doubt", [0, 1])
def test_a_reaction_is_above_chance_by_more_than_its_error(doubt: int) -> None:
    ranks = [0.6, 0.9, 0.8, 0.7]
    mean = sum(ranks) / 4
    error = math.sqrt(sum((rank - mean) ** 2 for rank in ranks) / 3) / 2
    assert float(reaction(torch.tensor(ranks), doubt)) == pytest.approx(2 * (mean - doubt * error) - 1)
    assert float(reaction(torch.tensor([0.1, 0.2]), doubt)) == 0
    assert float(reaction(torch.tensor([1.0]), doubt)) == 0  # one alone has no error
