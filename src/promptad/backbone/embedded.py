"""The embedded backbone `tiny`: a small CLIP whose weights lie in the package."""

import json
from importlib.resources import as_file, files
from typing import Any

from open_clip.model import CLIP, resize_pos_embed
from safetensors.torch import load_file
from torch import Tensor


def embedded_config() -> dict[str, Any]:
    """Return open_clip's model configuration of `tiny`."""
    config: dict[str, Any] = json.loads((files(__package__) / "tiny" / "config.json").read_text())
    return config


def load_embedded(image_size: int) -> CLIP:
    """Build `tiny` for pictures of `image_size` pixels; for another size than its own, positions are interpolated."""
    config = embedded_config()
    config["vision_cfg"]["image_size"] = image_size
    model = CLIP(**config)
    with as_file(files(__package__) / "tiny" / "weights.safetensors") as weights:
        state = expand_vocabulary(load_file(weights), model.vocab_size)
    resize_pos_embed(state, model)
    model.load_state_dict(state)
    return model


def expand_vocabulary(packed: dict[str, Tensor], vocabulary_size: int) -> dict[str, Tensor]:
    """Return the float32 state dict of packed float16 weights.

    Only the words of the training captions have token embeddings of their own; all others share one row, which is
    stored once.
    """
    state = {name: value.float() for name, value in packed.items() if not name.startswith("token_embedding.")}
    table = packed["token_embedding.other_row"].float().repeat(vocabulary_size, 1)  # [token, width]
    table[packed["token_embedding.ids"].long()] = packed["token_embedding.rows"].float()
    return state | {"token_embedding.weight": table}
