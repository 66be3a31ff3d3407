"""The text encoder of whole prompts: each token attends to all of its prompt and to the padding after it."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptad.backbones.attention import add_mlp, attend, in_precision, project
from promptad.backbones.base import Tokenizer
from promptad.backbones.plain_clip import PlainClip
from promptad.backbones.prompt_trees import PromptTrees
from promptad.backbones.text_encoder import PromptEncoder


class PaddedTextEncoder(PromptEncoder):
    """The frozen text transformer of SigLIP (Zhai et al., 2023) and SigLIP 2 (Tschannen et al., 2025).

    It has no causal mask and none for padding, as it was trained. So no beginning can be shared, and a prompt is run as
    a whole, filled up with padding tokens to the full length; equal prompts run once. The feature is read at the last
    token, or, `at_end`, at the prompt's end (MobileCLIP2). Prompts in a tree are unpacked: a prompt is the path of
    nodes that its leaf sees.

    SigLIP was trained with a sigmoid of cosines, scaled and shifted. Our scores and losses are softmaxes over prompts:
    there the same shift of all cosines cancels, so only the scale is kept, as `Backbone.temperature`.
    """

    def __init__(
        self,
        text: nn.Module,  # open_clip's TextTransformer, whose parts have the names of a CLIP's
        tokenizer: Tokenizer,
        at_end: bool = False,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(cast(PlainClip, text), precision)
        self.tokenizer, self.at_end = tokenizer, at_end

    def encode_raw(self, vectors: Tensor, trees: PromptTrees) -> Tensor:
        """Encode prompts, each of them whole."""
        padding = self.embed(torch.tensor([self.tokenizer.padding], device=vectors.device))
        rows, lengths, prompt_of = trees.unpacked(self.context_length, len(vectors))
        with in_precision(vectors.device, self.precision):
            encoded = self._read(F.embedding(rows, torch.cat([vectors, padding])), lengths).float()
        return F.embedding(prompt_of, encoded)

    def _read(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        hidden = embedded + self.text.positional_embedding  # [prompt, token, width]
        for block in self.blocks[:-1]:
            hidden = add_mlp(block, hidden + attend(block, *project(block, hidden)))
        last, prompts = self.blocks[-1], torch.arange(len(hidden), device=hidden.device)
        read = hidden[prompts, lengths - 1][:, None] if self.at_end else hidden[:, -1:]
        read = add_mlp(last, read + attend(last, *project(last, hidden, read)))
        return self._to_shared_space(self.text.ln_final(read[:, 0]))

    def _to_shared_space(self, read: Tensor) -> Tensor:
        projection: nn.Linear | Tensor | None = self.text.text_projection
        if projection is None:
            return read
        projected: Tensor = projection(read) if isinstance(projection, nn.Linear) else read @ projection
        return projected
