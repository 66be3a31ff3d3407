"""Training: the contexts learn from the support images, and from nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from promptad import losses
from promptad.assignment import balanced_assignment, balanced_offsets, levelled, spread
from promptad.backbone.clip import Backbone
from promptad.backbone.prompt_trees import PromptTrees
from promptad.errors import InputError
from promptad.prompts.contexts import Contexts, encode_states, start_contexts
from promptad.prompts.recognition import Recognition, recognise
from promptad.prompts.states import StateGroup
from promptad.prototypes import Prototypes, without_centre
from promptad.records import ImageFeatures
from promptad.settings import LossWeights, PromptSettings, Settings, TrainingSettings

REPULSION_LIMIT = 0.3  # cosine above which two abnormal prototypes repel each other


@dataclass(frozen=True)
class Epoch:
    """The state after one epoch; number 0 is the start, before any step."""

    number: int
    loss: float
    prototypes: Prototypes
    offsets: Tensor  # [K], that balance the normal prototypes on the support patches


@dataclass(frozen=True)
class Lesson:
    """What the contexts learn from: it stays the same over all epochs."""

    features: Tensor  # [F, D], of the views of the support images: class tokens, if learned from, and patch tokens
    patch_tokens: Tensor  # [P, D], the patch tokens among them, view by view
    views: int  # of all support images together
    state_groups: tuple[Tensor, ...]  # [phrase, D] each, raw text features
    start: Prototypes  # of the starting words
    temperature: float

    def levelled(self, responses: Tensor) -> Tensor:
        """Return responses [P, K] to the patch tokens as the score sees them: levelled view by view."""
        return levelled(responses.view(self.views, -1, responses.shape[1])).flatten(0, 1)


class Course:
    """The training of one class: its contexts, what they learn from, and how far they have come."""

    def __init__(
        self, backbone: Backbone, words: str, groups: Sequence[StateGroup], support: ImageFeatures, settings: Settings
    ) -> None:
        """Take the start.

        Args:
            backbone: the frozen CLIP.
            words: what the part is called in a prompt.
            groups: its manual states.
            support: features of the views of the support images: with the words, all there is to learn from.
            settings: of which the level, prompts and training parts count.
        """
        self.training, self.text_tower = settings.training, backbone.text_tower
        self.contexts = start_contexts(backbone, words, groups, settings.prompts, settings.training.seed)
        prototypes = Prototypes.from_features(*self.contexts())
        self.lesson = _prepare(backbone, words, groups, support, prototypes.detach(), settings.level)
        self.recognition = _recognise(backbone, words, support, settings)
        trust = settings.training.trust if self.recognition is None else self.recognition.share
        self.weights = shared_out(settings.training.weights, settings.prompts, trust or 0.0)
        self.optimizer, self.schedule = _make_optimizer(self.contexts, settings.training)
        self.number, self.offsets = -1, torch.zeros(len(prototypes.normal), device=backbone.device)
        self.arrive(prototypes)

    def arrive(self, prototypes: Prototypes) -> None:
        """Come to the prototypes of the next epoch.

        Raises:
            InputError: the loss leaves the numbers.
        """
        self.number += 1
        self.prototypes = prototypes
        self.offsets = balanced_offsets(
            self.lesson.levelled(self.lesson.patch_tokens @ prototypes.normal.T), self.offsets
        )
        self.loss = total_loss(prototypes, self.lesson, self.weights, self.offsets)
        if not torch.isfinite(self.loss):
            raise InputError(
                f"--lr {self.training.lr}: the loss of epoch {self.number} is no number any more; lower it"
            )

    def step(self) -> None:
        """Move the contexts by the gradients that they have."""
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()

    def epoch(self) -> Epoch:
        """Return the state that was come to."""
        return Epoch(self.number, float(self.loss.detach()), self.prototypes.detach(), self.offsets)


def train(courses: Sequence[Course]) -> Iterator[tuple[Epoch, ...]]:
    """Train the contexts of classes side by side, one step an epoch; yield their states at the start and after each.

    The prompts of all of them go through the text tower together: one class alone does not fill a GPU. The generator
    takes nothing back, so whatever its caller measures between epochs cannot reach it; the last epoch counts.

    Raises:
        InputError: the loss of one leaves the numbers.
    """
    contexts = [course.contexts for course in courses]
    prompts = [len(own.trees.leaf_of) for own in contexts]
    trees = PromptTrees.joined([own.trees for own in contexts], [len(own.vectors()) for own in contexts])
    yield tuple(course.epoch() for course in courses)
    for _ in range(courses[0].training.epochs):
        torch.stack([course.loss for course in courses]).sum().backward()  # type: ignore[no-untyped-call]
        for course in courses:
            course.step()
        encoded = courses[0].text_tower.encode(torch.cat([own.vectors() for own in contexts]), trees)
        for course, features in zip(courses, torch.split(encoded, prompts), strict=True):
            course.arrive(Prototypes.from_features(*course.contexts.split(features)))
        yield tuple(course.epoch() for course in courses)


def total_loss(prototypes: Prototypes, lesson: Lesson, weights: LossWeights, offsets: Tensor) -> Tensor:
    """Return the weighted sum of the losses whose weight is not 0; `offsets` [K] balance the normal prototypes."""
    normal, abnormal = prototypes.normal, prototypes.abnormal
    states = [without_centre(group, prototypes.centre) for group in lesson.state_groups]
    # Of all features to all directions at once: each product by itself would read the features again.
    directions = torch.cat([normal, abnormal, *states])
    counts = [len(normal), len(abnormal), sum(map(len, states))]
    to_normal, to_abnormal, to_states = torch.split(lesson.features @ directions.T, counts, 1)
    first_patch = len(lesson.features) - len(lesson.patch_tokens)
    class_tokens, patches = slice(first_patch), slice(first_patch, None)
    taught = [class_tokens, patches] if first_patch else [patches]
    to_normal = torch.cat([to_normal[class_tokens], lesson.levelled(to_normal[patches])])
    scale = spread(to_normal[patches])
    shares = balanced_assignment(to_normal, offsets, scale).detach()  # [F, K]
    negatives = torch.cat([to_abnormal, to_states], 1)
    terms = {
        # Of a view's 197 features one is the class token, and it makes half of the score: each kind has its own mean.
        "contrastive": lambda: torch.stack(
            [losses.contrastive_loss(to_normal[t], negatives[t], shares[t], lesson.temperature) for t in taught]
        ).sum(),
        "margin": lambda: losses.margin_loss(to_normal, to_abnormal, shares),
        "matching": lambda: losses.matching_loss(abnormal, torch.cat(states)),
        "grouping": lambda: losses.grouping_loss(abnormal, group_means(states, len(abnormal))),
        "balance": lambda: losses.balance_loss(to_normal[patches], shares[patches], scale),
        "repulsion": lambda: losses.repulsion_loss(abnormal, REPULSION_LIMIT),
        "closeness": lambda: losses.closeness_loss(
            torch.cat([normal, abnormal]), torch.cat([lesson.start.normal, lesson.start.abnormal])
        ),
    }
    zero = normal.sum() * 0  # keeps the sum a function of the contexts when every loss is switched off
    return sum((weight * terms[name]() for name, weight in asdict(weights).items() if weight), start=zero)


def shared_out(weights: LossWeights, prompts: PromptSettings, trust: float) -> LossWeights:
    """Return the weights by how far the starting words are trusted: pictures teach what is missing.

    Where CLIP knows a part, its words tell good from bad better than a few good pictures do, and the contrastive loss
    only leads away from them. To random starts nothing need keep close.
    """
    closeness = weights.closeness if prompts.start == "words" else 0.0
    return replace(weights, contrastive=(1 - trust) * weights.contrastive, closeness=closeness)


def group_means(states: Sequence[Tensor], count: int) -> Tensor:
    """Return for each of `count` abnormal prototypes the mean [count, D] of the states that it answers for.

    The G groups of states [phrase, D] are dealt out in turn: prototype j has groups j, j + M, and so on; where there
    are more prototypes than groups, they share.
    """
    means = [
        torch.cat([group for g, group in enumerate(states) if g % count == j % len(states)]).mean(0)
        for j in range(count)
    ]
    return torch.stack(means)


def _prepare(
    backbone: Backbone,
    words: str,
    groups: Sequence[StateGroup],
    support: ImageFeatures,
    start: Prototypes,
    level: str,
) -> Lesson:
    """Gather what the contexts learn from: patch tokens, and at level "image" class tokens too."""
    # Features made in inference mode cannot take part in a backward pass; their copies can.
    patch_tokens = support.patch_tokens.flatten(0, 1).clone()
    features = patch_tokens if level == "pixel" else torch.cat([support.class_token, patch_tokens])
    states = encode_states(backbone, words, groups)
    return Lesson(features, patch_tokens, len(support.class_token), states, start, backbone.temperature)


def _recognise(backbone: Backbone, words: str, support: ImageFeatures, settings: Settings) -> Recognition | None:
    """Look whether the part is what it is called, unless trust is given, or contexts do not start from words at all."""
    if settings.training.trust is not None or settings.prompts.start != "words":
        return None
    return recognise(backbone, words, support.class_token)


def _make_optimizer(
    contexts: Contexts, training: TrainingSettings
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW (Loshchilov and Hutter, 2019) and a cosine decay of its learning rate to 0 over all epochs."""
    optimizer = torch.optim.AdamW(
        contexts.parameters(), training.lr, (training.momentum, 0.999), weight_decay=training.weight_decay
    )
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(training.epochs, 1))
