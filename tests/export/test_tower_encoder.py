"""Another engine in the place of torch: the same features, stored apart from torch's."""

from pathlib import Path

import pytest
import torch
from exported import carpets, support, trained
from helpers import LIGHT, TINY, Own, assert_refused, call, read_lines, refusal

from promptad.backbones.clip import Backbone
from promptad.data.reading import Reading
from promptad.export.tower_encoder import with_engine
from promptad.models.registry import load_with_thresholds
from promptad.runtime.engines import ENGINES, ONNXRUNTIME, TORCH


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_gives_the_features_of_torch(engine: str) -> None:
    backbone = trained("multi-prototype+memory").detector.backbone
    other = with_engine(backbone, engine)
    found, expected = (one.encode_images(carpets(), 5, layers=True) for one in (other, backbone))
    torch.testing.assert_close(found.class_token, expected.class_token, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.patch_tokens, expected.patch_tokens, rtol=0, atol=1e-6)
    assert len(found.layers) == len(expected.layers) == 2
    for own, usual in zip(found.layers, expected.layers, strict=True):
        torch.testing.assert_close(own, usual, rtol=0, atol=1e-6)
    plain = other.encode_images(carpets()[:2], 5, local=False)
    assert (plain.patch_tokens.shape[1], plain.layers) == (0, ())


def test_the_cache_tells_engines_apart(tiny: Backbone) -> None:
    other = with_engine(tiny, ONNXRUNTIME)
    image = support()[0]
    assert other._key(image, Reading()) != tiny._key(image, Reading())
    assert with_engine(tiny, TORCH) is tiny
    assert 'unknown engine: "tensorrt"' in refusal(with_engine, tiny, "tensorrt")


@pytest.mark.slow
def test_training_and_prediction_with_an_engine_decide_alike(own: Own, tmp_path: Path) -> None:
    learn = ("train", "--good", own.good, "--name", "my carpet", "--root-dir", tmp_path, *TINY, *LIGHT)
    outcome = call(*learn, "--engine", "openvino")
    assert outcome.code == 0, outcome.errors
    usual, found = (
        load_with_thresholds(part / "detector.pt", torch.device("cpu")).metadata.threshold
        for part in (own.part, tmp_path / "my_carpet")
    )
    assert found == pytest.approx(usual, rel=1e-3)
    assert call("predict", own.part, own.new, "--output", tmp_path / "out", "--engine", "onnxruntime").code == 0
    for line, plain in zip(read_lines(tmp_path / "out"), own.lines(tmp_path / "plain"), strict=True):
        assert line.get("decision") == plain.get("decision")
        assert line.get("raw") == pytest.approx(plain.get("raw"), abs=1e-3)
    assert_refused(call("predict", own.part, own.new, "--engine", "tensorrt"), 'unknown engine: "tensorrt"')
