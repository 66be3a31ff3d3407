"""Freeze a CLIP as a backbone."""

import hashlib
from collections.abc import Sequence, Sized
from typing import Any, cast

import torch
from torch import nn

from promptad.backbones.base import TextEncoder, Tokenizer
from promptad.backbones.clip import Backbone
from promptad.backbones.image_encoder import BlockEncoder, ViTImageEncoder
from promptad.backbones.padded_text_encoder import PaddedTextEncoder
from promptad.backbones.plain_clip import PlainClip
from promptad.backbones.text_encoder import CausalTextEncoder
from promptad.backbones.tokenizer import LazyTokenizer
from promptad.errors import InputError
from promptad.settings import BackboneSettings

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own, of RGB in [0, 1]


def input_size(settings: BackboneSettings, patch: int, own_size: int) -> int:
    """Return the image size, in pixels a side, that a ViT of these patches and this own size is built for.

    Raises:
        InputError: it is not a multiple of the patch size, or the crop is larger than the image.
    """
    _check_image_size(settings, patch)
    return settings.crop or settings.resize or own_size


def make_backbone(
    clip: nn.Module,
    settings: BackboneSettings,
    device: torch.device,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    tokenizer: Tokenizer | None = None,
) -> Backbone:
    """Freeze a CLIP as the backbone named in `settings`, with the normalisation of pixels that it learned with.

    Without a `tokenizer` it is CLIP's own.

    Raises:
        InputError: a weight is NaN or infinite.
    """
    check_finite(clip, f"`pretrained` {settings.pretrained}")
    frozen: Any = clip.eval().requires_grad_(requires_grad=False).to(device)
    tokenizer = tokenizer or LazyTokenizer()
    return Backbone(
        settings=settings,
        image_encoder=_image_encoder(frozen.visual, settings),
        text_encoder=_text_encoder(getattr(frozen, "text", frozen), tokenizer, settings),
        tokenizer=tokenizer,
        mean=torch.tensor(mean, device=device).view(3, 1, 1),
        std=torch.tensor(std, device=device).view(3, 1, 1),
        temperature=float(frozen.logit_scale.exp()),
        weights_sha256=hash_weights(frozen),
        device=device,
        clip=frozen,
        quick_gelu=any(type(module).__name__ == "QuickGELU" for module in frozen.modules()),
    )


def _image_encoder(visual: Any, settings: BackboneSettings) -> BlockEncoder:
    precision = getattr(torch, settings.precision)
    if not hasattr(visual, "trunk"):
        return ViTImageEncoder(visual, blocks_at(settings.memory_layers, visual.transformer.resblocks), precision)
    from promptad.backbones.trunk_encoder import TrunkImageEncoder  # noqa: PLC0415 it brings timm

    return TrunkImageEncoder(visual, blocks_at(settings.memory_layers, visual.trunk.blocks), precision)


def _text_encoder(text: Any, tokenizer: Tokenizer, settings: BackboneSettings) -> TextEncoder:
    precision = getattr(torch, settings.precision)
    if getattr(text, "attn_mask", "causal") is not None:
        return CausalTextEncoder(text, precision)
    return PaddedTextEncoder(text, tokenizer, text.pool_type == "argmax", precision)


def blocks_at(depths: Sequence[float], blocks: Sized) -> tuple[int, ...]:
    """Return the numbers of an image encoder's `blocks`, from 0, at these shares of its depth."""
    return tuple(dict.fromkeys(int(depth * len(blocks)) for depth in depths))


def clip_of(backbone: Backbone) -> PlainClip:
    """Return the modules of a backbone that `make_backbone` made; open_clip's where it is open_clip's."""
    assert backbone.clip is not None
    return cast(PlainClip, backbone.clip)


def _check_image_size(settings: BackboneSettings, patch: int) -> None:
    name = "crop" if settings.crop else "resize"
    size = settings.crop or settings.resize
    if size:
        check_multiple(name, size, settings.name, patch)
    if settings.crop and settings.resize and settings.crop > settings.resize:
        raise InputError(f"`crop` {settings.crop} is larger than `resize` {settings.resize}; make it smaller")


def check_multiple(setting: str, size: int, backbone: str, patch: int) -> None:
    """Check that a picture size is a multiple of the patch size of a backbone.

    Raises:
        InputError: it is not; the message names the nearest ones.
    """
    if size % patch or size < patch:
        below = max(size // patch, 1) * patch
        raise InputError(
            f"`{setting}` {size}: {backbone} needs a multiple of {patch}, such as {below} or {below + patch}"
        )


def check_finite(model: nn.Module, weights: str) -> None:
    """Check the numbers of a model; `weights` says in words where they come from.

    Raises:
        InputError: one is NaN or infinite.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(f"{weights}: {name} holds NaN or infinite numbers; give other weights")


def hash_weights(clip: nn.Module) -> str:
    """Return the SHA-256 of names, shapes and bytes of all weights."""
    digest = hashlib.sha256()
    for name, value in clip.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
