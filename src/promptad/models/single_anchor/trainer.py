"""The baseline's training: its three losses, its optimiser, one step an epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from promptad.features import ImageFeatures
from promptad.models import losses
from promptad.models.single_anchor.prompts import AnchorPrompts, TextFeatures, average_anchors
from promptad.settings import Settings


@dataclass(frozen=True)
class Losses:
    """The losses of one epoch, as functions of the context vectors."""

    contrastive: Tensor  # []
    triplet: Tensor  # []
    match: Tensor  # [], not yet weighted
    total: Tensor  # []


class Trainer:
    """The training of one class: its prompts, its training features, and the current state."""

    def __init__(self, prompts: AnchorPrompts, support: ImageFeatures, temperature: float, settings: Settings) -> None:
        """Build targets and optimiser.

        Args:
            prompts: their context vectors are trained.
            support: features of the support images.
            temperature: the logarithm of CLIP's temperature, as CLIP stores it.
            settings: only the level, training and single-anchor parts are used.
        """
        training, own = settings.training, settings.single_anchor
        self.prompts, self.temperature, self.training, self.lambda1 = prompts, temperature, training, own.lambda1
        self.optimizer = torch.optim.SGD(
            prompts.parameters(), training.lr, momentum=training.momentum, weight_decay=training.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, max(training.epochs, 1), own.eta_min)
        features = support.class_token if settings.level == "image" else support.patch_tokens
        self.features = features.clone()  # inference tensors cannot take part in a backward pass; a copy can
        self.update()

    def update(self) -> None:
        """Encode the prompts with the current context vectors, and recompute anchors and losses."""
        text = self.prompts()
        self.anchors = average_anchors(text).detach()
        self.losses = compute_losses(text, self.features, self.temperature, self.lambda1)

    def step(self) -> None:
        """Update the context vectors by the gradients of the losses."""
        self.optimizer.zero_grad()
        self.losses.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()


def run_epochs(trainer: Trainer) -> Iterator[int]:
    """Train one class, one step an epoch; yield the number of each epoch, 0 before the first step.

    Raises:
        InputError: the loss becomes NaN or infinite.
    """
    yield 0
    for epoch in range(1, trainer.training.epochs + 1):
        trainer.step()
        trainer.update()
        losses.check_finite(trainer.losses.total, epoch, trainer.training.lr)
        yield epoch


def compute_losses(text: TextFeatures, features: Tensor, temperature: float, lambda1: float) -> Losses:
    """Return the losses of text features on normal features [N, D] or [N, patch, D] (Li et al., 2024, section 3.3)."""
    anchors = average_anchors(text)
    tokens = features.reshape(-1, features.shape[-1])  # [token, D]
    negatives = F.normalize(text.abnormal, dim=-1)
    of_one_anchor = torch.ones(len(tokens), 1, device=tokens.device)
    contrastive = losses.contrastive_loss(tokens @ anchors[:1].T, tokens @ negatives.T, of_one_anchor, temperature)
    triplet = losses.triplet_loss(features, anchors)
    match = losses.matching_loss(F.normalize(text.learned, dim=-1), F.normalize(text.manual, dim=-1))
    return Losses(contrastive, triplet, match, contrastive + triplet + lambda1 * match)
