"""The image encoder: from images to a class token and patch tokens in the text space."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptad.backbones.attention import add_mlp, attend, in_precision, project
from promptad.backbones.plain_clip import Block, VisionTransformer
from promptad.features import ImageFeatures

# Elements of the hidden states of the images that go through a block together on a CPU. An MLP makes four times as
# many, 16 MB: that stays near the caches, and malloc reuses the memory. Larger tensors are mapped anew every time, and
# each of their pages is zeroed before it is written.
AT_ONCE = 2**20


class BlockEncoder(ABC):
    """A frozen image encoder of transformer blocks, which an export can trace."""

    engine = "torch"
    visual: nn.Module  # whose weights it reads
    image_size: int
    width: int
    dimensions: int
    patches: int  # side²
    hidden: int  # numbers of an image's hidden state
    layer_indices: tuple[int, ...]  # counted from 0
    precision: torch.dtype

    @torch.inference_mode()
    def encode(self, pixels: Tensor, layers: bool = False, local: bool = True) -> ImageFeatures:
        """Encode normalised pixels [N, 3, S, S] into unit class tokens [N, D] and patch tokens [N, side², D].

        With `layers`, the intermediate features of `layer_indices` are returned too: unit [N, side², width] each.
        Without `local` there are no patch tokens: [N, 0, D].
        """
        parts = in_parts(pixels, self.hidden)
        with in_precision(pixels.device, self.precision):
            encoded = [self.run_blocks(self.embed(part), layers, local).map(Tensor.float) for part in parts]
        return ImageFeatures.joined(encoded)

    @abstractmethod
    def embed(self, pixels: Tensor) -> Tensor:
        """Return the input of the first block for pixels [N, 3, S, S]: [N, token, width], positions added."""

    @abstractmethod
    def run_blocks(self, tokens: Tensor, layers: bool = False, local: bool = True) -> ImageFeatures:
        """Run the blocks on such `tokens`; `layers` and `local` are as of `encode`."""


def in_parts(pixels: Tensor, hidden: int) -> tuple[Tensor, ...]:
    """Split images [N, 3, S, S], whose hidden state has so many numbers, as they go through a block together."""
    return torch.split(pixels, max(1, AT_ONCE // hidden)) if pixels.device.type == "cpu" else (pixels,)


class ViTImageEncoder(BlockEncoder):
    """A frozen plain ViT of CLIP with a second, local path for the patch tokens.

    The class token is CLIP's own. The patch tokens come from a stream that starts at the same embeddings and adds, at
    every block, value-value attention of the class path instead of query-key attention, and no MLP: a token then
    mixes with tokens that carry the same content, so it keeps its place (Li et al., CLIP Surgery, 2023, section 3.2;
    Li et al., PromptAD, CVPR 2024, section 3.1). Only what is read is computed: the last block of the class path
    serves the class token alone.

    The layers for a memory bank are the class path's patch tokens right after the attention of some blocks, before
    their MLP, as in PromptAD.
    """

    visual: VisionTransformer

    def __init__(
        self,
        visual: VisionTransformer,
        layer_indices: Sequence[int] = (),
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.visual, self.precision = visual, precision
        self.blocks = cast(list[Block], list(visual.transformer.resblocks))
        self.image_size = int(visual.image_size[0])
        self.width, self.dimensions = (int(size) for size in cast(Tensor, visual.proj).shape)
        self.patches, self.hidden = len(visual.positional_embedding) - 1, visual.positional_embedding.numel()
        self.layer_indices = tuple(layer_indices)

    def embed(self, pixels: Tensor) -> Tensor:
        """Return the input of the first block: class and patch embeddings [N, 1 + side², width], positions added."""
        visual = self.visual
        patches = visual.conv1(pixels).flatten(2).transpose(1, 2)  # [image, patch, width]
        tokens = torch.cat([visual.class_embedding.expand(patches.shape[0], 1, -1), patches], 1)
        normed: Tensor = visual.ln_pre(tokens + visual.positional_embedding)
        return normed

    def run_blocks(self, tokens: Tensor, layers: bool = False, local: bool = True) -> ImageFeatures:
        """Run the class path and, if `local`, the local path on embeddings [N, 1 + P, width] of all or some patches."""
        patches = tokens[:, 1:] if local else tokens[:, :0]  # [image, patch, width]
        kept: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks):
            keep, last = layers and number in self.layer_indices, number == len(self.blocks) - 1
            queried = tokens[:, :1] if last and not keep else tokens
            query, key, value = project(block, tokens, queried if last else None)
            if local:
                patches = patches + attend(block, value[:, :, 1:], value, value)
            tokens = queried + attend(block, query, key, value)
            if keep:
                kept[number] = F.normalize(tokens[:, 1:], dim=-1)
            tokens = add_mlp(block, tokens)
        intermediate = tuple(kept[number] for number in self.layer_indices) if layers else ()
        return ImageFeatures(self._to_text_space(tokens[:, 0]), self._to_text_space(patches), intermediate)

    def _to_text_space(self, tokens: Tensor) -> Tensor:
        return F.normalize(self.visual.ln_post(tokens) @ self.visual.proj, dim=-1)
