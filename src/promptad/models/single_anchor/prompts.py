"""The baseline's prompts: all of them, also the manual ones, hold learned normal context vectors."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from promptad.backbones.base import TextEncoder
from promptad.backbones.clip import Backbone
from promptad.backbones.prompt_trees import PromptTrees
from promptad.errors import InputError
from promptad.prompts.prompt_learner import context_rows
from promptad.prompts.states import StateGroup
from promptad.settings import PromptSettings

PLACE = 0  # placeholder token of context vectors, and padding after the end


@dataclass(frozen=True)
class PromptTokens:
    """CLIP's tokens of every prompt, with room for the context vectors right after the start: [prompt, token] each."""

    normal: Tensor  # one for each normal context
    manual: Tensor  # phrase by phrase, one for each normal context
    learned: Tensor  # one for each normal and abnormal context
    opening: int = field(default=1, kw_only=True)  # tokens that start a prompt


@dataclass(frozen=True)
class TextFeatures:
    """Text features of every prompt, not normalised: [prompt, D] each."""

    normal: Tensor
    manual: Tensor
    learned: Tensor

    @property
    def abnormal(self) -> Tensor:
        """The features of all abnormal prompts."""
        return torch.cat([self.manual, self.learned])


class AnchorPrompts(nn.Module):
    """Normal context vectors [n_pro, n_ctx, width], abnormal ones [n_pro_ab, n_ctx_ab, width], in prompts of `tokens`.

    Prompt i holds normal context i mod n_pro, and a learned abnormal prompt also abnormal context i mod n_pro_ab. So
    the learned prompts are all pairs only if the two counts have no common factor, as in PromptAD's code.
    """

    def __init__(
        self, text_encoder: TextEncoder, tokens: PromptTokens, normal_context: Tensor, abnormal_context: Tensor
    ) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.normal_context = nn.Parameter(normal_context)
        self.abnormal_context = nn.Parameter(abnormal_context)
        kinds, opening = (tokens.normal, tokens.manual, tokens.learned), tokens.opening
        self.counts = [len(kind) for kind in kinds]
        used = torch.unique(torch.cat(kinds))
        self.constants = text_encoder.embed(used)  # [row, width]
        row_of = {token: row for row, token in enumerate(used.tolist())}
        normal = context_rows(len(used), normal_context.shape[:2])
        abnormal = context_rows(len(used) + len(normal) * len(normal[0]), abnormal_context.shape[:2])
        prompts = []
        for kind in kinds:
            for i, row in enumerate(kind.tolist()):
                own = normal[i % len(normal)] + (abnormal[i % len(abnormal)] if kind is tokens.learned else [])
                length = len(row) - next(i for i, token in enumerate(reversed(row)) if token != PLACE)
                first, rest = row[:opening], row[opening + len(own) : length]
                prompts.append([*(row_of[token] for token in first), *own, *(row_of[token] for token in rest)])
        trees = [i % len(normal) for count in self.counts for i in range(count)]  # one for each normal context
        self.trees = PromptTrees.of(prompts, used.device, trees)

    def forward(self) -> TextFeatures:
        """Encode every prompt with the current context vectors."""
        vectors = torch.cat([self.constants, self.normal_context.flatten(0, 1), self.abnormal_context.flatten(0, 1)])
        features = self.text_encoder.encode_raw(vectors, self.trees)
        return TextFeatures(*torch.split(features, self.counts))


def prompt_tokens(
    backbone: Backbone, words: str, groups: Sequence[StateGroup], settings: PromptSettings
) -> PromptTokens:
    """Return the tokens of the prompts of a class with the name `words` and these manual states.

    Raises:
        InputError: a prompt is longer than CLIP reads.
    """
    phrases = [phrase.replace("{}", words) for group in groups for phrase in group.phrases]
    normal = [_row(backbone, f"{words}.", settings.n_ctx)] * settings.n_pro
    manual = [_row(backbone, f"{phrase}.", settings.n_ctx) for phrase in phrases for _ in range(settings.n_pro)]
    pairs = settings.n_pro * settings.n_pro_ab
    learned = [_row(backbone, f"{words}.", settings.n_ctx + settings.n_ctx_ab)] * pairs
    longest = max(map(len, normal + manual + learned))
    if longest > backbone.text_encoder.context_length:
        raise InputError(
            f"prompts of {longest} tokens exceed CLIP's {backbone.text_encoder.context_length}:"
            " lower `n_ctx` or `n_ctx_ab`, or shorten the class name or the states"
        )
    padded = (
        torch.tensor([row + [PLACE] * (longest - len(row)) for row in kind], device=backbone.device)
        for kind in (normal, manual, learned)
    )
    return PromptTokens(*padded, opening=len(backbone.tokenizer.start))


def _row(backbone: Backbone, text: str, contexts: int) -> list[int]:
    opening, tokens = len(backbone.tokenizer.start), backbone.prompt_ids(text, first=False)
    return [*tokens[:opening], *[PLACE] * contexts, *tokens[opening:]]


def average_anchors(text: TextFeatures) -> Tensor:
    """Return the anchors [2, D]: the unit mean of the normal text features, and that of all abnormal ones."""
    return F.normalize(torch.stack([text.normal.mean(0), text.abnormal.mean(0)]), dim=-1)
