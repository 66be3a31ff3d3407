"""From training tasks to trained single-anchor detectors."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from promptad.backbones.clip import Backbone
from promptad.features import SupportFeatures
from promptad.models.base import AnomalyDetector, EpochState, TrainTask
from promptad.models.memory_bank import MemoryBank
from promptad.models.single_anchor.detector import AnchorHead, SingleAnchorDetector
from promptad.models.single_anchor.prompts import AnchorPrompts, prompt_tokens
from promptad.models.single_anchor.trainer import Trainer, run_epochs
from promptad.prompts.prompt_learner import initial_contexts


def train(backbone: Backbone, tasks: Sequence[TrainTask]) -> Iterator[tuple[EpochState, ...]]:
    """Train detectors side by side; yield their states at the start and after each epoch.

    Raises:
        InputError: the loss of one becomes NaN or infinite, or a prompt is too long.
    """
    return zip(*(_train_one(backbone, task) for task in tasks), strict=True)


def _train_one(backbone: Backbone, task: TrainTask) -> Iterator[EpochState]:
    settings = task.settings
    tokens = prompt_tokens(backbone, task.words, task.state_groups, settings.prompts)
    contexts = initial_contexts(backbone, task.state_groups, settings.prompts, settings.training.seed)
    prompts, bank = AnchorPrompts(backbone.text_encoder, tokens, *contexts), MemoryBank.from_support(task.support.views)
    trainer = Trainer(prompts, task.support.views, backbone.log_temperature, settings)
    for epoch in run_epochs(trainer):
        head = AnchorHead(trainer.anchors, bank.layers)
        loss = float(trainer.losses.total.detach())
        yield EpochState(epoch, loss, partial(SingleAnchorDetector, backbone, head, settings, task.subject))


def recalibrate(detector: AnomalyDetector, support: SupportFeatures) -> SingleAnchorDetector:
    """Return a detector with its anchors as they are, and the memory bank of other features of the support images."""
    assert isinstance(detector, SingleAnchorDetector)
    bank = MemoryBank.from_support(support.views)
    return replace(detector, head=AnchorHead(detector.head.anchors, bank.layers))
