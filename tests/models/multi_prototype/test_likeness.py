"""Whether an image shows the part at all, against references written with loops."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from random_parts import decided
from torch import Tensor

from promptad import PromptAD, Settings
from promptad.data.demo import draw_image
from promptad.features import DisturbedFeatures, ImageFeatures, SupportFeatures
from promptad.models.anomaly_map import Scores
from promptad.models.multi_prototype.likeness import SAMPLES, SLACK, Likeness
from promptad.models.multi_prototype.threshold import Thresholds
from promptad.settings import TINY_BACKBONE, BackboneSettings, ScoringSettings, TrainingSettings
from promptad.structures import ANOMALY, UNLIKE

VIEWS, PATCHES, WIDTH = 3, 20, 8


def make_images(count: int, seed: int) -> ImageFeatures:
    generator = torch.Generator().manual_seed(seed)
    patches = F.normalize(torch.randn(count, PATCHES, WIDTH, generator=generator), dim=-1)
    return ImageFeatures(patches[:, 0], patches)


def samples_of(images: list[Tensor]) -> list[Tensor]:
    """Patches at even steps through all of some images' [patch, WIDTH]."""
    patches = [patch for image in images for patch in image]
    return [patches[round(step * (len(patches) - 1) / (SAMPLES - 1))] for step in range(SAMPLES)]


def lacking(image: Tensor, samples: list[Tensor]) -> float:
    return sum(min(1 - float(sample @ patch) for patch in image) for sample in samples) / len(samples)


@pytest.mark.parametrize("count", [1, 3])
def test_the_limit_is_twice_what_any_known_view_lacks(count: int) -> None:
    views, disturbed, far = (make_images(count * VIEWS, seed) for seed in (1, 2, 3))
    share = torch.zeros(count * VIEWS, PATCHES)
    support = SupportFeatures(views, far, DisturbedFeatures(disturbed, share), is_only_image=count == 1)
    found = Likeness.fit(support, VIEWS)
    images = list(views.patch_tokens[::VIEWS])
    samples = samples_of(images)
    torch.testing.assert_close(found.samples, torch.stack(samples))
    known = [lacking(image, samples) for image in (*views.patch_tokens, *disturbed.patch_tokens)]
    if count == 1:
        known += [lacking(image, samples) for image in far.patch_tokens]
    for number, image in enumerate(views.patch_tokens):
        others = [first for own, first in enumerate(images) if own != number // VIEWS]
        known += [lacking(image, samples_of(others))] if others else []
    assert float(found.limit) == pytest.approx(SLACK * max(known), rel=1e-5)
    new = make_images(2, 4).patch_tokens
    expected = [lacking(image, samples) / float(found.limit) for image in new]
    assert found.lack(new).tolist() == pytest.approx(expected, rel=1e-5)


def test_an_image_unlike_the_part_is_above_the_threshold_whatever_its_score() -> None:
    half = Thresholds(*(torch.tensor(number) for number in (4.0, 3.0, 2.0, 2.0)))
    scores = Scores(torch.tensor([-9.0, -9.0, 50.0]), torch.zeros(3, 2, 2), torch.tensor([0.9, 1.5, 1.5]))
    raw = half.raw_scores(scores)
    assert raw.tolist() == [-9, 4 + 2 * 1.5, 50]
    prediction = decided(half, scores, ScoringSettings(resolution=4))
    assert prediction.label == ("good", "anomaly", "anomaly")
    assert prediction.score[1] > 0.5 > prediction.score[0]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("memory", [False, True])
def test_frames_and_other_parts_are_unlike_a_screw_and_other_screws_are_not(count: int, memory: bool) -> None:
    def drawn(part: str, seed: int) -> Image.Image:
        return Image.fromarray(draw_image(part, style_seed=3, instance_seed=seed)[0])

    settings = Settings(
        backbone=BackboneSettings(name=TINY_BACKBONE),
        training=TrainingSettings(epochs=2),
        scoring=ScoringSettings(memory=memory, resolution=32),
    )
    detector = PromptAD("screw", settings=settings).fit([drawn("screw", seed) for seed in range(count)])
    good = detector.predict([drawn("screw", seed) for seed in range(10, 14)])
    assert all(one.lack is not None and one.lack < 1 for one in good.explanations)
    others = [Image.new("RGB", (64, 64), colour) for colour in ("white", "black", "grey", "navy")]
    others += [drawn(part, 5) for part in ("carpet", "bottle", "zipper", "leather")]
    found = detector.predict(others)
    assert [one.reason for one in found.explanations] == [UNLIKE] * 8
    assert found.label == (ANOMALY,) * 8
    assert (detector.score_samples(others) == -found.raw_score).all()
