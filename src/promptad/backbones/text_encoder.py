"""The text encoder: from the token vectors of prompts to text features."""

from abc import ABC, abstractmethod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.backbones.attention import add_mlp, attend, in_precision, project
from promptad.backbones.plain_clip import Block, PlainClip
from promptad.backbones.prompt_trees import PromptTrees


class PromptEncoder(ABC):
    """What all frozen text transformers share: their parts, the look-up of tokens, and features of length 1."""

    def __init__(self, text: PlainClip, precision: torch.dtype = torch.float32) -> None:
        """Run the text transformer of a CLIP, or one by itself, which has parts of the same names."""
        self.text, self.precision = text, precision
        self.blocks = cast(list[Block], list(text.transformer.resblocks))
        self.width = int(text.token_embedding.weight.shape[1])
        self.context_length = int(text.context_length)

    def embed(self, tokens: Tensor) -> Tensor:
        """Look up the embeddings [..., width] of token ids [...]."""
        embeddings: Tensor = self.text.token_embedding(tokens)
        return embeddings

    def encode(self, vectors: Tensor, trees: PromptTrees) -> Tensor:
        """Encode prompts as `encode_raw` does, into text features of length 1."""
        return F.normalize(self.encode_raw(vectors, trees), dim=-1)

    @abstractmethod
    def encode_raw(self, vectors: Tensor, trees: PromptTrees) -> Tensor:
        """Encode prompts into text features [prompt, D] of any length; gradients flow to `vectors`.

        Args:
            vectors: [row, width], embeddings of tokens and learned vectors, each once.
            trees: the prompts, by rows of `vectors`.
        """


class CausalTextEncoder(PromptEncoder):
    """The frozen text transformer of CLIP, run over trees of prompts.

    Attention is causal and the feature is read at the end-of-text token (Radford et al., CLIP, 2021, section 2.4). So
    tokens after a prompt's end are never computed, common beginnings are computed once, and the last block computes
    the end tokens only.
    """

    def encode_raw(self, vectors: Tensor, trees: PromptTrees) -> Tensor:
        """Encode prompts, each node of their trees once."""
        with in_precision(vectors.device, self.precision):
            return self._read(vectors, trees).float()

    def _read(self, vectors: Tensor, trees: PromptTrees) -> Tensor:
        # F.embedding, because its gradient is summed in the same order for any number of threads.
        hidden = F.embedding(trees.rows, vectors) + self.text.positional_embedding[trees.places]  # [tree, node, width]
        sees = trees.sees[:, None]  # [tree, any head, node, node]
        for block in self.blocks[:-1]:
            query, key, value = project(block, hidden)
            hidden = add_mlp(block, hidden + attend(block, query, key, value, sees))
        last, tree = self.blocks[-1], torch.arange(len(trees.rows), device=hidden.device)[:, None]
        leaves = hidden[tree, trees.leaves]  # [tree, leaf, width]
        query, key, value = project(last, hidden, leaves)
        leaves = leaves + attend(last, query, key, value, sees[tree, 0, trees.leaves][:, None])
        read = self.text.ln_final(add_mlp(last, leaves)).flatten(0, 1)  # [leaf of any tree, width]
        features: Tensor = F.embedding(trees.leaf_of, read @ self.text.text_projection)
        return features
