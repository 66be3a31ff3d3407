"""Templates, phrases and states as text features."""

from collections.abc import Sequence

import torch
from torch import Tensor

from promptad.backbones.clip import Backbone
from promptad.backbones.prompt_trees import PromptTrees
from promptad.errors import InputError
from promptad.prompts.states import StateGroup

# Initial normal context vectors: n vectors are the embeddings of the last n tokens of their template.
TEMPLATES = (
    "a photo of a",
    "a cropped photo of the",
    "a close-up photo of the",
    "a bright photo of the",
    "a dark photo of the",
    "a good photo of the",
    "a photo of one",
    "a blurry photo of the",
    "a low resolution photo of the",
    "a photo of my",
)
STATE_TEMPLATES = 3  # the feature of a state is the mean over this many templates
SENTENCES_PER_TREE = 64  # encoded together: the cost of attention grows with the square of their tokens


def encode_states(backbone: Backbone, words: str, groups: Sequence[StateGroup]) -> tuple[Tensor, ...]:
    """Return for each group the unit text features [phrase, D] of its states.

    Their prompts hold no learned vector and are encoded once.
    """
    return tuple(
        encode_phrases(backbone, [phrase.replace("{}", words) for phrase in group.phrases]) for group in groups
    )


def encode_phrases(backbone: Backbone, phrases: Sequence[str]) -> Tensor:
    """Return the unit text features [phrase, D] of phrases such as "carpet with hole": means over a few templates."""
    prompts = [f"{template} {phrase}." for phrase in phrases for template in TEMPLATES[:STATE_TEMPLATES]]
    encoded = encode_texts(backbone, prompts).view(len(phrases), STATE_TEMPLATES, -1)  # [phrase, template, D]
    return torch.nn.functional.normalize(encoded.mean(1), dim=-1)


@torch.no_grad()
def encode_texts(backbone: Backbone, texts: Sequence[str]) -> Tensor:
    """Return the unit text features [N, D] of plain sentences.

    Raises:
        InputError: a sentence is longer than CLIP reads.
    """
    prompts = [backbone.prompt_ids(text) for text in texts]
    longest, text = max(zip(map(len, prompts), texts, strict=True))
    if longest > backbone.text_encoder.context_length:
        raise InputError(
            f"prompt {text!r} is longer than CLIP's {backbone.text_encoder.context_length} tokens; shorten it"
        )
    encoder = backbone.text_encoder
    used = sorted({token for prompt in prompts for token in prompt})
    row_of = {token: row for row, token in enumerate(used)}
    vectors = encoder.embed(torch.tensor(used).to(backbone.device))
    rows = [[row_of[token] for token in prompt] for prompt in prompts]
    parts = [rows[start : start + SENTENCES_PER_TREE] for start in range(0, len(rows), SENTENCES_PER_TREE)]
    return torch.cat([encoder.encode(vectors, PromptTrees.of(part, backbone.device)) for part in parts])
