"""The text tower: token embeddings of prompts in, text features out."""

from typing import cast

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor


class TextTower:
    """The frozen text transformer of CLIP, run no further than the last token that is read.

    Attention is causal and the feature is read at the end-of-text token (Radford et al., CLIP, 2021, section 2.4), so
    whatever stands behind the longest prompt's end cannot change a feature and is never computed.
    """

    def __init__(self, clip: CLIP) -> None:
        self.clip = clip
        self.causal_mask = cast(Tensor, clip.attn_mask)  # [token, token]
        self.width = int(clip.token_embedding.weight.shape[1])
        self.context_length = int(clip.context_length)

    def embed(self, tokens: Tensor) -> Tensor:
        """Look up the embeddings [..., width] of token ids [...]."""
        embeddings: Tensor = self.clip.token_embedding(tokens)
        return embeddings

    def encode(self, embeddings: Tensor, ends: Tensor) -> Tensor:
        """Encode prompts as `encode_raw` does, into text features of length 1."""
        return F.normalize(self.encode_raw(embeddings, ends), dim=-1)

    def encode_raw(self, embeddings: Tensor, ends: Tensor) -> Tensor:
        """Encode prompts given as embeddings into text features; gradients flow to `embeddings`.

        Args:
            embeddings: [prompt, token, width], padded at will behind each prompt's end.
            ends: [prompt], the place of each prompt's end-of-text token.

        Returns:
            [prompt, D], of any length.
        """
        length = int(ends.max()) + 1
        hidden = embeddings[:, :length] + self.clip.positional_embedding[:length]
        hidden = self.clip.transformer(hidden, attn_mask=self.causal_mask[:length, :length])
        at_end = self.clip.ln_final(hidden[torch.arange(len(ends), device=ends.device), ends])
        features: Tensor = at_end @ self.clip.text_projection
        return features
