"""SigLIP, SigLIP 2, Perception Encoder and EVA-CLIP against open_clip's own forward, and slow reference patches."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from helpers import refusal
from narrow_models import CONFIGS, CONTEXT, SIGLIPS, random_model, register, save_as_hub
from open_clip.factory import create_model
from safetensors.torch import save_file
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.backbones.factory import load_backbone
from promptad.backbones.open_clip_vit import open_clip_of
from promptad.backbones.prompt_trees import PromptTrees
from promptad.settings import BackboneSettings

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


def loaded(name: str, folder: Path, **settings: Any) -> Backbone:
    """A narrow backbone of random weights, saved as the hub saves them and loaded by its folder."""
    save_as_hub(random_model(name), name, folder, tokenizer=False)
    return load_backbone(BackboneSettings(name=name, pretrained=str(folder), **settings), CPU)


def random_pixels(backbone: Backbone, count: int = 2) -> Tensor:
    side = backbone.image_encoder.image_size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def block_inputs(trunk: Any, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
    """The input of each block and the last hidden state, from timm's ordinary forward."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    hooks = [block.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for block in trunk.blocks]
    hooks.append(trunk.blocks[-1].register_forward_hook(lambda _, __, found: outputs.append(found)))
    trunk(pixels)
    for hook in hooks:
        hook.remove()
    return inputs, outputs[0]


def reference_pooled(visual: Any, pixels: Tensor, chosen: slice = slice(None)) -> Tensor:
    """Each chosen patch as timm's own attention pool gives it when it is the only token there is."""
    trunk: Any = visual.trunk
    _, last = block_inputs(trunk, pixels)
    tokens = trunk.norm(last)[:, trunk.num_prefix_tokens :][:, chosen]
    rows = [
        torch.cat([visual.head(trunk.head(trunk.fc_norm(trunk.attn_pool(token[None, None])))) for token in image])
        for image in tokens
    ]
    normed: Tensor = F.normalize(torch.stack(rows), dim=-1)
    return normed


def reference_values(block: Any, hidden: Tensor, head: int, size: int) -> Tensor:
    """The values [token, size] of one head, by the weights of timm's blocks."""
    attention, rows = block.attn, slice(head * size, (head + 1) * size)
    if attention.qkv is None:
        value: Tensor = hidden @ attention.v_proj.weight[rows].T + attention.v_proj.bias[rows]
        return value
    width = hidden.shape[1]
    third = slice(2 * width + rows.start, 2 * width + rows.stop)
    bias = attention.qkv.bias[third] if attention.qkv.bias is not None else attention.v_bias[rows]
    return hidden @ attention.qkv.weight[third].T + bias  # type: ignore[no-any-return]


def reference_local(visual: Any, pixels: Tensor, after: bool) -> Tensor:
    """The local path of value-value attention: per image, per block, per head, per patch."""
    trunk, (inputs, _) = visual.trunk, block_inputs(visual.trunk, pixels)
    features = []
    for image in range(len(pixels)):
        local = inputs[0][image, 1:].clone()  # [patch, width]
        for block, tokens in zip(trunk.blocks, inputs, strict=True):
            heads = block.attn.num_heads
            size = local.shape[1] // heads
            hidden = tokens[image] if after else block.norm1(tokens[image])
            mixed = torch.zeros_like(local)
            for head in range(heads):
                value = reference_values(block, hidden, head, size)
                for patch in range(len(local)):
                    similarity = value @ value[patch + 1] / size**0.5
                    weights = (similarity - similarity.max()).exp()
                    weights = weights / weights.sum()
                    mixed[patch, head * size : (head + 1) * size] = (weights[:, None] * value).sum(0)
            added = block.attn.proj(block.attn.norm(mixed))
            if after:
                added = block.norm1(added)
            elif hasattr(block, "ls1"):
                added = block.ls1(added)
            elif block.gamma_1 is not None:
                added = block.gamma_1 * added
            local = local + added
        features.append(F.normalize(trunk.head(trunk.norm(local)), dim=-1))
    return torch.stack(features)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_class_token_is_open_clips_image_feature(name: str, tmp_path: Path) -> None:
    backbone = loaded(name, tmp_path)
    pixels = random_pixels(backbone)
    with torch.no_grad():
        expected = open_clip_of(backbone).encode_image(pixels, normalize=True)
    found = backbone.image_encoder.encode(pixels)
    assert found.class_token.shape == (2, CONFIGS[name]["embed_dim"]) == (2, backbone.image_encoder.dimensions)
    torch.testing.assert_close(found.class_token, expected, rtol=0, atol=1e-5)
    assert (found.class_token[0] - found.class_token[1]).abs().max() > 1e-2


@pytest.mark.parametrize("name", [name for name in CONFIGS if "SigLIP" in name or "PE" in name])
def test_a_patch_is_read_through_the_attention_pool_alone(name: str, tmp_path: Path) -> None:
    backbone = loaded(name, tmp_path)
    pixels = random_pixels(backbone)
    with torch.no_grad():
        expected = reference_pooled(open_clip_of(backbone).visual, pixels)
    found = backbone.image_encoder.encode(pixels).patch_tokens
    assert found.shape == (2, 9, backbone.image_encoder.dimensions)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found[0, 0] - found[0, 5]).abs().max() > 1e-2


@pytest.mark.parametrize("name", [name for name in CONFIGS if "EVA" in name or "Mobile" in name])
def test_a_class_token_trunk_has_a_local_path(name: str, tmp_path: Path) -> None:
    backbone = loaded(name, tmp_path)
    pixels = random_pixels(backbone)
    with torch.no_grad():
        expected = reference_local(open_clip_of(backbone).visual, pixels, after=name == "narrow-EVA02-E")
    found = backbone.image_encoder.encode(pixels).patch_tokens
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found[0, 0] - found[0, 5]).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["narrow-SigLIP2", "narrow-PE-Core", "narrow-EVA02"])
def test_memory_layers_are_the_hidden_states_after_blocks(name: str, tmp_path: Path) -> None:
    backbone = loaded(name, tmp_path, memory_layers=(0.0, 0.67))
    assert backbone.image_encoder.layer_indices == (0, 2)
    pixels, visual = random_pixels(backbone), open_clip_of(backbone).visual
    trunk: Any = visual.trunk
    with torch.no_grad():
        wanted = {"indices": [0, 2], "output_fmt": "NLC", "intermediates_only": True}
        expected = trunk.forward_intermediates(pixels, **wanted)
    features, plain = (backbone.image_encoder.encode(pixels, layers=own) for own in (True, False))
    assert plain.layers == ()
    for found, own in zip(features.layers, expected, strict=True):
        assert found.shape == (2, 9, backbone.image_encoder.width)
        torch.testing.assert_close(found, F.normalize(own, dim=-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(features.patch_tokens, plain.patch_tokens, rtol=0, atol=1e-6)
    bare = backbone.image_encoder.encode(pixels, local=False)
    assert bare.patch_tokens.shape == (2, 0, backbone.image_encoder.dimensions)
    torch.testing.assert_close(bare.class_token, plain.class_token, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["narrow-SigLIP2", "narrow-PE-Core", "narrow-EVA02"])
def test_another_image_size_resamples_positions_as_timm_does(name: str, tmp_path: Path) -> None:
    backbone = loaded(name, tmp_path, resize=80)
    visual: Any = random_model(name).visual
    visual.set_input_size(80)
    pixels = random_pixels(backbone)
    with torch.no_grad():
        expected = F.normalize(visual(pixels), dim=-1)
    found = backbone.image_encoder.encode(pixels)
    assert found.patch_tokens.shape[1] == 25
    torch.testing.assert_close(found.class_token, expected, rtol=0, atol=1e-5)


def test_the_temperature_is_the_scale_and_the_bias_is_left_out(tmp_path: Path) -> None:
    name = SIGLIPS[0]
    model = random_model(name)
    with torch.no_grad():
        model.logit_scale.fill_(4.7)
    save_as_hub(model, name, tmp_path, tokenizer=False)
    backbone = load_backbone(BackboneSettings(name=name, pretrained=str(tmp_path)), CPU)
    assert backbone.temperature == pytest.approx(109.95, abs=0.01)
    cosines = torch.tensor([0.11, 0.07, -0.02])
    shifted = torch.softmax(backbone.temperature * cosines + float(model.logit_bias.detach()), 0)
    torch.testing.assert_close(torch.softmax(backbone.temperature * cosines, 0), shifted)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in SIGLIPS])
def test_text_features_are_open_clips(name: str, tmp_path: Path) -> None:
    from open_clip.tokenizer import SimpleTokenizer  # noqa: PLC0415 as in the package

    from promptad.prompts.encode import encode_texts  # noqa: PLC0415

    texts = ["a photo of a carpet.", "a photo of a carpet with hole.", "zipper", "a photo of a carpet."]
    backbone = loaded(name, tmp_path)
    tokens = SimpleTokenizer(context_length=CONTEXT)(texts)
    with torch.no_grad():
        expected = open_clip_of(backbone).encode_text(tokens, normalize=True)
    found = encode_texts(backbone, texts)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-3


class Padding:
    """A tokenizer of which only the padding is asked."""

    start, end = (), (1,)

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def encode(self, text: str, first: bool = True) -> list[int]:
        raise AssertionError(text, first)


@pytest.mark.parametrize("padding", [0, 1])
def test_whole_prompts_are_padded_and_equal_open_clips(padding: int, tmp_path: Path) -> None:
    backbone = loaded("narrow-SigLIP2", tmp_path)
    encoder: Any = backbone.text_encoder
    encoder.tokenizer = Padding(padding)
    prompts = [[7, 8, 9, 1], [7, 8, 1], [7, 5, 300, 9, 8, 1], [7, 8, 1]]
    filled = torch.tensor([prompt + [padding] * (CONTEXT - len(prompt)) for prompt in prompts])
    with torch.no_grad():
        expected = open_clip_of(backbone).encode_text(filled)
        vectors = encoder.embed(torch.arange(400))
        trees = PromptTrees.joined([PromptTrees.of(own, CPU) for own in (prompts[:2], prompts[2:])], [0, 400])
        together = encoder.encode_raw(vectors, trees)
        one_tree = encoder.encode_raw(vectors, PromptTrees.of(prompts, CPU))
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(one_tree, expected, rtol=0, atol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    other = torch.where(filled == padding, 2, filled)
    with torch.no_grad():  # the padding is attended to
        assert (open_clip_of(backbone).encode_text(other) - expected).abs().max() > 1e-4


def test_gradients_reach_vectors_of_whole_prompts_as_they_do_in_open_clip(tmp_path: Path) -> None:
    backbone = loaded("narrow-SigLIP", tmp_path)
    encoder: Any = backbone.text_encoder
    encoder.tokenizer = Padding(1)
    text, generator = encoder.text, torch.Generator().manual_seed(2)
    vectors = torch.randn(6, 32, generator=generator).requires_grad_()
    prompts, direction = [[0, 1, 2, 5], [0, 3, 4, 2, 5]], torch.randn(2, 32, generator=generator)
    (encoder.encode(vectors, PromptTrees.of(prompts, CPU)) * direction).sum().backward()
    reference = vectors.detach().clone().requires_grad_()
    pad = text.token_embedding.weight[1].detach()
    loss = torch.zeros(())
    for prompt, wanted in zip(prompts, direction, strict=True):
        filled = torch.cat([reference[prompt], pad.expand(CONTEXT - len(prompt), -1)]) + text.positional_embedding
        feature = text.text_projection(text.ln_final(text.transformer(filled[None]))[0, -1])
        loss = loss + F.normalize(feature, dim=0) @ wanted
    loss.backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    assert reference.grad is not None
    assert (vectors.grad.abs().amax(1) > 1e-5).all()
    torch.testing.assert_close(vectors.grad, reference.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "PE-Core-T-16-384"])
def test_a_true_architecture_equals_open_clip(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: Any = create_model(name).eval()
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    backbone = load_backbone(BackboneSettings(name=name, pretrained=str(tmp_path)), CPU)
    pixels = random_pixels(backbone, 1)
    length = backbone.text_encoder.context_length
    prompt = [320, 1125, 539, 49407 if "SigLIP" not in name else 1]
    tokens = torch.tensor([prompt + [1 if "SigLIP" in name else 0] * (length - len(prompt))])
    if "SigLIP" in name:
        cast(Any, backbone.text_encoder).tokenizer = Padding(1)
    with torch.no_grad():
        image, text = model.encode_image(pixels, normalize=True), model.encode_text(tokens, normalize=True)
        patches = reference_pooled(model.visual, pixels, slice(0, None, 50))
        own = backbone.text_encoder.embed(tokens[0, :4])
        words = backbone.text_encoder.encode(own, PromptTrees.of([[0, 1, 2, 3]], CPU))
    found = backbone.image_encoder.encode(pixels)
    torch.testing.assert_close(found.class_token, image, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.patch_tokens[:, ::50], patches, rtol=0, atol=1e-5)
    torch.testing.assert_close(words, text, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["narrow-SigLIP2", "narrow-PE-Core", "narrow-EVA02"])
def test_half_precision_is_close_and_returns_float32(name: str, tmp_path: Path) -> None:
    backbone, half = loaded(name, tmp_path), loaded(name, tmp_path, precision="bfloat16")
    pixels = random_pixels(backbone)
    found, expected = (own.image_encoder.encode(pixels, layers=True) for own in (half, backbone))
    for one, other in (
        (found.class_token, expected.class_token),
        (found.patch_tokens, expected.patch_tokens),
        (found.layers[1], expected.layers[1]),
    ):
        assert one.dtype == torch.float32
        assert 1e-6 < (one - other).abs().max() < 0.05


@pytest.mark.parametrize(
    ("name", "multiple"),
    [
        ("ViT-B-16-SigLIP2", "16, such as 224 or 240"),
        ("PE-Core-B-16", "16, such as 224 or 240"),
        ("EVA02-L-14", "14, such as 224 or 238"),
    ],
)
def test_a_size_that_is_no_multiple_of_the_patch_size_is_refused(name: str, multiple: str) -> None:
    message = refusal(load_backbone, BackboneSettings(name=name, resize=230), CPU)
    assert message == f"`resize` 230: {name} needs a multiple of {multiple}"
