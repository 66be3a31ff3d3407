"""The controls of the benchmarks: our memory's term alone, and nearest neighbours without training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from controls import nearest_layers, nearest_pixels, nearest_tokens, pixel_patches
from demo_bed import BOTH, MEMORY, TEXT, settings_of, trained
from PIL import Image

from promptad.backbones.clip import Backbone
from promptad.data.demo import draw_image
from promptad.features import ImageFeatures, SupportFeatures
from promptad.models.base import Subject
from promptad.settings import MULTI_PROTOTYPE, LossWeights, ScoringSettings, Settings

SCORING = ScoringSettings(resolution=8, sigma=0.5)
VIEWS = 2


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    """Four views of two good carpets, then a good and a stained one."""
    seeds = [(1, None), (1, None), (2, None), (2, None), (3, None), (4, "color stain")]
    drawn = [draw_image("carpet", style_seed=3, instance_seed=seed, defect=kind)[0] for seed, kind in seeds]
    return [Image.fromarray(image) for image in drawn]


@pytest.fixture(scope="module")
def features(tiny: Backbone, images: list[Image.Image]) -> ImageFeatures:
    return tiny.image_encoder.encode(tiny.pixels([image.resize((112, 112)) for image in images]), layers=True)


@pytest.fixture(scope="module")
def settings() -> Settings:
    plain = settings_of(MULTI_PROTOTYPE, 0, epochs=1)
    scoring = replace(plain.scoring, resolution=32, fusion="sum")
    training = replace(plain.training, views=VIEWS, weights=LossWeights(reaction=0.0))  # no disturbed views
    return replace(plain, training=training, scoring=scoring)


def test_the_memory_alone_is_what_it_adds_to_the_text(
    tiny: Backbone, features: ImageFeatures, settings: Settings
) -> None:
    support, test = SupportFeatures(features.rows(slice(0, 4))), features.rows(slice(4, 6))
    detectors = dict(trained(tiny, Subject("demo", "carpet", ("1", "2"), ""), support, settings))
    known = detectors[BOTH].add_memory_distances(test)
    alone, text, both = (detectors[name].score(known) for name in (MEMORY, TEXT, BOTH))
    torch.testing.assert_close(alone.image, both.image - text.image)
    torch.testing.assert_close(alone.patches, both.patches - text.patches, rtol=1e-4, atol=1e-4)
    assert alone.image[1] > alone.image[0]  # stained


def test_nearest_neighbours_rank_what_is_unlike_the_support_higher() -> None:
    units = F.normalize(torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    known, odd = units[:4], units[4:5]
    patches = torch.stack([known, known.flip(0), torch.cat([odd, known[1:]])])
    features = ImageFeatures(patches[:, 0], patches, (patches, patches))
    support, test = features.rows(slice(0, 1)), features.rows(slice(1, 3))
    for found in (nearest_layers(support, test, SCORING), nearest_tokens(support, test, SCORING)):
        expected = float((1 - (known @ odd[0]).max()) / 2)
        np.testing.assert_allclose(found.score, [0, expected], atol=1e-6)
        assert np.unravel_index(found.anomaly_map[1].argmax(), (8, 8)) == (0, 0)
        assert found.threshold is None


def test_raw_pixels_are_compared_patch_by_patch(tmp_path: Path) -> None:
    for name, level in (("black", 0), ("dark", 51), ("white", 255)):
        Image.new("RGB", (64, 64), (level, level, level)).save(tmp_path / f"{name}.png")
    black, dark, white = (tmp_path / f"{name}.png" for name in ("black", "dark", "white"))
    half = Image.open(white).copy()
    half.paste(Image.open(dark), (0, 32))
    half.save(tmp_path / "half.png")
    found = nearest_pixels([black, white], [white, dark, tmp_path / "half.png"], None, SCORING)
    far = 0.2 * np.sqrt(4 * 4 * 3)
    np.testing.assert_allclose(found.score, [0, far, far], rtol=0.1, atol=2e-3)  # resizing overshoots at an edge
    assert found.anomaly_map[2, :2].max() < 0.1 * far < 0.9 * far < found.anomaly_map[2, -2:].min()


def test_patches_of_pixels_are_in_the_order_of_rows() -> None:
    image = np.zeros((32, 32, 3), np.float32)
    image[4:8, 8:12] = 1
    patches = pixel_patches([image])
    assert patches.shape == (1, 64, 48)
    assert patches.sum(2)[0].nonzero().flatten().tolist() == [8 + 2]
