"""The tokenizers of SigLIP and SigLIP 2: prompts as open_clip's own tokenizer makes them, from files or refused."""

import sys
from pathlib import Path

import pytest
import torch
from helpers import refusal
from narrow_models import CONFIGS, CONTEXT, META, SIGLIPS, random_model, register, save_as_hub, save_tokenizer
from open_clip.factory import get_tokenizer

from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.backbones.hub_tokenizer import HubTokenizer
from promptad.backbones.open_clip_vit import open_clip_of
from promptad.prompts.encode import encode_texts
from promptad.prompts.prompt_learner import PromptLearner, initial_contexts
from promptad.prompts.states import state_groups
from promptad.settings import BackboneSettings, PromptSettings

CPU = torch.device("cpu")
TEXTS = ["a photo of a carpet.", "A photo of the Carpet with hole!", "nut", "a photo of a carpet.", "qxj 42!"]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


@pytest.fixture
def backbone(request: pytest.FixtureRequest, tmp_path: Path) -> Backbone:
    folder = save_as_hub(random_model(request.param), request.param, tmp_path)
    return load_backbone(BackboneSettings(name=request.param, pretrained=str(folder)), CPU)


@pytest.mark.parametrize("backbone", [*SIGLIPS, META], indirect=True)
def test_prompts_and_their_features_are_open_clips(backbone: Backbone) -> None:
    folder = backbone.settings.pretrained
    tokens = get_tokenizer(f"local-dir:{folder}")(TEXTS)  # [prompt, CONTEXT]
    padding = backbone.tokenizer.padding
    assert padding == (0 if "SigLIP2" in backbone.settings.name else 1)
    for text, expected in zip(TEXTS, tokens.tolist(), strict=True):
        own = backbone.prompt_ids(text)
        assert len(own) > 1
        assert own + [padding] * (CONTEXT - len(own)) == expected
    with torch.no_grad():
        features = open_clip_of(backbone).encode_text(tokens, normalize=True)
    found = encode_texts(backbone, TEXTS)
    torch.testing.assert_close(found, features, rtol=0, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-3


@pytest.mark.parametrize("backbone", SIGLIPS, indirect=True)
def test_words_after_vectors_have_the_tokens_of_words_within_a_prompt(backbone: Backbone) -> None:
    """Gemma's tokenizer puts no space before the first word, so that its tokens differ there."""
    tokenizer = backbone.tokenizer
    assert tokenizer.encode("a photo of a") + tokenizer.encode("carpet", first=False) == tokenizer.encode(
        "a photo of a carpet"
    )
    is_gemma = "SigLIP2" in backbone.settings.name
    assert (tokenizer.encode("carpet") == tokenizer.encode("carpet", first=False)) != is_gemma


@pytest.mark.parametrize("backbone", SIGLIPS, indirect=True)
def test_a_prompt_of_learned_vectors_starts_as_its_words_and_can_be_learned(backbone: Backbone) -> None:
    """The first normal context holds the last tokens of "a photo of a", so with the class it is that sentence."""
    settings = PromptSettings(n_pro=1, n_pro_ab=2, n_ctx=len(backbone.token_ids("a photo of a")))
    contexts = initial_contexts(backbone, state_groups("carpet"), settings, 0)
    learner = PromptLearner(backbone, "carpet", *contexts)
    normal, abnormal = learner()
    sentence = encode_texts(backbone, ["a photo of a carpet"])
    torch.testing.assert_close(normal, sentence, rtol=0, atol=1e-5)
    (normal.sum() + (abnormal * torch.randn(abnormal.shape)).sum()).backward()
    for context in (learner.normal_context, learner.abnormal_context):
        assert context.grad is not None
        assert torch.isfinite(context.grad).all()
        assert (context.grad.abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize("name", SIGLIPS)
def test_without_transformers_images_are_read_and_texts_refused_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_as_hub(random_model(name), name, tmp_path, tokenizer=False)
    backbone = load_backbone(BackboneSettings(name=name, pretrained=str(folder)), CPU)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert backbone.image_encoder.encode(torch.zeros(1, 3, 48, 48)).class_token.shape == (1, 32)
    message = refusal(encode_texts, backbone, TEXTS)
    assert message == 'transformers is not installed: pip install "promptad[siglip]"'


def test_a_tokenizer_that_is_nowhere_is_refused_with_its_cures(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.setattr("promptad.backbones.hub_access.huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("promptad.backbones.hub_access.huggingface_hub.get_session", lambda: None)
    tokenizer = HubTokenizer("ViT-B-16-SigLIP2", CONFIGS["narrow-SigLIP2"]["text_cfg"])
    message = refusal(tokenizer.encode, "nut")
    assert message.startswith("cannot download the tokenizer of ViT-B-16-SigLIP2 from the hub's a/c; connect")
    assert "tokenizer.json and tokenizer_config.json beside the weights" in message
    assert "\n" not in message


def test_a_broken_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    save_tokenizer(tmp_path, gemma=True)
    (tmp_path / "tokenizer.json").write_text('{"model": 3}', encoding="utf-8")
    tokenizer = HubTokenizer("ViT-B-16-SigLIP2", CONFIGS["narrow-SigLIP2"]["text_cfg"], tmp_path)
    message = refusal(tokenizer.encode, "nut")
    assert f"{tmp_path} does not hold the tokenizer of ViT-B-16-SigLIP2: " in message
    assert "\n" not in message


def test_a_tokenizer_that_pads_in_front_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    save_tokenizer(tmp_path, gemma=True)
    config = tmp_path / "tokenizer_config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"right"', '"left"'), encoding="utf-8")
    tokenizer = HubTokenizer("ViT-B-16-SigLIP2", CONFIGS["narrow-SigLIP2"]["text_cfg"], tmp_path)
    assert "pads in front" in refusal(tokenizer.encode, "nut")


def test_a_tokenizer_of_a_larger_model_is_refused(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, gemma=True)
    text = CONFIGS["narrow-SigLIP2"]["text_cfg"] | {"vocab_size": 20}
    message = refusal(HubTokenizer("ViT-B-16-SigLIP2", text, tmp_path).encode, "carpet")
    assert message.startswith(f"the tokenizer in {tmp_path} is of another model than ViT-B-16-SigLIP2")
