"""The ancestor's prompts: every one of them, the manual ones too, holds a normal context that learns."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from promptad.backbone.clip import Backbone
from promptad.backbone.text_tower import TextTower
from promptad.errors import InputError
from promptad.prompts.contexts import END_OF_TEXT, START_OF_TEXT
from promptad.prompts.states import StateGroup
from promptad.settings import PromptSettings

PLACE = 0  # the token that stands where a context vector is put, and behind the end


@dataclass(frozen=True)
class PromptTokens:
    """CLIP's tokens of every prompt, with room for the context vectors right after the start: [prompt, token] each."""

    normal: Tensor  # one for each normal context
    manual: Tensor  # phrase by phrase, one for each normal context
    learned: Tensor  # one for each normal and abnormal context


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
    """Normal contexts [n_pro, n_ctx, width] and abnormal ones [n_pro_ab, n_ctx_ab, width] in the prompts of `tokens`.

    Prompt i holds normal context i mod n_pro, and a learned abnormal prompt also abnormal context i mod n_pro_ab. So
    the learned prompts are all pairs only where the two counts have no common factor: the ancestor's way, kept here.
    """

    def __init__(
        self, text_tower: TextTower, tokens: PromptTokens, normal_context: Tensor, abnormal_context: Tensor
    ) -> None:
        super().__init__()
        self.text_tower = text_tower
        self.normal_context = nn.Parameter(normal_context)
        self.abnormal_context = nn.Parameter(abnormal_context)
        kinds = (tokens.normal, tokens.manual, tokens.learned)
        self.counts = [len(kind) for kind in kinds]
        every = torch.cat(kinds)  # [prompt, token]
        self.ends = every.argmax(1)  # the end is CLIP's largest token
        self.embedded = text_tower.embed(every[:, : int(self.ends.max()) + 1])  # [prompt, token, width]

    def forward(self) -> TextFeatures:
        """Encode every prompt with the contexts as they are now."""
        opening = 1 + self.normal_context.shape[1]
        normal = torch.cat([_cycled(self.normal_context, count) for count in self.counts])  # [prompt, n_ctx, width]
        filled = torch.cat([self.embedded[:, :1], normal, self.embedded[:, opening:]], 1)
        written, learned = filled[: -self.counts[2]], filled[-self.counts[2] :]
        abnormal = _cycled(self.abnormal_context, len(learned))
        behind = opening + self.abnormal_context.shape[1]
        learned = torch.cat([learned[:, :opening], abnormal, learned[:, behind:]], 1)
        features = self.text_tower.encode_raw(torch.cat([written, learned]), self.ends)
        return TextFeatures(*torch.split(features, self.counts))


def prompt_tokens(
    backbone: Backbone, words: str, groups: Sequence[StateGroup], settings: PromptSettings
) -> PromptTokens:
    """Return the tokens of the prompts of a class that is called by these words and has these manual states.

    Raises:
        InputError: a prompt is longer than CLIP reads.
    """
    phrases = [phrase.replace("{}", words) for group in groups for phrase in group.phrases]
    normal = [_row(backbone, f"{words}.", settings.n_ctx)] * settings.n_pro
    manual = [_row(backbone, f"{phrase}.", settings.n_ctx) for phrase in phrases for _ in range(settings.n_pro)]
    pairs = settings.n_pro * settings.n_pro_ab
    learned = [_row(backbone, f"{words}.", settings.n_ctx + settings.n_ctx_ab)] * pairs
    longest = max(map(len, normal + manual + learned))
    if longest > backbone.text_tower.context_length:
        raise InputError(
            f"prompts of {longest} tokens exceed CLIP's {backbone.text_tower.context_length}:"
            " lower --n_ctx or --n_ctx_ab, or shorten the class name or the states"
        )
    padded = (
        torch.tensor([row + [PLACE] * (longest - len(row)) for row in kind], device=backbone.device)
        for kind in (normal, manual, learned)
    )
    return PromptTokens(*padded)


def _cycled(contexts: Tensor, count: int) -> Tensor:
    """Return the first `count` of contexts [n, vector, width] that go round and round.

    Repeating instead of indexing: the gradient of an index is summed in whatever order threads come.
    """
    return contexts.repeat(-(-count // len(contexts)), 1, 1)[:count]


def _row(backbone: Backbone, text: str, contexts: int) -> list[int]:
    return [START_OF_TEXT, *[PLACE] * contexts, *backbone.token_ids(text), END_OF_TEXT]
