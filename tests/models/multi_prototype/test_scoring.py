"""Margins, calibration, scores and maps against reference implementations written with loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import reference_centred, smooth_best
from random_parts import decided
from scipy.ndimage import gaussian_filter  # type: ignore[attr-defined]  # it has no type stubs
from torch import Tensor

from promptad.features import ImageFeatures
from promptad.models.anomaly_map import Scores
from promptad.models.multi_prototype.assignment import balancing_bias
from promptad.models.multi_prototype.calibration import Calibration, calibrate
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.scoring import score_features
from promptad.models.multi_prototype.similarities import margins, normal_similarities
from promptad.models.multi_prototype.threshold import Thresholds
from promptad.models.normal_stats import SHRINKAGE
from promptad.settings import ScoringSettings

SIDE, WIDTH = 3, 8
PATCHES = SIDE * SIDE
CALIBRATIONS = ("position", "prototype", "none")


def random_units(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=-1)


def make_prototypes(normal: int = 2, abnormal: int = 3) -> Prototypes:
    return Prototypes.from_features(random_units(normal, seed=1), random_units(normal, abnormal, seed=2))


def make_features(images: int, seed: int) -> ImageFeatures:
    return ImageFeatures(random_units(images, seed=seed), random_units(images, PATCHES, seed=seed + 1))


def make_calibration(abnormal: int = 3, positions: int = PATCHES) -> Calibration:
    """A calibration with a different number in every element."""
    generator = torch.Generator().manual_seed(5)

    def numbers(*shape: int) -> Tensor:
        return 0.5 + torch.rand(*shape, generator=generator)

    return Calibration(
        numbers(2) - 1,
        numbers(abnormal),
        numbers(abnormal),
        numbers(positions, abnormal),
        numbers(positions, abnormal),
        numbers(abnormal),
        numbers(abnormal),
    )


THRESHOLDS = Thresholds(*torch.tensor([0.7, 0.9, 1.9, 1.4]))


def reference_margins(token: Tensor, prototypes: Prototypes, bias: Tensor) -> list[float]:
    """Margins of a class token."""
    return reference_margins_of(token, [float(token @ direction) for direction in prototypes.normal], prototypes, bias)


def reference_patch_margins(patches: Tensor, prototypes: Prototypes, bias: Tensor) -> list[list[float]]:
    """Margins of an image's patch tokens [patch, D]."""
    similarities = reference_centred(
        [[float(patch @ direction) for direction in prototypes.normal] for patch in patches]
    )
    return [reference_margins_of(*own, prototypes, bias) for own in zip(patches, similarities, strict=True)]


def reference_margins_of(token: Tensor, similarities: list[float], prototypes: Prototypes, bias: Tensor) -> list[float]:
    best = smooth_best([own - float(shift) for own, shift in zip(similarities, bias, strict=True)])
    return [float(token @ direction) - best for direction in prototypes.abnormal]


def reference_z_score(margin: list[float], mean: Tensor, std: Tensor) -> float:
    return max((m - float(a)) / float(b) for m, a, b in zip(margin, mean, std, strict=True))


def project(direction: Tensor, onto: Tensor) -> Tensor:
    """The part of a direction [D] that lies in the span of rows [K, D]."""
    basis = torch.linalg.qr(onto.T).Q
    projection: Tensor = basis @ (basis.T @ direction)
    return projection


def mean_of(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def variance_of(numbers: list[float]) -> float:
    return sum((number - mean_of(numbers)) ** 2 for number in numbers) / len(numbers)


def support_margins(support: ImageFeatures, prototypes: Prototypes, bias: Tensor) -> list[list[list[float]]]:
    """Margins of every view, patch and abnormal prototype."""
    return [reference_patch_margins(view, prototypes, bias) for view in support.patch_tokens]


def test_a_margin_is_the_abnormal_similarity_less_the_best_normal_one() -> None:
    prototypes, bias = make_prototypes(), torch.tensor([0.3, -0.3])
    tokens = random_units(2, 4, seed=3)
    found = margins(tokens, prototypes, bias)
    expected = [reference_patch_margins(image, prototypes, bias) for image in tokens]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)
    class_tokens = [reference_margins(token, prototypes, bias) for token in tokens[0]]
    torch.testing.assert_close(margins(tokens[0], prototypes, bias), torch.tensor(class_tokens), rtol=0, atol=1e-6)


def test_a_preference_of_a_whole_image_does_not_change_usage() -> None:
    """A light shared by all patches of an image raises their similarity to the first normal prototype."""
    prototypes, tokens = make_prototypes(), random_units(1, PATCHES, seed=3)
    lit = tokens + 0.5 * (prototypes.normal[0] - prototypes.normal[1])
    plain, moved = ((each @ prototypes.normal.T).argmax(-1) for each in (tokens, lit))
    assert not torch.equal(plain, moved)
    centred_owners = [normal_similarities(each, prototypes).argmax(-1) for each in (tokens, lit)]
    assert torch.equal(*centred_owners)


def test_calibration_uses_the_bias_that_balances_the_support_patches() -> None:
    support, prototypes = make_features(4, seed=7), make_prototypes()
    by_image = [reference_centred((view @ prototypes.normal.T).tolist()) for view in support.patch_tokens]
    found = calibrate(support, prototypes, "prototype")
    expected = balancing_bias(torch.tensor(by_image).flatten(0, 1))
    torch.testing.assert_close(found.normal_bias, expected, rtol=1e-4, atol=1e-5)
    assert found.normal_bias.abs().max() > 0.01


@pytest.mark.parametrize("name", ["position", "prototype"])
def test_class_and_map_are_calibrated_prototype_by_prototype(name: str) -> None:
    support, prototypes = make_features(4, seed=7), make_prototypes()
    found = calibrate(support, prototypes, name)
    of_patches = support_margins(support, prototypes, found.normal_bias)
    for j in range(3):
        of_class = [reference_margins(token, prototypes, found.normal_bias)[j] for token in support.class_token]
        everywhere = [patch[j] for view in of_patches for patch in view]
        assert float(found.class_mean[j]) == pytest.approx(mean_of(of_class), abs=1e-5)
        assert float(found.class_std[j]) == pytest.approx(math.sqrt(variance_of(of_class)), abs=1e-5)
        assert float(found.map_mean[j]) == pytest.approx(mean_of(everywhere), abs=1e-5)
        assert float(found.map_std[j]) == pytest.approx(math.sqrt(variance_of(everywhere)), abs=1e-5)


def test_positions_have_their_own_mean_and_a_variance_shrunk_towards_all() -> None:
    support, prototypes = make_features(4, seed=7), make_prototypes()
    found = calibrate(support, prototypes, "position")
    of_patches = support_margins(support, prototypes, found.normal_bias)
    assert found.patch_mean.shape == found.patch_std.shape == (PATCHES, 3)
    for j in range(3):
        here = [[view[patch][j] for view in of_patches] for patch in range(PATCHES)]
        typical = mean_of([variance_of(numbers) for numbers in here])
        for patch in range(PATCHES):
            shrunk = (1 - SHRINKAGE) * variance_of(here[patch]) + SHRINKAGE * typical
            assert float(found.patch_mean[patch, j]) == pytest.approx(mean_of(here[patch]), abs=1e-5)
            assert float(found.patch_std[patch, j]) == pytest.approx(math.sqrt(shrunk), abs=1e-5)


def test_without_positions_patches_are_calibrated_as_the_map_is() -> None:
    found = calibrate(make_features(4, seed=7), make_prototypes(), "prototype")
    assert torch.equal(found.patch_mean, found.map_mean[None])
    assert torch.equal(found.patch_std, found.map_std[None])


def test_without_calibration_scores_are_plain_cosines() -> None:
    features, prototypes = make_features(3, seed=20), make_prototypes()
    calibration = calibrate(make_features(4, seed=7), prototypes, "none")
    scores = score_features(features, prototypes, calibration)
    for image in range(3):
        of_class = max(reference_margins(features.class_token[image], prototypes, calibration.normal_bias))
        of_patches = [
            max(own)
            for own in reference_patch_margins(features.patch_tokens[image], prototypes, calibration.normal_bias)
        ]
        assert float(scores.image[image]) == pytest.approx(of_class + max(of_patches), abs=1e-5)
        torch.testing.assert_close(scores.patches[image].flatten(), torch.tensor(of_patches), rtol=0, atol=1e-5)


@pytest.mark.parametrize("positions", [PATCHES, 1])
def test_scores_equal_their_reference(positions: int) -> None:
    features, prototypes = make_features(3, seed=20), make_prototypes()
    calibration = make_calibration(positions=positions)
    scores = score_features(features, prototypes, calibration)
    assert (scores.image.shape, scores.patches.shape) == ((3,), (3, SIDE, SIDE))
    for image in range(3):
        margin = reference_margins(features.class_token[image], prototypes, calibration.normal_bias)
        of_class = reference_z_score(margin, calibration.class_mean, calibration.class_std)
        of_patches = []
        every = reference_patch_margins(features.patch_tokens[image], prototypes, calibration.normal_bias)
        for number, margin in enumerate(every):
            here = number if positions > 1 else 0
            of_patches.append(reference_z_score(margin, calibration.patch_mean[here], calibration.patch_std[here]))
            of_map = reference_z_score(margin, calibration.map_mean, calibration.map_std)
            row, column = divmod(number, SIDE)
            assert float(scores.patches[image, row, column]) == pytest.approx(of_map, abs=1e-5)
        assert float(scores.image[image]) == pytest.approx(of_class + max(of_patches), abs=1e-5)


def test_a_prediction_equals_its_reference() -> None:
    scores = Scores(torch.tensor([-3.0, 4.0]), 5 * torch.randn(2, 2, 2, generator=torch.Generator().manual_seed(0)))
    prediction = decided(THRESHOLDS, scores, ScoringSettings(resolution=6, sigma=1.0))
    assert prediction.score.dtype == np.float64
    assert prediction.anomaly_map.dtype == np.float32
    for image in range(2):
        z_score = (float(scores.image[image]) - float(THRESHOLDS.image)) / float(THRESHOLDS.image_scale)
        assert prediction.score[image] == pytest.approx(1 / (1 + math.exp(-z_score)), abs=1e-6)
        resized = np.zeros((6, 6))
        for y in range(6):
            for x in range(6):
                row, column = (min(max((place + 0.5) / 3 - 0.5, 0), 1) for place in (y, x))
                corners = scores.patches[image].double().numpy()
                upper = (1 - column) * corners[0, 0] + column * corners[0, 1]
                lower = (1 - column) * corners[1, 0] + column * corners[1, 1]
                resized[y, x] = (1 - row) * upper + row * lower
        smooth = gaussian_filter(resized, 1.0)
        expected = 1 / (1 + np.exp(-(smooth - float(THRESHOLDS.pixel)) / float(THRESHOLDS.pixel_scale)))
        np.testing.assert_allclose(prediction.anomaly_map[image], expected, rtol=0, atol=1e-5)


def test_scores_rise_with_z_scores_and_stay_within_0_and_1() -> None:
    image = torch.tensor([-1e4, -50.0, -1.0, 0.0, 1.0, 50.0, 60.0, 1e4])
    prediction = decided(THRESHOLDS, Scores(image, image.view(8, 1, 1).expand(8, 2, 2)), ScoringSettings(resolution=4))
    assert (np.diff(prediction.score) > 0)[1:-1].all()  # z-scores of tens still rank, in float64
    assert (np.diff(prediction.anomaly_map[:, 0, 0]) >= 0).all()
    for values in (prediction.score, prediction.anomaly_map):
        assert values.min() >= 0
        assert values.max() <= 1


@pytest.mark.parametrize("place", [0, 5, 7])
def test_an_abnormal_patch_raises_its_own_place_in_the_map(place: int) -> None:
    support, prototypes = make_features(4, seed=7), make_prototypes()
    calibration = calibrate(support, prototypes, "prototype")
    features = make_features(2, seed=20)
    touched = features.patch_tokens.clone()
    # The new patch keeps the old one's similarities to the normal prototypes, so the image's mean preference stays.
    touched[1, place] += 3 * (prototypes.abnormal[2] - project(prototypes.abnormal[2], prototypes.normal))
    before = score_features(features, prototypes, calibration)
    after = score_features(replace(features, patch_tokens=touched), prototypes, calibration)
    raised = after.patches - before.patches
    row, column = divmod(place, SIDE)
    assert raised[1, row, column] > 0.5
    raised[1, row, column] = 0
    assert raised.abs().max() < 1e-5
    assert after.image[0] == before.image[0]


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_one_prototype_of_each_kind_is_enough(name: str) -> None:
    prototypes, settings = make_prototypes(1, 1), ScoringSettings(resolution=8)
    calibration = calibrate(make_features(4, seed=7), prototypes, name)
    scores = score_features(make_features(2, seed=20), prototypes, calibration)
    prediction = decided(THRESHOLDS, scores, settings)
    assert calibration.normal_bias.tolist() == [0]
    assert (prediction.score.shape, prediction.anomaly_map.shape) == ((2,), (2, 8, 8))
    assert np.isfinite(prediction.score).all()
    assert np.isfinite(prediction.anomaly_map).all()


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_single_view_of_the_support_gives_numbers(name: str) -> None:
    support, prototypes = make_features(1, seed=7), make_prototypes()
    settings = ScoringSettings(resolution=8)
    calibration = calibrate(support, prototypes, name)
    assert all(value.isfinite().all() for value in vars(calibration).values())
    assert (calibration.class_std > 0).all()
    assert (calibration.patch_std > 0).all()
    scores = score_features(make_features(2, seed=20), prototypes, calibration)
    prediction = decided(THRESHOLDS, scores, settings)
    assert np.isfinite(prediction.score).all()


def test_images_are_scored_each_by_itself() -> None:
    prototypes, order = make_prototypes(), [2, 0, 3, 1]
    calibration = calibrate(make_features(4, seed=7), prototypes, "prototype")
    features = make_features(4, seed=20)
    turned = ImageFeatures(features.class_token[order], features.patch_tokens[order])
    scores, of_turned = (score_features(each, prototypes, calibration) for each in (features, turned))
    torch.testing.assert_close(of_turned.image, scores.image[order], rtol=0, atol=1e-5)
    torch.testing.assert_close(of_turned.patches, scores.patches[order], rtol=0, atol=1e-5)
    assert len(set(scores.image.tolist())) == 4


def test_the_order_of_the_support_views_does_not_matter() -> None:
    support, prototypes = make_features(4, seed=7), make_prototypes()
    turned = ImageFeatures(support.class_token.flip(0), support.patch_tokens.flip(0))
    first, second = (calibrate(views, prototypes, "prototype") for views in (support, turned))
    for name, value in vars(first).items():
        torch.testing.assert_close(getattr(second, name), value, rtol=0, atol=1e-4)


def test_normal_prototypes_that_are_equally_similar_are_averaged_and_the_far_better_one_counts_alone() -> None:
    token = torch.tensor([1.0, 0.0])
    alike = torch.tensor([[0.302, 0.95332], [0.298, 0.95457]])
    apart = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    abnormal = torch.tensor([[0.0, 1.0]])
    for normal, best in ((alike, 0.3), (apart, 1 - math.log(2) / 10)):
        prototypes = Prototypes(normal, abnormal, torch.tensor([0.0, 1.0]), torch.ones(2), torch.ones(1))
        assert float(margins(token, prototypes, torch.zeros(2))) == pytest.approx(-best, abs=1e-4)
