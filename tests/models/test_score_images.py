"""The terms of an image score, and scoring without maps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import refusal, smooth_best

from promptad import PromptAD
from promptad.backbones.clip import Backbone
from promptad.data.demo import draw_image
from promptad.models.base import AnomalyDetector
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.scoring import score_class_tokens
from promptad.models.multi_prototype.similarities import margins
from promptad.models.normal_stats import mean_of_largest
from promptad.settings import (
    IMAGE_SCORES,
    BackboneSettings,
    ScoringSettings,
    Settings,
    TrainingSettings,
    default_settings,
)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [draw_image("tile", style_seed=7, instance_seed=number)[0] for number in range(4)]


def fitted(images: list[np.ndarray], scoring: ScoringSettings, system: str = "multi-prototype") -> AnomalyDetector:
    plain = default_settings(system)
    settings = replace(plain, scoring=scoring, training=TrainingSettings(epochs=1, views=3))
    return PromptAD("tile", backbone="tiny", settings=settings).fit(images[:2]).detector


def test_an_image_score_is_the_sum_of_its_terms(images: list[np.ndarray]) -> None:
    detectors = {name: fitted(images, ScoringSettings(image_score=name)) for name in IMAGE_SCORES}
    features = detectors["both"].encode(images)
    scores = {name: detector.score(features) for name, detector in detectors.items()}
    torch.testing.assert_close(scores["both"].image, scores["class-token"].image + scores["patches"].image)
    torch.testing.assert_close(scores["class-token"].patches, scores["patches"].patches)
    assert not torch.equal(scores["class-token"].image, scores["patches"].image)


def test_scores_of_class_tokens_equal_their_reference(images: list[np.ndarray]) -> None:
    detector = fitted(images, ScoringSettings(image_score="class-token"))
    assert isinstance(detector, MultiPrototypeDetector)
    tokens = detector.encode(images).class_token
    prototypes, calibration = detector.head.prototypes, detector.head.calibration
    for token, found in zip(tokens, score_class_tokens(tokens, prototypes, calibration), strict=True):
        best = smooth_best(
            [float(n @ token - o) for n, o in zip(prototypes.normal, calibration.normal_bias, strict=True)]
        )
        z_scores = [
            (float(a @ token) - best - float(mean)) / float(std)
            for a, mean, std in zip(prototypes.abnormal, calibration.class_mean, calibration.class_std, strict=True)
        ]
        assert float(found) == pytest.approx(max(z_scores), abs=1e-3)


@pytest.mark.parametrize(
    ("scoring", "system", "by_token"),
    [
        (ScoringSettings(image_score="class-token"), "multi-prototype", False),
        (ScoringSettings(image_score="class-token", memory=True), "multi-prototype", False),
        (ScoringSettings(), "multi-prototype", False),
        (ScoringSettings(), "single-anchor", True),
        (ScoringSettings(memory=True), "single-anchor", False),
    ],
)
def test_scores_without_maps_are_those_with_maps(
    images: list[np.ndarray], scoring: ScoringSettings, system: str, by_token: bool
) -> None:
    detector = fitted(images, scoring, system)
    assert detector.by_class_token is by_token
    found = detector.predict(images)
    np.testing.assert_allclose(detector.score_images(images), found.raw_score, rtol=0, atol=1e-5)


def test_without_the_local_path_there_are_no_patch_tokens(tiny: Backbone) -> None:
    pixels = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    complete, image_level = tiny.image_encoder.encode(pixels), tiny.image_encoder.encode(pixels, local=False)
    assert image_level.patch_tokens.shape == (2, 0, complete.patch_tokens.shape[2])
    torch.testing.assert_close(image_level.class_token, complete.class_token, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("share", "counted"), [(0.0, 1), (0.01, 2), (0.02, 4), (1.0, 196)])
def test_the_share_of_patches_in_a_score_is_rounded_and_never_none(share: float, counted: int) -> None:
    values = torch.randn(3, 196, generator=torch.Generator().manual_seed(1))
    expected = [sum(sorted(row.tolist())[-counted:]) / counted for row in values]
    assert mean_of_largest(values, share).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("memory", [False, True])
def test_patches_count_in_a_score_by_their_share(images: list[np.ndarray], memory: bool) -> None:
    detector = fitted(images, ScoringSettings(image_score="patches", memory=memory))
    assert isinstance(detector, MultiPrototypeDetector)
    features = detector.add_memory_distances(detector.encode(images))
    scores, head = detector.score(features), detector.head
    of_words = margins(features.patch_tokens, head.prototypes, head.calibration.normal_bias)
    terms = [((of_words - head.calibration.patch_mean) / head.calibration.patch_std).amax(2)]
    if head.memory is not None:
        assert features.distances is not None
        terms[0] = head.memory.patches_weight * terms[0]
        terms.append((features.distances - head.memory.patch_mean) / head.memory.patch_std)
    count = max(1, round(0.01 * features.patch_tokens.shape[1]))
    expected = sum(term.sort(1, descending=True).values[:, :count].mean(1) for term in terms)
    torch.testing.assert_close(scores.image, expected)


@pytest.mark.parametrize(
    ("part", "setting", "value", "cure"),
    [
        (ScoringSettings, "top_share", 1.5, "must be from 0 to 1"),
        (ScoringSettings, "memory_distances", (), "give a list of nearest, soft, refined, subspace"),
        (ScoringSettings, "memory_distances", ("near",), "choose one of nearest, soft, refined, subspace"),
        (TrainingSettings, "turn", -1.0, "must be a number of at least 0"),
        (TrainingSettings, "least_crop", 0.0, "must be from 0.1 to 1"),
        (BackboneSettings, "memory_layers", (), "give shares of the depth"),
        (BackboneSettings, "memory_layers", (0.5, 1.0), "give shares of the depth"),
    ],
)
def test_settings_out_of_range_are_refused(part: type, setting: str, value: object, cure: str) -> None:
    message = refusal(part, **{setting: value})
    assert f"`{setting}` " in message
    assert cure in message


def test_an_unknown_image_score_is_refused() -> None:
    assert "`image_score` pixels: choose one of both, class-token, patches" in refusal(
        ScoringSettings, **{"image_score": "pixels"}
    )
    assert Settings().scoring.image_score == "both"
