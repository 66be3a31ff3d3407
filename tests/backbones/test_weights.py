"""Where weights come from: tags whose table entry is of another epoch, OpenAI's archives, proxies."""

import os
from pathlib import Path

import huggingface_hub
import pytest
import torch
from helpers import refusal
from open_clip.factory import create_model
from torch import nn

from promptad.backbones.factory import load_backbone
from promptad.backbones.frozen_clip import clip_of
from promptad.backbones.hub_access import offline_without_hub
from promptad.backbones.weight_source import weights_note
from promptad.settings import BackboneSettings

CPU = torch.device("cpu")


class Holder(nn.Module):
    """A tree of parameters that TorchScript can save."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def as_archive(state: dict[str, torch.Tensor], file: Path) -> None:
    """Save weights as OpenAI does: half precision, in a TorchScript archive, with three numbers beside them."""
    root = Holder()
    numbers = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(77)}
    for name, value in (state | numbers).items():
        place: nn.Module = root
        *folders, leaf = name.split(".")
        for folder in folders:
            if not hasattr(place, folder):
                place.add_module(folder, Holder())
            place = getattr(place, folder)
        place.register_buffer(leaf, value.half() if value.is_floating_point() else value)
    torch.jit.script(root).save(str(file))  # type: ignore[no-untyped-call]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_an_archive_of_openai_is_read_as_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
    }
    monkeypatch.setitem(__import__("open_clip.factory", fromlist=["_MODEL_CONFIGS"])._MODEL_CONFIGS, "small", small)
    state = create_model("small", force_quick_gelu=True).state_dict()
    as_archive(state, tmp_path / "openai.pt")
    backbone = load_backbone(BackboneSettings(name="small", pretrained=str(tmp_path / "openai.pt")), CPU)
    clip = clip_of(backbone)
    for name, value in clip.state_dict().items():
        torch.testing.assert_close(value, state[name].half().float(), rtol=0, atol=0)
    assert "QuickGELU" in repr(clip)
    message = refusal(load_backbone, BackboneSettings(name="ViT-B-32", pretrained=str(tmp_path / "openai.pt")), CPU)
    assert "does not hold weights of ViT-B-32" in message


def test_a_tag_whose_table_entry_is_of_another_epoch_is_told() -> None:
    note = weights_note(BackboneSettings())
    assert note.startswith("open_clip's table takes laion400m_e32 of ViT-B-16-plus-240 from the hub's timm/")
    assert note.endswith("by that name these are the weights of epoch 31, not 32")
    for name, tag in (("ViT-B-16-plus-240", "laion400m_e31"), ("ViT-L-14", "openai"), ("ViT-L-14", "laion400m_e32")):
        assert weights_note(BackboneSettings(name=name, pretrained=tag)) == ""
    assert weights_note(BackboneSettings(name="tiny")) == ""


def test_the_file_of_a_detector_downloads_nothing_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[object] = []
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: requests.append("asked"))
    offline: list[bool] = []

    def create(*_: object, **__: object) -> None:
        offline.append(huggingface_hub.constants.HF_HUB_OFFLINE)
        raise FileNotFoundError("Failed to download file")

    monkeypatch.setattr("promptad.backbones.open_clip_vit.create_model", create)
    settings = BackboneSettings(name="ViT-B-32", pretrained="laion2b_s34b_b79k")
    message = refusal(load_backbone, settings, CPU, download=False)
    assert message.endswith("unasked: ask for them by `pretrained` laion2b_s34b_b79k (in Python `weights=`)")
    assert (offline, requests) == ([True], [])
    assert "cannot download the weights laion2b_s34b_b79k" in refusal(load_backbone, settings, CPU)
    assert requests == ["asked"]


def test_weights_in_the_cache_are_used_behind_an_unknown_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> object:
        raise ImportError("Using SOCKS proxy, but the 'socksio' package is not installed.")

    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub, "get_session", unreachable)
    with offline_without_hub():
        assert huggingface_hub.constants.HF_HUB_OFFLINE
        assert "ALL_PROXY" not in os.environ
    assert os.environ["ALL_PROXY"] == "socks5://127.0.0.1:9"
