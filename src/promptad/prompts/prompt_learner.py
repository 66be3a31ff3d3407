"""The prompt learner (CoOp, Zhou et al., 2022): learned context vectors, and the prompts that hold them."""

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise

import torch
from torch import Tensor, nn

from promptad.backbones.clip import Backbone
from promptad.backbones.prompt_trees import PromptTrees
from promptad.errors import InputError
from promptad.prompts.encode import TEMPLATES
from promptad.prompts.states import NORMAL_STATES, StateGroup
from promptad.settings import PromptSettings

NOISE = 0.02  # std of random starts, about that of CLIP's own embeddings


class PromptLearner(nn.Module):
    """Context vectors, normal [K, n_ctx, width] and abnormal [M, n_ctx_ab, width], and all prompts made with them.

    Normal prompt i is [start][normal context i][class].[end]; abnormal prompt (i, j) is
    [start][normal context i][abnormal context j][class].[end], for all K * M pairs. With normal states, the i-th of
    them, in turn, comes before the class in normal prompt i; it is not learned.
    """

    def __init__(
        self,
        backbone: Backbone,
        words: str,
        normal_context: Tensor,
        abnormal_context: Tensor,
        normal_states: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.normal_context = nn.Parameter(normal_context)
        self.abnormal_context = nn.Parameter(abnormal_context)
        self.text_encoder = backbone.text_encoder
        frame = backbone.prompt_ids(f"{words}.", first=False)
        states = [backbone.token_ids(state, first=False) for state in normal_states]
        tokens = torch.tensor([*frame, *chain(*states)], device=backbone.device)
        self.frame = self.text_encoder.embed(tokens)  # [start, class, end and normal states, width]
        lengths = [len(state) for state in states]
        opening = len(backbone.tokenizer.start)
        prompts = _prompt_rows(opening, len(frame), lengths, normal_context.shape[:2], abnormal_context.shape[:2])
        if (length := max(map(len, prompts))) > self.text_encoder.context_length:
            raise InputError(
                f"prompts of {length} tokens exceed CLIP's {self.text_encoder.context_length}:"
                " lower `n_ctx` or `n_ctx_ab`, or shorten the class name"
            )
        trees = [number // (1 + len(abnormal_context)) for number in range(len(prompts))]  # one for each normal context
        self.trees = PromptTrees.of(prompts, backbone.device, trees)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return the unit text features of the normal prompts [K, D] and of the abnormal ones [K, M, D]."""
        return self.split(self.text_encoder.encode(self.vectors(), self.trees))

    def vectors(self) -> Tensor:
        """Return all vectors of the prompts [row, width], in the order of the trees' rows."""
        return torch.cat([self.frame, self.normal_context.flatten(0, 1), self.abnormal_context.flatten(0, 1)])

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Split features [K * (1 + M), D] of all prompts into those of normal [K, D] and abnormal ones [K, M, D]."""
        of_contexts = features.view(len(self.normal_context), 1 + len(self.abnormal_context), -1)
        return of_contexts[:, 0], of_contexts[:, 1:]


def _prompt_rows(
    start: int, frame: int, states: Sequence[int], normal: Sequence[int], abnormal: Sequence[int]
) -> list[list[int]]:
    """Return all prompts as rows of tokens: the frame's, the normal states', the normal contexts', the abnormal ones'.

    Contexts stand after the first `start` rows of the frame. For each normal context its normal prompt comes first,
    then its M abnormal ones. The normal states have these
    lengths, the contexts the shapes [K, n_ctx] and [M, n_ctx_ab].
    """
    opening, closing = list(range(start)), list(range(start, frame))
    first = list(accumulate(states, initial=frame))
    state_rows = [list(range(start, end)) for start, end in pairwise(first)] or [[]]
    normal_rows = context_rows(first[-1], normal)
    abnormal_rows = context_rows(first[-1] + normal[0] * normal[1], abnormal)
    return [
        opening + own + state + closing
        for number, own in enumerate(normal_rows)
        for state in (state_rows[number % len(state_rows)], *abnormal_rows)
    ]


def context_rows(first: int, shape: Sequence[int]) -> list[list[int]]:
    """Return the rows of each of `shape[0]` contexts of `shape[1]` vectors, one after the other.

    >>> context_rows(10, (2, 3))
    [[10, 11, 12], [13, 14, 15]]
    """
    count, length = shape
    return [list(range(first + i * length, first + (i + 1) * length)) for i in range(count)]


def initial_prompt_learner(
    backbone: Backbone, words: str, groups: Sequence[StateGroup], settings: PromptSettings, seed: int
) -> PromptLearner:
    """Make a prompt learner with its initial context vectors."""
    states = NORMAL_STATES if settings.normal_states else ()
    return PromptLearner(backbone, words, *initial_contexts(backbone, groups, settings, seed), states)


def initial_contexts(
    backbone: Backbone, groups: Sequence[StateGroup], settings: PromptSettings, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the initial context vectors, normal [K, n_ctx, width] and abnormal [M, n_ctx_ab, width].

    They are the embeddings of real words, or random, as in CoOp (Zhou et al., 2022). Normal ones start from
    templates, abnormal ones from the names of the groups of states, in turn.
    """
    generator = torch.Generator().manual_seed(seed)
    if settings.start == "random":
        shapes = (settings.n_pro, settings.n_ctx), (settings.n_pro_ab, settings.n_ctx_ab)
        normal, abnormal = (NOISE * torch.randn(*s, backbone.text_encoder.width, generator=generator) for s in shapes)
        return normal.to(backbone.device), abnormal.to(backbone.device)
    templates = [TEMPLATES[i % len(TEMPLATES)] for i in range(settings.n_pro)]
    states = [groups[j % len(groups)].name for j in range(settings.n_pro_ab)]
    normal = torch.stack([_embed_last(backbone, template, settings.n_ctx) for template in templates])
    abnormal = torch.stack([_embed_last(backbone, state, settings.n_ctx_ab, first=False) for state in states])
    return _without_repeats(normal, generator), _without_repeats(abnormal, generator)


def _without_repeats(starts: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise to each start [N, token, width] that repeats an earlier one.

    Equal context vectors have equal gradients and would stay copies of each other.
    """
    repeats = [any(torch.equal(start, earlier) for earlier in starts[:i]) for i, start in enumerate(starts)]
    noise = NOISE * torch.randn(starts.shape, generator=generator).to(starts.device)
    return torch.where(torch.tensor(repeats, device=starts.device)[:, None, None], starts + noise, starts)


def _embed_last(backbone: Backbone, text: str, count: int, first: bool = True) -> Tensor:
    """Return the embeddings [count, width] of the last `count` tokens of `text`, which is repeated if it is short."""
    ids = backbone.token_ids(text, first)
    if not ids:
        raise InputError(f'`states` {text!r}: CLIP reads no word in it; write such as "with hole"')
    while len(ids) < count:
        ids = ids + ids
    return backbone.text_encoder.embed(torch.tensor(ids[-count:], device=backbone.device))
