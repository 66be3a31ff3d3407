"""One block of a CLIP transformer, taken apart: so that a tower can run no more of it than is read."""

from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor


def project(block: ResidualAttentionBlock, tokens: Tensor, asking: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return queries, keys and values of tokens [batch, token, width]: [batch, head, token, width of a head] each.

    Where only some tokens are read behind the block, these are the ones `asking` [batch, some, width]: there are
    queries of them alone.
    """
    attention, width = block.attn, tokens.shape[2]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if asking is None:
        return _heads(block, F.linear(block.ln_1(tokens), weight, bias))
    queries = _heads(block, F.linear(block.ln_1(asking), weight[:width], bias[:width]))
    return queries + _heads(block, F.linear(block.ln_1(tokens), weight[width:], bias[width:]))


def _heads(block: ResidualAttentionBlock, projected: Tensor) -> tuple[Tensor, ...]:
    """Take projections [batch, token, n width] apart: n times [batch, head, token, width of a head]."""
    shape = (*projected.shape[:2], -1, block.attn.num_heads, block.attn.head_dim)
    return projected.view(shape).permute(2, 0, 3, 1, 4).unbind()


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
