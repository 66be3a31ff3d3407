"""The image encoder of timm's transformers in open_clip: SigLIP, SigLIP 2, Perception Encoder and EVA-CLIP."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from timm.layers.attention_pool import AttentionPoolLatent
from timm.models.eva import EvaBlockPostNorm
from torch import Tensor

from promptad.backbones.image_encoder import BlockEncoder
from promptad.features import ImageFeatures


class TrunkImageEncoder(BlockEncoder):
    """A frozen ViT of timm whose class token is open_clip's image feature.

    How a patch token is read into the text space depends on how the image feature is pooled:

    - by attention (SigLIP, Perception Encoder): the last hidden state of each patch goes through the pool as if it
      alone were attended to. A patch that is projected as CLIP's would skip the pool's values and MLP, which made the
      space: for SigLIP 2 on MVTec AD that gave a pixel AUROC of 47.3 %, the pool one of 82.1 %. There is no local
      path: the pool has learned to read the last hidden states.
    - from a class token (EVA-CLIP): as CLIP's, from a local path that adds value-value attention of every block
      (`ViTImageEncoder`), normed and projected as the class token. Values are not rotated by rotary positions.

    The layers for a memory bank are the patches' hidden states after some blocks.
    """

    visual: TimmModel

    def __init__(
        self, visual: TimmModel, layer_indices: Sequence[int] = (), precision: torch.dtype = torch.float32
    ) -> None:
        trunk: Any = visual.trunk
        self.visual, self.trunk, self.precision = visual, trunk, precision
        self.pool: AttentionPoolLatent | None = trunk.attn_pool
        self.prefix = int(trunk.num_prefix_tokens)
        self.image_size = int(visual.image_size[0])
        self.width = int(trunk.embed_dim)
        self.dimensions = int(trunk.num_classes or trunk.num_features)
        self.patches = int(trunk.patch_embed.num_patches)
        self.hidden = (self.prefix + self.patches) * self.width
        self.layer_indices = tuple(layer_indices)

    def embed(self, pixels: Tensor) -> Tensor:
        """Return the input of the first block for pixels [N, 3, S, S]: [N, token, width], positions added."""
        embedded = self.trunk._pos_embed(self.trunk.patch_embed(pixels))
        tokens: Tensor = self.trunk.norm_pre(embedded[0] if isinstance(embedded, tuple) else embedded)
        return tokens

    def run_blocks(self, tokens: Tensor, layers: bool = False, local: bool = True) -> ImageFeatures:
        """Run the blocks on such `tokens`; `layers` and `local` are as of `encode`."""
        rope = getattr(self.trunk, "rope", None)
        rotary = {} if rope is None else {"rope": rope.get_embed()}
        patches = tokens[:, self.prefix :] if local else tokens[:, :0]
        kept: dict[int, Tensor] = {}
        for number, block in enumerate(self.trunk.blocks):
            if local and self.pool is None:
                patches = patches + value_attention(block, tokens, self.prefix)
            tokens = block(tokens, **rotary)
            if layers and number in self.layer_indices:
                kept[number] = F.normalize(tokens[:, self.prefix :], dim=-1)
        intermediate = tuple(kept[number] for number in self.layer_indices) if layers else ()
        normed = self.trunk.norm(tokens)
        class_token = self.visual.head(self.trunk.forward_head(normed))
        if self.pool is not None:
            read = pool_each(self.pool, normed[:, self.prefix :] if local else normed[:, :0])
        else:
            read = self.trunk.norm(patches)
        read = self.visual.head(self.trunk.head(self.trunk.fc_norm(read)))
        return ImageFeatures(F.normalize(class_token, dim=-1), F.normalize(read, dim=-1), intermediate)


def pool_each(pool: AttentionPoolLatent, tokens: Tensor) -> Tensor:
    """Return tokens [N, token, width] after an attention pool that attends to each one alone: [N, token, out].

    Attention to one token is its value, whatever the query; so queries and keys are never computed.
    """
    width = tokens.shape[-1]
    bias = None if pool.kv.bias is None else pool.kv.bias[width:]
    read = pool.proj(F.linear(tokens, pool.kv.weight[width:], bias))
    return read if pool.mlp is None else read + pool.mlp(pool.norm(read))  # type: ignore[no-any-return]


def value_attention(block: Any, tokens: Tensor, prefix: int) -> Tensor:
    """Return what value-value attention of a block of timm's adds to the patches after `prefix` tokens.

    `tokens` [N, token, width] are the block's input.
    """
    after = isinstance(block, EvaBlockPostNorm)  # norms what it adds, not what it is given
    value = _values(block.attn, tokens if after else block.norm1(tokens))
    mixed = F.scaled_dot_product_attention(value[:, :, prefix:], value, value).transpose(1, 2).flatten(2)
    added = block.attn.proj(block.attn.norm(mixed))
    if after:
        return block.norm1(added)  # type: ignore[no-any-return]
    scale = getattr(block, "gamma_1", None)
    scaled: Tensor = block.ls1(added) if hasattr(block, "ls1") else added if scale is None else scale * added
    return scaled


def _values(attention: Any, tokens: Tensor) -> Tensor:
    """Return the values [N, head, token, width of a head] of tokens, of one projection or three."""
    if attention.qkv is None:
        values = attention.v_proj(tokens)
    else:
        weight = attention.qkv.weight.chunk(3)[2]
        whole = attention.qkv.bias
        bias = getattr(attention, "v_bias", None) if whole is None else whole.chunk(3)[2]
        values = F.linear(tokens, weight, bias)
    return values.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)  # type: ignore[no-any-return]
