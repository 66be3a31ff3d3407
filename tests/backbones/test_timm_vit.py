"""The memory backbones: features equal to timm's own, weights of files as the hub saves them, and refusals in words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from helpers import refusal
from little_vit import LITTLE, random_model, write_weights
from safetensors.torch import save_file

from promptad.backbones.factory import load_backbone
from promptad.backbones.timm_vit import blocks_until, licence_note, load_timm_vit, timm_name
from promptad.export.onnx import memory_graph, to_bytes
from promptad.runtime.engines import ENGINES, ONNXRUNTIME
from promptad.runtime.metadata import MEMORY_IMAGES
from promptad.settings import MEMORY_BACKBONES, BackboneSettings

CPU = torch.device("cpu")
FAMILIES = {
    "dinov2-small": 112,
    "timm:vit_small_patch14_reg4_dinov2.lvd142m": 112,
    "dinov3-small": 128,
}  # with a picture size, not their own


def little(tmp_path: Path, name: str = LITTLE, **settings: object) -> BackboneSettings:
    file = write_weights(tmp_path / "little.safetensors", name)
    given = {"memory_backbone": name, "memory_pretrained": str(file), "memory_size": 96} | settings
    return BackboneSettings(name="tiny", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "size"), FAMILIES.items())
def test_features_are_those_of_timm_at_another_size(name: str, size: int, tmp_path: Path) -> None:
    own = random_model(name)
    save_file(own.state_dict(), tmp_path / "model.safetensors")
    settings = BackboneSettings(
        memory_backbone=name, memory_pretrained=str(tmp_path / "model.safetensors"), memory_size=size
    )
    encoder = load_timm_vit(settings, CPU)
    overlay = {"file": str(tmp_path / "model.safetensors")}
    resized: Any = timm.create_model(
        timm_name(name), pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, img_size=size
    ).eval()
    pixels = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        complete = resized.forward_features(pixels)[:, resized.num_prefix_tokens :]
        inner = resized.forward_intermediates(pixels, norm=True, output_fmt="NLC", intermediates_only=True)[7]
    found = encoder.encode(pixels)
    assert encoder.layer_indices == (7, 11)
    assert found[1].shape == (3, encoder.side**2, encoder.width)
    torch.testing.assert_close(found[0], F.normalize(inner, dim=-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[1], F.normalize(complete, dim=-1), rtol=0, atol=1e-5)
    assert float((found[0] - found[1]).abs().max()) > 1e-2
    config = own.pretrained_cfg
    assert encoder.mean.flatten().tolist() == pytest.approx(list(config["mean"]))
    assert encoder.std.flatten().tolist() == pytest.approx(list(config["std"]))
    assert encoder.interpolation == config["interpolation"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("dinov2-small", 84), ("dinov3-small", 96)])
def test_graphs_give_the_features_of_torch(name: str, size: int, tmp_path: Path) -> None:
    file = write_weights(tmp_path / "model.safetensors", name)
    settings = BackboneSettings(name="tiny", memory_backbone=name, memory_pretrained=str(file), memory_size=size)
    backbone = load_backbone(settings, CPU)
    graph = ENGINES[ONNXRUNTIME](to_bytes(memory_graph(backbone)), "float32", None)
    squares = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    encoder = backbone.memory
    assert encoder is not None
    expected = encoder.encode((torch.from_numpy(squares).permute(0, 3, 1, 2) / 255 - encoder.mean) / encoder.std)
    for found, layer in zip(graph.run({MEMORY_IMAGES: squares}).values(), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(found), layer, rtol=0, atol=1e-5)


def test_short_names_are_those_that_timm_knows_weights_of() -> None:
    for name, full in MEMORY_BACKBONES.items():
        config = timm.get_pretrained_cfg(full)
        assert config is not None
        assert config.hf_hub_id == f"timm/{full}"
        assert name.split("-")[0] in full


def test_other_layers_other_weights_and_other_formats(tmp_path: Path) -> None:
    settings = little(tmp_path)
    encoder = load_timm_vit(settings, CPU)
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    first = encoder.encode(pixels)
    turned = load_timm_vit(replace(settings, memory_backbone_layers=(1.0, 0.67)), CPU)
    assert turned.layer_indices == (5, 3)
    assert all(torch.equal(own, other) for own, other in zip(turned.encode(pixels), reversed(first), strict=True))
    state = random_model(LITTLE).state_dict() | {"head.weight": torch.ones(10, 64), "head.bias": torch.ones(10)}
    torch.save({"model": state}, tmp_path / "little.pth")
    same = load_timm_vit(replace(settings, memory_pretrained=str(tmp_path / "little.pth")), CPU)
    assert same.weights_sha256 == encoder.weights_sha256
    state["norm.bias"] += 1
    save_file(state, tmp_path / "other.safetensors")
    other = load_timm_vit(replace(settings, memory_pretrained=str(tmp_path / "other.safetensors")), CPU)
    assert other.weights_sha256 != encoder.weights_sha256


def test_a_picture_encodes_alone_as_among_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_timm_vit(little(tmp_path), CPU)
    pixels = torch.randn(5, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    together = encoder.encode(pixels)
    monkeypatch.setattr("promptad.backbones.image_encoder.AT_ONCE", 2 * 36 * 64)
    for one, other in zip(encoder.encode(pixels), together, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_shares_of_depth_end_at_blocks() -> None:
    assert blocks_until((0.67, 1.0), 12) == (7, 11)
    assert blocks_until((0.67, 1.0), 24) == (15, 23)
    assert blocks_until((0.01, 0.02), 12) == (0,)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"memory_backbone": "dinov2-smal"}, "unknown `memory_backbone` 'dinov2-smal'; nearest: dinov2-small"),
        ({"memory_backbone": "timm:hf-hub:someone/model"}, "unknown `memory_backbone`"),
        ({"memory_backbone": "timm:resnet18"}, "is no plain ViT"),
        ({"memory_size": 100}, f"`memory_size` 100: {LITTLE} needs a multiple of 16, such as 96 or 112"),
        ({"memory_size": 8}, "such as 16 or 32"),
        ({"memory_pretrained": "nowhere.pth"}, "`memory_pretrained` nowhere.pth: no such file"),
        ({"memory_backbone": "timm:vit_tiny_patch16_224"}, "does not hold weights of timm:vit_tiny_patch16_224"),
    ],
)
def test_what_cannot_be_loaded_is_refused(settings: dict[str, object], words: str, tmp_path: Path) -> None:
    assert words in refusal(load_timm_vit, replace(little(tmp_path), **settings), CPU)  # type: ignore[arg-type]


def test_a_program_in_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    class Program:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "it ran",)

    torch.save({"norm.bias": Program()}, file := tmp_path / "weights.pt")
    settings = replace(little(tmp_path), memory_pretrained=str(file))
    assert "it is no file of tensors" in refusal(load_timm_vit, settings, CPU)
    assert not (tmp_path / "it ran").exists()


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    settings, file = little(tmp_path), tmp_path / "little.safetensors"
    state = random_model(LITTLE).state_dict()
    save_file({name: value for name, value in state.items() if name != "norm.bias"}, file)
    assert "norm.bias is missing; give the file of this architecture" in refusal(load_timm_vit, settings, CPU)
    save_file(state | {"stem.weight": torch.ones(1)}, file)
    assert "stem.weight is too much" in refusal(load_timm_vit, settings, CPU)
    save_file(state | {"norm.bias": torch.full((64,), torch.nan)}, file)
    assert "norm.bias holds NaN or infinite numbers" in refusal(load_timm_vit, settings, CPU)
    file.write_bytes(b"no weights")
    assert "it is no file of tensors" in refusal(load_timm_vit, settings, CPU)


def test_without_the_hub_weights_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    settings = BackboneSettings(memory_backbone="dinov2-small")
    assert "cannot download the weights of dinov2-small (timm/vit_small_patch14_dinov2.lvd142m)" in refusal(
        load_timm_vit, settings, CPU
    )


def test_restricting_licences_are_told() -> None:
    assert licence_note(BackboneSettings()) == ""
    assert licence_note(BackboneSettings(memory_backbone="dinov2-small")) == ""
    assert "Meta's DINOv3 License" in licence_note(BackboneSettings(memory_backbone="dinov3-base"))
    other = licence_note(BackboneSettings(memory_backbone="timm:vit_base_patch16_dinov3_qkvb.eupe_lvd1689m"))
    assert "fair-noncommercial-research-license" in other
