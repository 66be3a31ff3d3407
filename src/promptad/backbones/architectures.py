"""Which of open_clip's architectures can be read, and how: their image encoder, their text encoder, their tokenizer."""

import difflib
import re
from dataclasses import dataclass
from typing import Any

from open_clip.factory import get_model_config, list_models

from promptad.errors import InputError
from promptad.settings import TINY_BACKBONE

OWN_VIT, CLASS_TOKEN_TRUNK, POOLED_TRUNK = "own ViT", "class-token trunk", "pooled trunk"
CAUSAL, WHOLE = "causal", "whole"
USUAL_VISION = {"layers", "width", "patch_size", "image_size", "head_width", "mlp_ratio", "ls_init_value"}
CHOICES = "ViT-B-16-plus-240, ViT-L-14, ViT-B-16-SigLIP2, tiny"  # for a name that is near to none
PATCH = re.compile(r"^(?:vit|eva|eva02)_\w*patch(\d+)")  # in timm's names of transformers


@dataclass(frozen=True)
class Architecture:
    """An architecture of open_clip's that can be read.

    `image` is "own ViT" (open_clip's, with a local value-value path), "class-token trunk" (timm's, with one, too) or
    "pooled trunk" (timm's with attention pooling, through which each patch is read by itself). `text` is "causal"
    (prompts share their beginnings) or "whole" (every token attends to all of the prompt and its padding).
    """

    name: str  # of open_clip's
    config: dict[str, Any]  # open_clip's
    image: str
    text: str
    patch: int  # pixels a side

    @property
    def image_size(self) -> int:
        """The side of its images, in pixels."""
        return int(self.config["vision_cfg"]["image_size"])

    @property
    def dimensions(self) -> int:
        """The size D of the space that images and texts share."""
        return int(self.config["embed_dim"])

    @property
    def hub_tokenizer(self) -> str | None:
        """The hub's repository of its tokenizer; None is CLIP's own."""
        name: str | None = self.config["text_cfg"].get("hf_tokenizer_name")
        return name


def find_architecture(name: str) -> Architecture:
    """Return an architecture by its name.

    Raises:
        InputError: an unknown name, or an architecture that cannot be read; the message names near ones that can.
    """
    config: dict[str, Any] | None = get_model_config(name) if ":" not in name else None  # type: ignore[no-untyped-call]
    if config is None:
        known = [TINY_BACKBONE, *list_models()]  # type: ignore[no-untyped-call]
        near = difflib.get_close_matches(name, known, n=3)
        raise InputError(f"unknown `backbone` {name!r}; nearest: {', '.join(near) or CHOICES}")
    if reason := _why_not(config):
        near = difflib.get_close_matches(name, [own.name for own in known_architectures()], n=3, cutoff=0.4)
        raise InputError(f"`backbone` {name!r} cannot be read: {reason}; use one such as {', '.join(near) or CHOICES}")
    return _architecture(name, config)


def known_architectures() -> tuple[Architecture, ...]:
    """Return all architectures that can be read, in open_clip's order."""
    configs = ((name, get_model_config(name)) for name in list_models())  # type: ignore[no-untyped-call]
    return tuple(_architecture(name, config) for name, config in configs if config and not _why_not(config))


def _architecture(name: str, config: dict[str, Any]) -> Architecture:
    vision, text = config["vision_cfg"], config["text_cfg"]
    trunk = vision.get("timm_model_name")
    image = OWN_VIT if trunk is None else POOLED_TRUNK if vision["timm_pool"] == "map" else CLASS_TOKEN_TRUNK
    patch = vision.get("patch_size", 16) if trunk is None else _patch_of(trunk)
    return Architecture(name, config, image, WHOLE if text.get("no_causal_mask") else CAUSAL, patch)


def _why_not(config: dict[str, Any]) -> str:
    """Return why an architecture cannot be read; empty if it can."""
    if "multimodal_cfg" in config:
        return "it is a CoCa, whose images and texts are pooled by attention of their own"
    return _why_not_images(config["vision_cfg"]) or _why_not_texts(config["text_cfg"])


def _why_not_images(vision: dict[str, Any]) -> str:
    trunk = vision.get("timm_model_name")
    if trunk is not None:
        plain = vision.get("timm_pool") in ("map", "token") and vision.get("timm_proj") in (None, "", "none")
        is_read = plain and PATCH.match(trunk)
        return "" if is_read else f"its image encoder, {trunk}, is no ViT with a class token or an attention pool"
    if not isinstance(vision.get("layers"), int):
        return "its image encoder is a ResNet, no ViT"
    extra = sorted(vision.keys() - USUAL_VISION)
    return f"its image encoder has {', '.join(extra)}" if extra else ""


def _why_not_texts(text: dict[str, Any]) -> str:
    if model := text.get("hf_model_name"):
        return f"learned vectors do not reach its text encoder, {model} of Hugging Face"
    if text.get("embed_cls"):
        return "its text encoder has a class token"
    pooled = text.get("pool_type", "argmax")
    known = ("argmax", "last") if text.get("no_causal_mask") else ("argmax", "eos")
    return "" if pooled in known else f"its text encoder is read at {pooled}"


def _patch_of(trunk: str) -> int:
    found = PATCH.match(trunk)
    assert found is not None
    return int(found[1])
