"""A plain CLIP as modules, by the names of open_clip's weights: what `tiny` is made of, and all that an encoder reads.

open_clip's own modules have the same parts, and take their place where a backbone is open_clip's. `tiny` does without
them, because their import takes longer than a picture: it brings torchvision, timm and torch's compiler.
"""

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import nn


class Block(nn.Module):
    """A block of a transformer: attention and an MLP, each after its norm (Radford et al., CLIP, 2021)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), nn.MultiheadAttention(width, heads, batch_first=True)
        self.ls_1: nn.Module = nn.Identity()  # where other models scale what is added
        self.ln_2 = nn.LayerNorm(width)
        hidden = int(mlp_ratio * width)
        parts = {"c_fc": nn.Linear(width, hidden), "gelu": nn.GELU(), "c_proj": nn.Linear(hidden, width)}
        self.mlp = nn.Sequential(OrderedDict[str, nn.Module](parts))
        self.ls_2: nn.Module = nn.Identity()


class Blocks(nn.Module):
    """The blocks of a transformer."""

    def __init__(self, count: int, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(count))


class VisionTransformer(nn.Module):
    """A plain ViT: patches, a class token, positions, blocks and the projection into the text space."""

    def __init__(self, vision: dict[str, Any], dimensions: int) -> None:
        super().__init__()
        width, patch, size = vision["width"], vision["patch_size"], vision["image_size"]
        self.image_size, self.grid_size = (size, size), (size // patch, size // patch)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + math.prod(self.grid_size), width))
        self.proj = nn.Parameter(torch.empty(width, dimensions))
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Blocks(vision["layers"], width, width // vision["head_width"], vision["mlp_ratio"])
        self.ln_post = nn.LayerNorm(width)


class PlainClip(nn.Module):
    """A plain ViT and a causal text transformer, of open_clip's configuration; its weights are still to be loaded."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        text, dimensions = config["text_cfg"], config["embed_dim"]
        self.context_length, self.vocab_size = text["context_length"], text["vocab_size"]
        width = text["width"]
        self.positional_embedding = nn.Parameter(torch.empty(self.context_length, width))
        self.text_projection = nn.Parameter(torch.empty(width, dimensions))
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.visual = VisionTransformer(config["vision_cfg"], dimensions)
        self.transformer = Blocks(text["layers"], width, text["heads"])
        self.token_embedding = nn.Embedding(self.vocab_size, width)
        self.ln_final = nn.LayerNorm(width)
