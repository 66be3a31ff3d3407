"""A little ViT of timm with random weights, which stands for a memory backbone where no weights can be had."""

from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file

from promptad.backbones.timm_vit import timm_name

LITTLE = "timm:test_vit"  # six blocks, 64 wide, patches of 16 pixels


@cache
def random_model(name: str = LITTLE) -> Any:
    """A model of timm at its own picture size; its blocks do something, though layer scales start near 0."""
    torch.manual_seed(0)
    model = timm.create_model(timm_name(name), num_classes=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def write_weights(file: Path, name: str = LITTLE, shift: float = 0.0) -> Path:
    """Write the weights of a random model as the hub saves them; with a shift they are other ones."""
    state = {key: value.clone() for key, value in random_model(name).state_dict().items()}
    state["norm.bias"] += shift
    save_file(state, file)
    return file
