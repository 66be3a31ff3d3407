"""The backbone against open_clip's own forward and reference implementations; its errors."""

from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, resize_pos_embed
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from promptad.backbones import image_encoder, tiny_clip
from promptad.backbones.clip import Backbone
from promptad.backbones.factory import choose_device, load_backbone
from promptad.backbones.frozen_clip import clip_of, make_backbone
from promptad.backbones.image_encoder import ViTImageEncoder
from promptad.backbones.open_clip_vit import open_clip_of
from promptad.data.images import ImageLike, read_image
from promptad.errors import InputError
from promptad.features import ImageFeatures
from promptad.prompts.encode import encode_texts
from promptad.settings import BackboneSettings

CPU = torch.device("cpu")
TINY_WEIGHTS = Path(tiny_clip.__file__).parent / "tiny" / "weights.safetensors"
SMALL: dict[str, Any] = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}
SMALLER = SMALL | {"embed_dim": 4}


def random_pixels(backbone: Backbone, count: int) -> Tensor:
    side = backbone.image_encoder.image_size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def random_image(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def reference_patch_tokens(clip: CLIP, pixels: Tensor) -> Tensor:
    """The local path as the golden cases describe it: per image, per block, per head, per patch."""
    block_inputs: list[Tensor] = []
    blocks = clip.visual.transformer.resblocks
    hooks = [block.register_forward_pre_hook(lambda _, given: block_inputs.append(given[0])) for block in blocks]
    clip.encode_image(pixels)  # the class path is the ordinary forward
    for hook in hooks:
        hook.remove()
    features = []
    for image in range(len(pixels)):
        local = block_inputs[0][image].clone()  # [token, width], the output of ln_pre
        for block, tokens in zip(blocks, block_inputs, strict=True):
            width, heads = local.shape[1], block.attn.num_heads
            size = width // heads
            hidden = block.ln_1(tokens[image])
            mixed = torch.zeros_like(local)
            for head in range(heads):
                rows = slice(2 * width + head * size, 2 * width + (head + 1) * size)  # values come third
                value = hidden @ block.attn.in_proj_weight[rows].T + block.attn.in_proj_bias[rows]
                for token in range(len(value)):
                    similarity = value @ value[token] / size**0.5
                    weights = similarity.exp() / similarity.exp().sum()
                    mixed[token, head * size : (head + 1) * size] = (weights[:, None] * value).sum(0)
            local = local + mixed @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
        projected = clip.visual.ln_post(local[1:]) @ clip.visual.proj
        features.append(projected / projected.norm(dim=1, keepdim=True))
    return torch.stack(features)


def reference_layers(clip: CLIP, pixels: Tensor) -> list[Tensor]:
    """The class path's patch tokens between attention and MLP of every block, from the ordinary forward."""
    between: list[Tensor] = []
    blocks = clip.visual.transformer.resblocks
    hooks = [block.ln_2.register_forward_pre_hook(lambda _, given: between.append(given[0])) for block in blocks]
    clip.encode_image(pixels)
    for hook in hooks:
        hook.remove()
    return [F.normalize(tokens[:, 1:], dim=-1) for tokens in between]


def weight_file(path: Path, config: dict[str, Any], seed: int = 0) -> Path:
    torch.manual_seed(seed)
    torch.save(CLIP(**config).state_dict(), path)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BackboneSettings:
    """Settings of an architecture that open_clip knows, with its weights in a file."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-small", SMALL)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-smaller", SMALLER)
    return BackboneSettings(name="ViT-small", pretrained=str(weight_file(tmp_path / "small.pt", SMALL)))


def test_the_class_token_is_clips_own(tiny: Backbone) -> None:
    pixels = random_pixels(tiny, 2)
    with torch.no_grad():
        expected = open_clip_of(tiny).encode_image(pixels, normalize=True)
    torch.testing.assert_close(tiny.image_encoder.encode(pixels).class_token, expected, rtol=0, atol=1e-6)


def test_the_local_path_equals_its_reference() -> None:
    backbone = load_backbone(BackboneSettings(name="tiny", resize=40), CPU)
    pixels = random_pixels(backbone, 2)
    with torch.no_grad():
        expected = reference_patch_tokens(open_clip_of(backbone), pixels)
    torch.testing.assert_close(backbone.image_encoder.encode(pixels).patch_tokens, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "indices"), [(12, (3, 8)), (24, (6, 16)), (5, (1, 3)), (3, (0, 2)), (2, (0, 1)), (1, (0,))]
)
def test_layers_are_read_between_attention_and_mlp(layers: int, indices: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    clip = CLIP(**SMALL | {"vision_cfg": SMALL["vision_cfg"] | {"layers": layers}})
    backbone = make_backbone(clip, BackboneSettings(name="small", pretrained="small"), CPU)
    pixels = random_pixels(backbone, 2)
    with torch.no_grad():
        expected, class_token = reference_layers(clip, pixels), clip.encode_image(pixels, normalize=True)
    features = backbone.image_encoder.encode(pixels, layers=True)
    assert features.layers
    for found, number in zip(features.layers, indices, strict=True):
        torch.testing.assert_close(found, expected[number], rtol=0, atol=1e-5)
    torch.testing.assert_close(features.class_token, class_token, rtol=0, atol=1e-5)
    plain = backbone.image_encoder.encode(pixels)
    assert plain.layers == ()
    torch.testing.assert_close(features.patch_tokens, plain.patch_tokens, rtol=0, atol=1e-6)


def test_batches_keep_the_order_of_layers(tiny: Backbone) -> None:
    images = [random_image(112, 112).rotate(90 * turn) for turn in range(3)]
    found = tiny.encode_images(images, 2, layers=True).layers
    expected = tiny.image_encoder.encode(tiny.pixels(images), layers=True).layers
    assert found
    assert expected
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_an_image_has_the_same_features_alone_and_among_others(tiny: Backbone) -> None:
    pixels = random_pixels(tiny, 3)
    together, alone = tiny.image_encoder.encode(pixels), tiny.image_encoder.encode(pixels[1:2])
    torch.testing.assert_close(together.class_token[1:2], alone.class_token, rtol=0, atol=1e-5)
    torch.testing.assert_close(together.patch_tokens[1:2], alone.patch_tokens, rtol=0, atol=1e-5)


def test_batches_of_images_keep_their_order_and_are_counted(tiny: Backbone) -> None:
    images = [random_image(112, 112).rotate(90 * turn) for turn in range(3)]
    done: list[int] = []
    features = tiny.encode_images(images, 2, advance=done.append)
    expected = tiny.image_encoder.encode(tiny.pixels(images))
    torch.testing.assert_close(features.class_token, expected.class_token, rtol=0, atol=1e-5)
    torch.testing.assert_close(features.patch_tokens, expected.patch_tokens, rtol=0, atol=1e-5)
    assert done == [2, 1]


def test_a_cpu_encodes_as_many_images_at_once_as_fit_its_caches(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch, read_counts: list[int]
) -> None:
    pixels = random_pixels(tiny, 3)
    together = tiny.image_encoder.encode(pixels, layers=True)
    read_counts.clear()
    monkeypatch.setattr(image_encoder, "AT_ONCE", 2 * (1 + 14 * 14) * tiny.image_encoder.width)
    found = tiny.image_encoder.encode(pixels, layers=True)
    assert read_counts == [2, 1]
    torch.testing.assert_close(found.class_token, together.class_token, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.patch_tokens, together.patch_tokens, rtol=0, atol=1e-5)
    assert found.layers
    assert together.layers
    torch.testing.assert_close(found.layers[1], together.layers[1], rtol=0, atol=1e-5)


def test_a_cpu_does_not_read_while_it_encodes(tiny: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    images, complete = [random_image(112, 112)] * 5, ViTImageEncoder.encode
    opened: list[ImageLike] = []
    before: list[int] = []  # how many were open when a batch was encoded

    def read(image: ImageLike, bit_depth: int | None) -> Image.Image:
        opened.append(image)
        return read_image(image, bit_depth)

    def encode(self: ViTImageEncoder, pixels: torch.Tensor, *asked: bool) -> ImageFeatures:
        before.append(len(opened))
        return complete(self, pixels, *asked)

    monkeypatch.setattr("promptad.data.reading.read_image", read)
    monkeypatch.setattr(ViTImageEncoder, "encode", encode)
    tiny.encode_images(images, 2)
    assert before == [2, 4, 5]


@pytest.mark.parametrize(("precision", "error"), [("bfloat16", 0.03), ("float16", 0.004)])
def test_half_precision_encoders_are_close_and_return_float32(tiny: Backbone, precision: str, error: float) -> None:
    half = load_backbone(BackboneSettings(name="tiny", precision=precision), CPU)
    pixels = random_pixels(tiny, 2)
    found, expected = half.image_encoder.encode(pixels, layers=True), tiny.image_encoder.encode(pixels, layers=True)
    assert found.layers
    assert expected.layers
    for one, other in (
        (found.class_token, expected.class_token),
        (found.patch_tokens, expected.patch_tokens),
        (found.layers[1], expected.layers[1]),
        (encode_texts(half, ["a photo of a carpet."]), encode_texts(tiny, ["a photo of a carpet."])),
    ):
        assert one.dtype == torch.float32
        assert 1e-6 < (one - other).abs().max() < error


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="`precision` float8: choose one of float32, bfloat16, float16"):
        BackboneSettings(precision="float8")


def test_no_weight_takes_a_gradient(tiny: Backbone) -> None:
    assert not any(weight.requires_grad for weight in clip_of(tiny).parameters())
    assert not clip_of(tiny).training


def test_tiny_has_the_bundled_weights(tiny: Backbone) -> None:
    packed, state = load_file(TINY_WEIGHTS), clip_of(tiny).state_dict()
    names = {name for name in packed if not name.startswith("token_embedding.")}
    assert names == state.keys() - {"token_embedding.weight"}
    assert all(torch.equal(state[name], packed[name].float()) for name in names)
    table, known = state["token_embedding.weight"], packed["token_embedding.ids"].long()
    assert torch.equal(table[known], packed["token_embedding.rows"].float())
    others = torch.ones(len(table), dtype=torch.bool).index_fill(0, known, value=False)
    assert (table[others] == packed["token_embedding.other_row"].float()).all()


def test_tinys_weights_have_the_names_order_and_hash_of_open_clips_model(tiny: Backbone) -> None:
    """Checkpoints hold the hash, so another order of the same weights would be another backbone."""
    own, reference = clip_of(tiny).state_dict(), open_clip_of(tiny).state_dict()
    assert list(own) == list(reference)
    assert make_backbone(open_clip_of(tiny), tiny.settings, CPU).weights_sha256 == tiny.weights_sha256


def test_another_image_size_interpolates_the_position_embedding(tiny: Backbone) -> None:
    backbone = load_backbone(BackboneSettings(name="tiny", resize=128), CPU)
    config = tiny_clip.tiny_config()
    config["vision_cfg"]["image_size"] = 128
    clip = CLIP(**config).eval()
    state = clip_of(tiny).state_dict()
    resize_pos_embed(state, clip)
    clip.load_state_dict(state)
    pixels = random_pixels(backbone, 1)
    with torch.no_grad():
        expected = clip.encode_image(pixels, normalize=True)
    features = backbone.image_encoder.encode(pixels)
    assert (features.patch_tokens.shape[1], backbone.image_encoder.image_size) == (16 * 16, 128)
    torch.testing.assert_close(features.class_token, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"resize": 100}, r"`resize` 100: tiny needs a multiple of 8, such as 96 or 104"),
        ({"resize": 128, "crop": 100}, r"`crop` 100: tiny needs a multiple of 8, such as 96 or 104"),
        ({"resize": 5}, r"`resize` 5: tiny needs a multiple of 8, such as 8 or 16"),
        ({"resize": 112, "crop": 120}, r"`crop` 120 is larger than `resize` 112"),
    ],
)
def test_a_size_that_is_not_a_multiple_of_the_patch_size_is_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_backbone(BackboneSettings(name="tiny", **sizes), CPU)


@pytest.mark.parametrize(("name", "nearest"), [("ViT-L-14-33", "ViT-L-14-336"), ("tinny", "tiny")])
def test_an_unknown_backbone_is_refused_with_the_nearest_names(name: str, nearest: str) -> None:
    with pytest.raises(InputError, match=rf"unknown `backbone` '{name}'; nearest: .*{nearest}\b"):
        load_backbone(BackboneSettings(name=name), CPU)


def test_a_name_without_near_matches_is_refused_with_examples() -> None:
    with pytest.raises(InputError, match=r"unknown `backbone` '12345'; nearest: ViT-B-16-plus-240, ViT-L-14, .*, tiny"):
        load_backbone(BackboneSettings(name="12345"), CPU)


@pytest.mark.parametrize(
    ("name", "reason", "near"),
    [
        ("RN50", "its image encoder is a ResNet, no ViT", "ViT-B-16-SigLIP2"),
        ("convnext_base", "its image encoder, convnext_base, is no ViT with a class token or an", "ViT-L-14"),
        ("ViT-L-14-CLIPA", "its image encoder has final_ln_after_pool, no_ln_pre, pool_type", "ViT-L-14"),
        ("xlm-roberta-base-ViT-B-32", "learned vectors do not reach its text encoder, xlm-roberta-base", "ViT-B-32"),
        ("nllb-clip-base-siglip", "learned vectors do not reach its text encoder, facebook/nllb", "ViT-B-16-SigLIP2"),
        ("coca_ViT-B-32", "it is a CoCa, whose images and texts are pooled", "ViT-B-32"),
    ],
)
def test_a_backbone_that_cannot_be_read_is_refused_with_its_reason_and_near_ones(
    name: str, reason: str, near: str
) -> None:
    assert name in open_clip.factory._MODEL_CONFIGS
    with pytest.raises(
        InputError, match=f"`backbone` '{name}' cannot be read: {reason}.*; use one such as .*{near}\\b"
    ):
        load_backbone(BackboneSettings(name=name), CPU)


def test_an_unknown_tag_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"laion999: .* tag of ViT-B-16-plus-240 .*laion400m_e32"):
        load_backbone(BackboneSettings(name="ViT-B-16-plus-240", pretrained="laion999"), CPU)


def test_without_a_network_one_line_names_three_cures(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def head(self, *_: object, **__: object) -> None:
            raise OSError("no network")

    offline: list[bool] = []

    def create_model(*_: object, **__: object) -> None:
        offline.append(huggingface_hub.constants.HF_HUB_OFFLINE)
        raise OSError("no such file in the cache\nand no network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    monkeypatch.setattr("promptad.backbones.open_clip_vit.create_model", create_model)
    with pytest.raises(InputError) as refusal:
        load_backbone(BackboneSettings(), CPU)
    message = str(refusal.value)
    assert offline == [True]  # otherwise the download would be retried for a minute
    assert "\n" not in message
    for part in ("laion400m_e32", "connect this machine", "as `pretrained`", "the `backbone` tiny"):
        assert part in message


def test_a_weight_file_gives_its_own_weights_and_a_hash_of_them(small: BackboneSettings, tmp_path: Path) -> None:
    state = torch.load(small.pretrained)
    first, again = load_backbone(small, CPU), load_backbone(small, CPU)
    for name, value in clip_of(first).state_dict().items():
        assert torch.equal(value, state[name]), name
    state["visual.proj"][0, 0] += 1e-3
    torch.save(state, tmp_path / "other.pt")
    other = load_backbone(BackboneSettings(name="ViT-small", pretrained=str(tmp_path / "other.pt")), CPU)
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256


def test_a_file_of_another_architecture_is_refused_in_one_line(small: BackboneSettings) -> None:
    with pytest.raises(InputError, match=f"{small.pretrained} does not hold weights of ViT-smaller: ") as refusal:
        load_backbone(BackboneSettings(name="ViT-smaller", pretrained=small.pretrained), CPU)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_a_file_that_holds_no_weights_is_refused_in_one_line(small: BackboneSettings, tmp_path: Path) -> None:
    file = tmp_path / "notes.pt"
    file.write_text("no weights at all")
    with pytest.raises(InputError, match="does not hold weights of ViT-small") as refusal:
        load_backbone(BackboneSettings(name=small.name, pretrained=str(file)), CPU)
    assert "\n" not in str(refusal.value)


def test_a_gpu_without_cuda_falls_back_to_the_cpu_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(0) == (CPU, "`gpu` 0: no CUDA device here, running on the CPU")


def test_choosing_the_cpu_gives_no_warning() -> None:
    assert choose_device(None) == (CPU, None)


@pytest.mark.parametrize("gpu", [2, 9])
def test_a_gpu_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, gpu: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(1) == (torch.device("cuda", 1), None)
    with pytest.raises(InputError, match=f"`gpu` {gpu}: this machine has GPUs 0 to 1; choose one"):
        choose_device(gpu)


def test_pixels_are_normalised_by_mean_and_std_of_each_colour(tiny: Backbone) -> None:
    image = Image.new("RGB", (112, 112), (255, 51, 0))
    pixels = tiny.pixels([image, image])
    by_hand = [(1.0 - 0.48145466) / 0.26862954, (0.2 - 0.4578275) / 0.26130258, (0 - 0.40821073) / 0.27577711]
    assert pixels.shape == (2, 3, 112, 112)
    for channel, value in enumerate(by_hand):
        torch.testing.assert_close(pixels[:, channel], torch.full((2, 112, 112), value))


def test_an_oblong_image_is_resized_to_a_square_uncropped(tiny: Backbone) -> None:
    halves = Image.new("RGB", (400, 100), "black")
    halves.paste("white", (200, 0, 400, 100))
    light = tiny.pixels([halves])[0].mean(0) > 0  # [112, 112]
    assert not light[:, :54].any()
    assert light[:, 58:].all()


def test_a_crop_keeps_the_centre() -> None:
    backbone = load_backbone(BackboneSettings(name="tiny", resize=64, crop=32), CPU)
    image = random_image(64, 64)
    complete = load_backbone(BackboneSettings(name="tiny", resize=64), CPU).pixels([image])
    assert backbone.image_encoder.image_size == 32
    assert torch.equal(backbone.pixels([image]), complete[:, :, 16:48, 16:48])


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(number: float) -> None:
    clip = CLIP(**SMALL)
    with torch.no_grad():
        clip.text_projection[0, 0] = number
    with pytest.raises(InputError, match="`pretrained` mine: text_projection holds NaN or infinite numbers"):
        make_backbone(clip, BackboneSettings(name="small", pretrained="mine"), CPU)
