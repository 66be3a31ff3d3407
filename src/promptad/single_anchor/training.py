"""The ancestor's training: its three losses, its optimiser, one step an epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from promptad import losses
from promptad.errors import InputError
from promptad.records import ImageFeatures
from promptad.settings import Settings
from promptad.single_anchor.anchors import average_anchors
from promptad.single_anchor.prompts import AnchorPrompts, TextFeatures


@dataclass(frozen=True)
class Losses:
    """The losses of one epoch, as functions of the contexts."""

    contrastive: Tensor  # []
    triplet: Tensor  # []
    match: Tensor  # [], not yet weighted
    total: Tensor  # []


@dataclass(frozen=True)
class Epoch:
    """The state after one epoch; number 0 is the start, before any step."""

    number: int
    losses: Losses
    anchors: Tensor  # [2, D]


def train_anchors(prompts: AnchorPrompts, features: Tensor, temperature: float, settings: Settings) -> Iterator[Epoch]:
    """Train the contexts on normal features and yield the state at the start and after each epoch.

    Args:
        prompts: whose contexts learn.
        features: class tokens [N, D], or patch tokens [N, patch, D], of the support images.
        temperature: CLIP's, as it is stored: the logarithm.
        settings: of which the training and single-anchor parts count.

    Raises:
        InputError: the loss leaves the numbers.
    """
    training, own = settings.training, settings.single_anchor
    optimizer = torch.optim.SGD(
        prompts.parameters(), training.lr, momentum=training.momentum, weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(training.epochs, 1), own.eta_min)
    features = features.clone()  # what inference mode made cannot take part in a backward pass; a copy can
    text = prompts()
    epoch_losses = compute_losses(text, features, temperature, own.lambda1)
    yield _state(0, epoch_losses, text)
    for number in range(1, training.epochs + 1):
        optimizer.zero_grad()
        epoch_losses.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        text = prompts()
        epoch_losses = compute_losses(text, features, temperature, own.lambda1)
        if not torch.isfinite(epoch_losses.total):
            raise InputError(f"--lr {training.lr}: the loss of epoch {number} is no number any more; lower it")
        yield _state(number, epoch_losses, text)


def lesson_of(support: ImageFeatures, level: str) -> Tensor:
    """Return what is learned from: class tokens [N, D] at level "image", patch tokens [N, patch, D] at "pixel"."""
    return support.class_token if level == "image" else support.patch_tokens


def compute_losses(text: TextFeatures, features: Tensor, temperature: float, lambda1: float) -> Losses:
    """Return the losses of text features on normal features [N, D] or [N, patch, D] (Li et al., 2024, section 3.3)."""
    anchors = average_anchors(text)
    tokens = features.reshape(-1, features.shape[-1])  # [token, D]
    negatives = F.normalize(text.abnormal, dim=-1)
    of_one_anchor = torch.ones(len(tokens), 1, device=tokens.device)
    contrastive = losses.contrastive_loss(tokens @ anchors[:1].T, tokens @ negatives.T, of_one_anchor, temperature)
    triplet = triplet_loss(features, anchors)
    match = losses.matching_loss(F.normalize(text.learned, dim=-1), F.normalize(text.manual, dim=-1))
    return Losses(contrastive, triplet, match, contrastive + triplet + lambda1 * match)


def triplet_loss(features: Tensor, anchors: Tensor) -> Tensor:
    """Hinge on how much nearer normal features are to the abnormal anchor than to the normal one, of `anchors` [2, D].

    Squared differences are summed over axis 1. Of class tokens [N, D] that gives distances; of patch tokens
    [N, patch, D] it sums over patches, where distances were meant: the ancestor's way, kept here.
    """
    to_normal, to_abnormal = ((features - anchor).square().sum(1) for anchor in anchors)
    return F.relu(to_normal - to_abnormal).mean()


def _state(number: int, epoch_losses: Losses, text: TextFeatures) -> Epoch:
    return Epoch(number, epoch_losses, average_anchors(text).detach())
