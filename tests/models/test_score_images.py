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
from promptad.settings import IMAGE_SCORES, ScoringSettings, Settings, TrainingSettings, default_settings


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
        (ScoringSettings(image_score="class-token"), "multi-prototype", True),
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
    np.testing.assert_allclose(detector.score_images(images), detector.predict(images).score, rtol=0, atol=1e-5)


def test_without_the_local_path_there_are_no_patch_tokens(tiny: Backbone) -> None:
    pixels = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    complete, image_level = tiny.image_encoder.encode(pixels), tiny.image_encoder.encode(pixels, local=False)
    assert image_level.patch_tokens.shape == (2, 0, complete.patch_tokens.shape[2])
    torch.testing.assert_close(image_level.class_token, complete.class_token, rtol=0, atol=1e-6)


def test_an_unknown_image_score_is_refused() -> None:
    assert "`image_score` pixels: choose one of both, class-token, patches" in refusal(
        ScoringSettings, **{"image_score": "pixels"}
    )
    assert Settings().scoring.image_score == "both"
