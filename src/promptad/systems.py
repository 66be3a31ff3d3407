"""The two systems behind one door: each learns a detector from support features, and loads one from a checkpoint."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from promptad.backbone.clip import Backbone, load_backbone
from promptad.checkpoints import check_backbone, read_checkpoint
from promptad.detection import AnomalyDetector, Subject
from promptad.detector import Detector, restore_prototypes
from promptad.errors import InputError
from promptad.memory import CalibratedMemory, MemoryBank
from promptad.prompts.contexts import start_vectors
from promptad.prompts.states import class_words, state_groups
from promptad.prototypes import Prototypes
from promptad.records import ImageFeatures
from promptad.scoring import calibrate
from promptad.settings import MULTI_PROTOTYPE, SINGLE_ANCHOR, Settings
from promptad.single_anchor.detector import AnchorDetector, restore_anchors
from promptad.single_anchor.prompts import AnchorPrompts, prompt_tokens
from promptad.single_anchor.training import lesson_of, train_anchors
from promptad.training import train


@dataclass(frozen=True)
class Step:
    """The state after one epoch; number 0 is the start, before any step."""

    number: int
    loss: float
    assemble: Callable[[], AnomalyDetector]

    @cached_property
    def detector(self) -> AnomalyDetector:
        """The detector as it would be if this epoch were kept, assembled when it is first asked for."""
        return self.assemble()


def learn(backbone: Backbone, subject: Subject, support: ImageFeatures, settings: Settings) -> Iterator[Step]:
    """Train a detector of the system that the settings name, and yield its state at the start and after each epoch.

    The features of the support images (of their views, where the system has them) are all there is to learn from. The
    generator takes nothing back, so whatever its caller measures between epochs cannot reach it.

    Raises:
        InputError: the loss leaves the numbers, or a prompt is too long.
    """
    learner = _learn_anchors if settings.system == SINGLE_ANCHOR else _learn_prototypes
    return learner(backbone, subject, support, settings)


def load_detector(
    path: Path,
    device: torch.device,
    system: str = MULTI_PROTOTYPE,
    *,
    backbone: Backbone | None = None,
    weights: str | None = None,
    settings: Settings | None = None,
    subject: Subject | None = None,
) -> AnomalyDetector:
    """Load a detector of a system from a checkpoint.

    Args:
        path: the checkpoint.
        device: where its backbone is loaded, unless `backbone` is given.
        system: the one that it is of.
        backbone: one already loaded.
        weights: where the backbone's weights lie now, if not where they lay when the checkpoint was written.
        settings: to work with in the place of those in the checkpoint.
        subject: what it is about, where the checkpoint does not say: one that the ancestor wrote has but tensors.

    Raises:
        InputError: no such file, a truncated one, one of the other system, of a newer version, of another backbone or
            of other weights, or one of the ancestor's own without settings and subject.
    """
    checkpoint = read_checkpoint(path, system)
    if "settings" not in checkpoint:
        if settings is None or subject is None:
            raise InputError(f"{path} holds no settings: test it with promptad test --system single-anchor")
        checkpoint |= {"settings": settings} | vars(subject)
    trained: Settings = checkpoint["settings"]
    if backbone is None:
        own = trained.backbone if weights is None else replace(trained.backbone, pretrained=weights)
        backbone = load_backbone(own, device)
    check_backbone(path, checkpoint, backbone)
    checkpoint["settings"] = settings or trained
    restore = restore_anchors if system == SINGLE_ANCHOR else restore_prototypes
    return restore(path, checkpoint, backbone)


def _learn_prototypes(
    backbone: Backbone, subject: Subject, support: ImageFeatures, settings: Settings
) -> Iterator[Step]:
    memory = None
    if settings.scoring.memory:
        memory, support = CalibratedMemory.of(support, settings.support_views, settings.scoring.calibration)

    def assemble(prototypes: Prototypes, offsets: Tensor) -> AnomalyDetector:
        calibration = calibrate(support, prototypes, settings.scoring, memory, offsets)
        return Detector(backbone, prototypes, calibration, settings, subject, memory)

    words, groups = class_words(subject.class_name), state_groups(subject.class_name, settings.prompts.states)
    for epoch in train(backbone, words, groups, support, settings):
        yield Step(epoch.number, epoch.loss, partial(assemble, epoch.prototypes, epoch.offsets))


def _learn_anchors(backbone: Backbone, subject: Subject, support: ImageFeatures, settings: Settings) -> Iterator[Step]:
    words, groups = class_words(subject.class_name), state_groups(subject.class_name, settings.prompts.states)
    tokens = prompt_tokens(backbone, words, groups, settings.prompts)
    contexts = start_vectors(backbone, groups, settings.prompts, settings.training.seed)
    prompts, bank = AnchorPrompts(backbone.text_tower, tokens, *contexts), MemoryBank.of(support)
    lesson = lesson_of(support, settings.level)
    for epoch in train_anchors(prompts, lesson, backbone.log_temperature, settings):
        loss = float(epoch.losses.total.detach())
        yield Step(epoch.number, loss, partial(AnchorDetector, backbone, epoch.anchors, bank, settings, subject))
