"""The bundled backbone `tiny`: a small CLIP whose weights are part of the package."""

import json
from contextlib import nullcontext
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.backbones.frozen_clip import input_size, make_backbone
from promptad.backbones.plain_clip import PlainClip
from promptad.settings import BackboneSettings


def load_tiny(settings: BackboneSettings, device: torch.device) -> Backbone:
    """Load `tiny`.

    Raises:
        InputError: an image size that is not a multiple of the patch size.
    """
    vision = tiny_config()["vision_cfg"]
    size = input_size(settings, vision["patch_size"], vision["image_size"])
    return make_backbone(load_tiny_clip(size), settings, device)


def tiny_config() -> dict[str, Any]:
    """Return open_clip's model configuration of `tiny`."""
    config: dict[str, Any] = json.loads((files(__package__) / "tiny" / "config.json").read_text(encoding="utf-8"))
    return config


def load_tiny_clip(image_size: int, weights: Path | None = None) -> PlainClip:
    """Build `tiny` for images of `image_size` pixels; for another size than its own, positions are interpolated.

    `weights` are those of the package, or a file of the same format.
    """
    config = tiny_config()
    config["vision_cfg"]["image_size"] = image_size
    model = PlainClip(config)
    with nullcontext(weights) if weights else as_file(files(__package__) / "tiny" / "weights.safetensors") as file:
        state = expand_vocabulary(load_file(file), model.vocab_size)
    if state["visual.positional_embedding"].shape != model.visual.positional_embedding.shape:
        from open_clip.model import resize_pos_embed  # noqa: PLC0415 it takes longer than a picture

        resize_pos_embed(state, model)
    model.load_state_dict(state)
    return model


def expand_vocabulary(packed: dict[str, Tensor], vocabulary_size: int) -> dict[str, Tensor]:
    """Return the float32 state dict of packed float16 weights.

    Only the words of the training captions have their own token embeddings; all others share one row, which is stored
    once.
    """
    state = {name: value.float() for name, value in packed.items() if not name.startswith("token_embedding.")}
    table = packed["token_embedding.other_row"].float().repeat(vocabulary_size, 1)  # [token, width]
    table[packed["token_embedding.ids"].long()] = packed["token_embedding.rows"].float()
    return state | {"token_embedding.weight": table}
