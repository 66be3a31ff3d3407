"""A new family of backbones is one line in the registry; its memory layers may be of any number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from promptad import PromptAD, Settings
from promptad.backbones.clip import Backbone
from promptad.backbones.factory import BACKBONES, load_backbone
from promptad.backbones.frozen_clip import clip_of
from promptad.backbones.image_encoder import ViTImageEncoder
from promptad.backbones.tiny_clip import load_tiny
from promptad.data.demo import draw_image
from promptad.settings import BackboneSettings, ScoringSettings, TrainingSettings, default_settings


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [draw_image("tile", style_seed=7, instance_seed=number)[0] for number in range(3)]


def family(*layer_indices: int) -> object:
    """A loader of `tiny` that keeps other intermediate layers."""

    def load(settings: BackboneSettings, device: torch.device) -> Backbone:
        backbone = load_tiny(settings, device)
        return replace(backbone, image_encoder=ViTImageEncoder(clip_of(backbone).visual, layer_indices=layer_indices))

    return load


@pytest.mark.parametrize("layer_indices", [(1,), (0, 1, 2)])
@pytest.mark.parametrize("system", ["multi-prototype", "single-anchor"])
def test_a_family_is_one_line_and_its_memory_has_its_layers(
    system: str,
    layer_indices: tuple[int, ...],
    images: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(BACKBONES, "layered", family(*layer_indices))
    settings: Settings = replace(
        default_settings(system),
        training=TrainingSettings(epochs=1, views=2),
        scoring=ScoringSettings(memory=True, resolution=32),
    )
    detector = PromptAD("tile", backbone="layered:tiny", settings=settings).fit(images[:2])
    detector.save(tmp_path / "tile.pt")
    checkpoint = torch.load(tmp_path / "tile.pt", weights_only=True)
    held = checkpoint["memory"] if system == "multi-prototype" else checkpoint
    starts = ("first", "second", "layer_3", "layer_4", "feature_gallery")
    names = {name for name in held if name.startswith(starts)}
    assert len(names) == len(layer_indices)
    loaded = PromptAD.load(tmp_path / "tile.pt", system=system)
    found, again = detector.predict(images), loaded.predict(images)
    np.testing.assert_array_equal(again.score, found.score)
    np.testing.assert_array_equal(again.anomaly_map, found.anomaly_map)


@pytest.mark.parametrize(
    ("depths", "blocks"), [((0.25, 0.67), (1, 4)), ((0.5, 0.75), (3, 4)), ((0.0, 0.99), (0, 5)), ((0.5, 0.51), (3,))]
)
def test_layers_of_a_memory_bank_are_shares_of_the_depth(depths: tuple[float, ...], blocks: tuple[int, ...]) -> None:
    settings = BackboneSettings(name="tiny", memory_layers=depths)
    assert load_backbone(settings, torch.device("cpu")).image_encoder.layer_indices == blocks


def test_the_default_layers_are_the_published_ones() -> None:
    for count in (12, 24, 32):
        assert [int(depth * count) for depth in BackboneSettings().memory_layers] == [count // 4, 2 * count // 3]
