"""A training, a prediction, an export and an engine with each family of backbones, of random weights."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import call
from narrow_models import random_model, register, save_as_hub
from PIL import Image

from promptad import PromptAD, Settings
from promptad.backbones.factory import load_backbone
from promptad.backbones.feature_cache import FeatureCache
from promptad.data.demo import draw_image
from promptad.export.tower_encoder import with_engine
from promptad.runtime.session import Session
from promptad.settings import BackboneSettings, PromptSettings, ScoringSettings, TrainingSettings, default_settings

FAMILIES = ("narrow-SigLIP2", "narrow-SigLIP", "narrow-PE-Core", "narrow-EVA02")
LIGHTEST = ("--Epoch", "1", "--views", "2", "--resolution", "24", "--n_pro", "1", "--n_pro_ab", "2", "--use-cpu", "1")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [draw_image("tile", style_seed=7, instance_seed=number)[0] for number in range(3)]


def settings_of(name: str, folder: Path, system: str = "multi-prototype") -> Settings:
    save_as_hub(random_model(name), name, folder)
    return replace(
        default_settings(system),
        backbone=BackboneSettings(name=name, pretrained=str(folder)),
        prompts=PromptSettings(n_pro=1, n_pro_ab=2),
        training=TrainingSettings(epochs=2, views=2),
        scoring=ScoringSettings(memory=True, resolution=24),
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_detector_is_trained_saved_and_loaded(name: str, images: list[np.ndarray], tmp_path: Path) -> None:
    settings = settings_of(name, tmp_path / "hub")
    detector = PromptAD("tile", settings=settings).fit(images[:1], cache=FeatureCache(tmp_path / "cache"))
    found, cached = detector.predict(images), detector.predict(images)
    assert np.isfinite(found.raw_score).all()
    assert found.anomaly_map.std() > 0
    np.testing.assert_array_equal(cached.raw_score, found.raw_score)
    detector.save(tmp_path / "tile.pt")
    again = PromptAD.load(tmp_path / "tile.pt").predict(images)
    np.testing.assert_allclose(again.raw_score, found.raw_score, rtol=0, atol=1e-4)
    np.testing.assert_allclose(again.anomaly_map, found.anomaly_map, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["narrow-SigLIP2", "narrow-PE-Core"])
def test_an_exported_detector_judges_as_torch_does(name: str, images: list[np.ndarray], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    detector = PromptAD("tile", settings=settings_of(name, tmp_path / "hub")).fit(images[:1])
    detector.export(tmp_path / "tile.onnx")
    found, exported = detector.predict(images), Session(tmp_path / "tile.onnx").predict(images)
    np.testing.assert_allclose(exported.raw_score, found.raw_score, rtol=0, atol=1e-4)
    np.testing.assert_allclose(exported.anomaly_map, found.anomaly_map, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["narrow-EVA02"])
def test_an_engine_computes_the_same_features(name: str, images: list[np.ndarray], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    backbone = load_backbone(settings_of(name, tmp_path / "hub").backbone, torch.device("cpu"))
    own, other = (
        each.encode_images(images, 2, layers=True) for each in (backbone, with_engine(backbone, "onnxruntime"))
    )
    assert len(own.layers) == 2
    for one, same in (
        (own.class_token, other.class_token),
        (own.patch_tokens, other.patch_tokens),
        *zip(own.layers, other.layers, strict=True),
    ):
        torch.testing.assert_close(same, one, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["narrow-SigLIP", "narrow-PE-Core"])
def test_the_baseline_learns_with_them(name: str, images: list[np.ndarray], tmp_path: Path) -> None:
    settings = settings_of(name, tmp_path / "hub", "single-anchor")
    detector = PromptAD("tile", settings=settings, system="single-anchor").fit(images[:1])
    detector.save(tmp_path / "tile.pt")
    again = PromptAD.load(tmp_path / "tile.pt", system="single-anchor")
    np.testing.assert_array_equal(again.predict(images).score, detector.predict(images).score)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES[1:])
def test_the_command_line_trains_and_predicts(name: str, images: list[np.ndarray], tmp_path: Path) -> None:
    folder = save_as_hub(random_model(name), name, tmp_path / "hub")
    (tmp_path / "good").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "good" / f"{number}.png")
    weights = ("--backbone", name, "--pretrained-dataset", folder)
    trained = call("train", "--good", tmp_path / "good", "--name", "tile", "--root-dir", tmp_path, *weights, *LIGHTEST)
    assert trained.code == 0, trained.errors
    predicted = call("predict", tmp_path / "tile", tmp_path / "good", "--output", tmp_path / "out", "--use-cpu", "1")
    assert predicted.code == 0, predicted.errors
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    assert all(np.isfinite(line["raw"]) for line in lines)
