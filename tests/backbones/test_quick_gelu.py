"""QuickGELU: by the architecture, the tag, OpenAI's archive or the hub's configuration; each counts by itself."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from helpers import refusal
from open_clip.model import CLIP
from open_clip.pretrained import _PRETRAINED, get_pretrained_cfg
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file

from promptad.backbones.architectures import find_architecture, known_architectures
from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.backbones.feature_cache import FeatureCache
from promptad.backbones.open_clip_vit import open_clip_of
from promptad.backbones.weight_source import find_weights, is_quick_gelu
from promptad.models.registry import _check_activation
from promptad.prompts.encode import encode_texts
from promptad.settings import BackboneSettings

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
NAMES = {"ViT-thin": SMALL, "ViT-thin-quickgelu": SMALL | {"quick_gelu": True}}
LISTED = [(own.name, tag) for own in known_architectures() for tag in _PRETRAINED.get(own.name, {})]


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Weights large enough that the activation matters."""
    torch.manual_seed(0)
    model = CLIP(**SMALL)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim:
                weight.add_(torch.randn_like(weight) * 0.2)
    return model.state_dict()


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, config in NAMES.items():
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)


@pytest.mark.parametrize(("name", "tag"), LISTED)
def test_of_all_listed_pairs_one_that_says_quickgelu_gets_it(name: str, tag: str) -> None:
    """Both flags count: open_clip itself lets the architecture's alone decide, and warns where the tag's differs."""
    architecture = find_architecture(name)
    source = find_weights(BackboneSettings(name=name, pretrained=tag), architecture)
    of_tag = bool(get_pretrained_cfg(name, tag).get("quick_gelu"))
    assert source.is_tag
    assert source.quick_gelu == of_tag == is_quick_gelu(BackboneSettings(name=name, pretrained=tag))
    if architecture.config.get("quick_gelu"):
        assert of_tag  # no tag of GELU is listed under such a name, where it would be read with the wrong activation


def test_the_named_pairs_are_listed() -> None:
    for pair in (
        ("ViT-B-32-quickgelu", "openai"),
        ("ViT-B-32-quickgelu", "metaclip_400m"),
        ("ViT-B-16-quickgelu", "metaclip_fullcc"),
        ("ViT-B-16", "dfn2b"),
        ("ViT-L-14-quickgelu", "dfn2b"),
        ("ViT-H-14-378-quickgelu", "dfn5b"),
    ):
        assert pair in LISTED


def saved_plain(state: dict[str, torch.Tensor], folder: Path) -> Path:
    torch.save(state, folder / "weights.pt")
    return folder / "weights.pt"


def saved_safetensors(state: dict[str, torch.Tensor], folder: Path) -> Path:
    save_file(state, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def saved_hub(state: dict[str, torch.Tensor], folder: Path) -> Path:
    save_file(state, folder / "open_clip_model.safetensors")
    config = {"model_cfg": SMALL | {"quick_gelu": True}, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def saved_hub_file(state: dict[str, torch.Tensor], folder: Path) -> Path:
    return saved_hub(state, folder) / "open_clip_model.safetensors"


def check_equal(backbone: Backbone, state: dict[str, torch.Tensor], quick_gelu: bool) -> None:
    """Check images and texts against a model of open_clip's that is made for this."""
    model = CLIP(**SMALL, quick_gelu=quick_gelu).eval()
    model.load_state_dict(state)
    pixels, texts = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)), ["a photo of a nut.", "hole"]
    with torch.no_grad():
        images, words = model.encode_image(pixels, True), model.encode_text(SimpleTokenizer()(texts), True)
    torch.testing.assert_close(backbone.image_encoder.encode(pixels).class_token, images, rtol=0, atol=1e-5)
    torch.testing.assert_close(encode_texts(backbone, texts), words, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("saved", [saved_plain, saved_safetensors, saved_hub, saved_hub_file])
def test_a_file_has_the_activation_of_its_architecture_or_of_the_hubs_configuration(
    name: str,
    saved: Callable[[dict[str, torch.Tensor], Path], Path],
    state: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    backbone = load_backbone(BackboneSettings(name=name, pretrained=str(saved(state, tmp_path))), CPU)
    from_hub = saved in (saved_hub, saved_hub_file)
    assert backbone.quick_gelu == (from_hub or "quickgelu" in name)
    check_equal(backbone, state, backbone.quick_gelu)
    mean = [0.1, 0.2, 0.3] if from_hub else [0.48145466, 0.4578275, 0.40821073]
    assert backbone.mean.flatten().tolist() == pytest.approx(mean)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quick_gelu", [True, False])
def test_a_tag_says_its_activation_under_either_name(
    name: str, quick_gelu: bool, state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = {"quick_gelu": quick_gelu, "mean": (0.4, 0.4, 0.4), "std": (0.2, 0.2, 0.2), "file": "f"}
    monkeypatch.setitem(_PRETRAINED, name, {"mine": tag})
    file = str(saved_safetensors(state, tmp_path))
    monkeypatch.setattr("open_clip.factory.download_pretrained", lambda *_, **__: file)
    monkeypatch.setattr("promptad.backbones.open_clip_vit.offline_without_hub", nullcontext)
    backbone = load_backbone(BackboneSettings(name=name, pretrained="mine"), CPU)
    assert backbone.quick_gelu == (quick_gelu or "quickgelu" in name)
    check_equal(backbone, state, backbone.quick_gelu)
    assert backbone.mean.flatten().tolist() == pytest.approx([0.4, 0.4, 0.4])


def test_features_of_one_activation_are_not_those_of_the_other(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """Weights, name and size are the same: the cache must keep them apart all the same."""
    hub = tmp_path / "hub"
    hub.mkdir()
    pair = [
        replace(load_backbone(BackboneSettings(name="ViT-thin", pretrained=str(path)), CPU), mean=torch.zeros(3, 1, 1))
        for path in (saved_plain(state, tmp_path), saved_hub(state, hub))
    ]
    assert pair[0].weights_sha256 == pair[1].weights_sha256
    image = torch.rand(3, 32, 32)
    found = [
        replace(own, cache=FeatureCache(tmp_path / "cache")).encode_images([image], 1).class_token
        for own in (*pair, *pair)
    ]
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])


def test_a_detector_of_a_tag_is_not_read_with_the_same_weights_of_another_activation(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    trained = BackboneSettings(name="ViT-B-32", pretrained="openai")
    plain, hub = (
        load_backbone(BackboneSettings(name="ViT-thin", pretrained=str(saved(state, tmp_path))), CPU)
        for saved in (saved_plain, saved_hub)
    )
    message = refusal(_check_activation, tmp_path / "nut.pt", trained, plain)
    assert "openai of ViT-B-32, whose activation is QuickGELU" in message
    _check_activation(tmp_path / "nut.pt", trained, hub)
    _check_activation(tmp_path / "nut.pt", replace(trained, pretrained="laion2b_e16"), plain)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "is no configuration of open_clip"),
        ('{"model_cfg": 3}', "is no configuration of open_clip"),
        ('{"preprocess_cfg": {"mean": "grey"}}', "is no configuration of open_clip"),
    ],
)
def test_a_broken_configuration_beside_the_weights_is_refused(
    text: str, reason: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    (saved_hub(state, tmp_path) / "open_clip_config.json").write_text(text, encoding="utf-8")
    message = refusal(load_backbone, BackboneSettings(name="ViT-thin", pretrained=str(tmp_path)), CPU)
    assert reason in message
    assert "\n" not in message


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    message = refusal(load_backbone, BackboneSettings(name="ViT-thin", pretrained=str(tmp_path)), CPU)
    assert "the folder holds no open_clip_model.safetensors" in message


def test_the_model_of_a_backbone_is_open_clips(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    backbone = load_backbone(BackboneSettings(name="ViT-thin", pretrained=str(saved_plain(state, tmp_path))), CPU)
    assert isinstance(open_clip_of(backbone), CLIP)
