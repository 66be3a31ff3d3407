"""The contexts that learn, and the prompts they stand in."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from promptad.backbone.clip import Backbone
from promptad.backbone.prompt_trees import PromptTrees
from promptad.errors import InputError
from promptad.prompts.states import StateGroup
from promptad.settings import PromptSettings

START_OF_TEXT, END_OF_TEXT = 49406, 49407  # of CLIP's own vocabulary

# What a normal context starts from. A context of n vectors takes the last n tokens of its template.
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
NOISE = 0.02  # standard deviation of random starts, about that of CLIP's own embeddings
STATE_TEMPLATES = 3  # that the feature of a manual state is the mean of
A_TREE = 64  # sentences that are encoded together: the cost of attention grows with the square of their tokens


class Contexts(nn.Module):
    """Normal contexts [K, n_ctx, width] and abnormal contexts [M, n_ctx_ab, width], and all prompts built of them.

    Normal prompt i reads [start][normal context i][class].[end]; learned abnormal prompt (i, j) reads
    [start][normal context i][abnormal context j][class].[end], for all K * M pairs.
    """

    def __init__(self, backbone: Backbone, words: str, normal_context: Tensor, abnormal_context: Tensor) -> None:
        super().__init__()
        self.normal_context = nn.Parameter(normal_context)
        self.abnormal_context = nn.Parameter(abnormal_context)
        self.text_tower = backbone.text_tower
        frame = [START_OF_TEXT, *backbone.token_ids(f"{words}."), END_OF_TEXT]
        self.frame = self.text_tower.embed(torch.tensor(frame, device=backbone.device))  # [start, class and end, width]
        prompts = _prompt_rows(len(frame), normal_context.shape[:2], abnormal_context.shape[:2])
        if (length := len(prompts[-1])) > self.text_tower.context_length:
            raise InputError(
                f"prompts of {length} tokens exceed CLIP's {self.text_tower.context_length}:"
                " lower --n_ctx or --n_ctx_ab, or shorten the class name"
            )
        trees = [number // (1 + len(abnormal_context)) for number in range(len(prompts))]  # one a normal context
        self.trees = PromptTrees.of(prompts, backbone.device, trees)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return the unit text features of the normal prompts [K, D] and of the abnormal ones [K, M, D]."""
        return self.split(self.text_tower.encode(self.vectors(), self.trees))

    def vectors(self) -> Tensor:
        """Return all vectors that stand in the prompts [row, width], as the trees count them."""
        return torch.cat([self.frame, self.normal_context.flatten(0, 1), self.abnormal_context.flatten(0, 1)])

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [K * (1 + M), D] of all prompts as those of normal [K, D] and of abnormal ones [K, M, D]."""
        of_contexts = features.view(len(self.normal_context), 1 + len(self.abnormal_context), -1)
        return of_contexts[:, 0], of_contexts[:, 1:]


def _prompt_rows(frame: int, normal: Sequence[int], abnormal: Sequence[int]) -> list[list[int]]:
    """Return all prompts as rows of the frame's tokens, then the normal contexts' [K, n_ctx], then the abnormal ones'.

    Of each normal context first its normal prompt comes, then its M abnormal ones.
    """
    opening, closing = [0], list(range(1, frame))
    normal_rows, abnormal_rows = context_rows(frame, normal), context_rows(frame + normal[0] * normal[1], abnormal)
    return [opening + own + state + closing for own in normal_rows for state in ([], *abnormal_rows)]


def context_rows(first: int, shape: Sequence[int]) -> list[list[int]]:
    """Return the rows of each of `shape[0]` contexts of `shape[1]` vectors that lie one behind the other.

    >>> context_rows(10, (2, 3))
    [[10, 11, 12], [13, 14, 15]]
    """
    count, length = shape
    return [list(range(first + i * length, first + (i + 1) * length)) for i in range(count)]


def start_contexts(
    backbone: Backbone, words: str, groups: Sequence[StateGroup], settings: PromptSettings, seed: int
) -> Contexts:
    """Make the contexts of the multi-prototype system, at their start."""
    return Contexts(backbone, words, *start_vectors(backbone, groups, settings, seed))


def start_vectors(
    backbone: Backbone, groups: Sequence[StateGroup], settings: PromptSettings, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the vectors that normal contexts [K, n_ctx, width] and abnormal ones [M, n_ctx_ab, width] start from.

    They are the embeddings of real words, or random, as in CoOp (Zhou et al., 2022). Normal contexts start from
    templates; abnormal ones from the names of the groups of states, in turn.
    """
    generator = torch.Generator().manual_seed(seed)
    if settings.start == "random":
        shapes = (settings.n_pro, settings.n_ctx), (settings.n_pro_ab, settings.n_ctx_ab)
        normal, abnormal = (NOISE * torch.randn(*s, backbone.text_tower.width, generator=generator) for s in shapes)
        return normal.to(backbone.device), abnormal.to(backbone.device)
    templates = [TEMPLATES[i % len(TEMPLATES)] for i in range(settings.n_pro)]
    states = [groups[j % len(groups)].name for j in range(settings.n_pro_ab)]
    normal = torch.stack([_embed_last(backbone, template, settings.n_ctx) for template in templates])
    abnormal = torch.stack([_embed_last(backbone, state, settings.n_ctx_ab) for state in states])
    return _tell_apart(normal, generator), _tell_apart(abnormal, generator)


def encode_states(backbone: Backbone, words: str, groups: Sequence[StateGroup]) -> tuple[Tensor, ...]:
    """Return for each group the unit text features [phrase, D] of its manual prompts.

    These prompts hold no learned vector and are encoded once.
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
    prompts = [[START_OF_TEXT, *backbone.token_ids(text), END_OF_TEXT] for text in texts]
    longest, text = max(zip(map(len, prompts), texts, strict=True))
    if longest > backbone.text_tower.context_length:
        raise InputError(
            f"prompt {text!r} is longer than CLIP's {backbone.text_tower.context_length} tokens; shorten it"
        )
    tower = backbone.text_tower
    used = sorted({token for prompt in prompts for token in prompt})
    row_of, vectors = (
        {token: row for row, token in enumerate(used)},
        tower.embed(torch.tensor(used).to(backbone.device)),
    )
    rows = [[row_of[token] for token in prompt] for prompt in prompts]
    parts = [rows[start : start + A_TREE] for start in range(0, len(rows), A_TREE)]
    return torch.cat([tower.encode(vectors, PromptTrees.of(part, backbone.device)) for part in parts])


def _tell_apart(starts: Tensor, generator: torch.Generator) -> Tensor:
    """Give each start [N, token, width] that repeats an earlier one a small difference.

    Equal contexts have equal gradients and would stay copies of each other.
    """
    repeats = [any(torch.equal(start, earlier) for earlier in starts[:i]) for i, start in enumerate(starts)]
    noise = NOISE * torch.randn(starts.shape, generator=generator).to(starts.device)
    return torch.where(torch.tensor(repeats, device=starts.device)[:, None, None], starts + noise, starts)


def _embed_last(backbone: Backbone, text: str, count: int) -> Tensor:
    """Return the embeddings [count, width] of the last `count` tokens of `text`, which is repeated if it is short."""
    ids = backbone.token_ids(text)
    while len(ids) < count:
        ids = ids + ids
    return backbone.text_tower.embed(torch.tensor(ids[-count:], device=backbone.device))
