"""One block of a CLIP transformer, taken apart: so that a tower can run no more of it than is read."""

from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor


def project(block: ResidualAttentionBlock, tokens: Tensor) -> Tensor:
    """Return queries, keys and values of tokens [batch, token, width]: [3, batch, head, token, width of a head]."""
    attention = block.attn
    normed = block.ln_1(tokens)
    projected = F.linear(normed, attention.in_proj_weight, attention.in_proj_bias)  # [batch, token, 3 width]
    shape = (*projected.shape[:2], 3, attention.num_heads, attention.head_dim)
    return projected.view(shape).permute(2, 0, 3, 1, 4)


def attend(
    block: ResidualAttentionBlock, query: Tensor, key: Tensor, value: Tensor, sees: Tensor | None = None
) -> Tensor:
    """Return what a block's attention adds to the tokens behind `query`: [batch, token, width].

    `sees` [query, key] says, where it is given, which keys a query may look at.
    """
    mixed = F.scaled_dot_product_attention(query, key, value, sees).transpose(1, 2).flatten(2)
    return block.ls_1(block.attn.out_proj(mixed))  # type: ignore[no-any-return]


def add_mlp(block: ResidualAttentionBlock, tokens: Tensor) -> Tensor:
    """Return tokens [batch, token, width] with what the block's MLP adds to them."""
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))  # type: ignore[no-any-return]


def in_precision(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Run matrix products in a precision, and what is delicate, such as norms, in float32 all the same."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)
