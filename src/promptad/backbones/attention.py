"""One block of a CLIP transformer in parts, so that an encoder computes only what is read."""

from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.backbones.plain_clip import Block


def project(block: Block, tokens: Tensor, queried: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return queries, keys and values of tokens [batch, token, width]: [batch, head, token, width of a head] each.

    If only some tokens are read after the block, `queried` [batch, some, width] are those, and only they get queries.
    """
    attention, width = block.attn, tokens.shape[2]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if queried is None:
        return _heads(block, F.linear(block.ln_1(tokens), weight, bias))
    queries = _heads(block, F.linear(block.ln_1(queried), weight[:width], bias[:width]))
    return queries + _heads(block, F.linear(block.ln_1(tokens), weight[width:], bias[width:]))


def _heads(block: Block, projected: Tensor) -> tuple[Tensor, ...]:
    """Split projections [batch, token, n width] into heads: n times [batch, head, token, width of a head]."""
    shape = (*projected.shape[:2], -1, block.attn.num_heads, block.attn.head_dim)
    return projected.view(shape).permute(2, 0, 3, 1, 4).unbind()


def attend(block: Block, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return what a block's attention adds to the query tokens: [batch, token, width].

    `mask` [query, key] bool is the attention mask: True where a query attends to a key; None is True everywhere.
    """
    mixed = F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)
    return block.ls_1(block.attn.out_proj(mixed))  # type: ignore[no-any-return]


def add_mlp(block: Block, tokens: Tensor) -> Tensor:
    """Return tokens [batch, token, width] with what the block's MLP adds to them."""
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))  # type: ignore[no-any-return]


def in_precision(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Run matrix products in `precision`; sensitive operations, such as norms, stay in float32."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)
