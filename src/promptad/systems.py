"""The two systems behind one door: each learns a detector from support features, and loads one from a checkpoint."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from promptad.backbone.clip import Backbone
from promptad.backbone.loading import load_backbone
from promptad.checkpoints import check_backbone, read_checkpoint
from promptad.decision import NormalScores
from promptad.detection import AnomalyDetector, Subject
from promptad.detector import Detector, restore_prototypes
from promptad.errors import InputError
from promptad.memory import CalibratedMemory, MemoryBank
from promptad.prompts.contexts import start_vectors
from promptad.prompts.recognition import Recognition
from promptad.prompts.states import StateGroup, class_words, state_groups
from promptad.prototypes import Prototypes
from promptad.records import ImageFeatures
from promptad.scoring import calibrate
from promptad.settings import MULTI_PROTOTYPE, SINGLE_ANCHOR, Settings
from promptad.single_anchor.detector import AnchorDetector, restore_anchors
from promptad.single_anchor.prompts import AnchorPrompts, prompt_tokens
from promptad.single_anchor.training import lesson_of, train_anchors
from promptad.training import Course, train
from promptad.vocabulary import Vocabulary


@dataclass(frozen=True)
class Step:
    """The state after one epoch; number 0 is the start, before any step."""

    number: int
    loss: float
    assemble: Callable[[], AnomalyDetector]
    decide: Callable[[AnomalyDetector], AnomalyDetector] = lambda detector: detector  # the baseline decides nothing
    recognition: Recognition | None = None  # of the part by its words, where that was looked at

    @cached_property
    def detector(self) -> AnomalyDetector:
        """The detector as it would be if this epoch were kept, assembled when it is first asked for."""
        return self.assemble()

    def kept(self) -> AnomalyDetector:
        """Return the detector with the thresholds of its decision, which only the kept epoch's needs."""
        return self.decide(self.detector)


@dataclass(frozen=True)
class Pupil:
    """What one detector is to learn: about a subject, from the features of its support images, with these settings."""

    subject: Subject
    support: ImageFeatures
    settings: Settings


def learn(backbone: Backbone, pupils: Sequence[Pupil]) -> Iterator[tuple[Step, ...]]:
    """Train detectors side by side, of the one system and for the epochs that all settings name.

    Yields their states at the start and after each epoch. The features of the support images (of their views, where
    the system has them) are all there is to learn from. The generator takes nothing back, so whatever its caller
    measures between epochs cannot reach it.

    Raises:
        InputError: the loss leaves the numbers, or a prompt is too long.
    """
    if pupils[0].settings.system == SINGLE_ANCHOR:
        return zip(*(_learn_anchors(backbone, pupil) for pupil in pupils), strict=True)
    return _learn_prototypes(backbone, pupils)


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


def load_deciding(path: Path, device: torch.device, rate: float | None = None, weights: str | None = None) -> Detector:
    """Load a multi-prototype detector that decides, at the false-alarm rate it was trained for unless one is given.

    Raises:
        InputError: as `load_detector`, or it was saved before its training ended.
    """
    detector = load_detector(path, device, weights=weights)
    assert isinstance(detector, Detector)
    if detector.normal_scores is None:
        raise InputError(f"{path} was saved before its training ended and has no threshold: train the class again")
    return detector if rate is None else detector.deciding(detector.normal_scores, rate)


def _learn_prototypes(backbone: Backbone, pupils: Sequence[Pupil]) -> Iterator[tuple[Step, ...]]:
    courses, assemblers, deciders = [], [], []
    for pupil in pupils:
        settings, support, memory = pupil.settings, pupil.support, None
        if settings.scoring.memory:
            memory, support = CalibratedMemory.of(support, settings.support_views, settings.scoring.calibration)
        knowing = replace(pupil, support=support)
        courses.append(Course(backbone, *_words_of(pupil), support, settings))
        assemblers.append(partial(_assemble, backbone, knowing, memory, courses[-1].lesson.state_groups))
        deciders.append(partial(_decide, knowing))
    for epochs in train(courses):
        yield tuple(
            Step(
                epoch.number,
                epoch.loss,
                partial(assemble, epoch.prototypes, epoch.offsets),
                decide,
                course.recognition,
            )
            for epoch, assemble, decide, course in zip(epochs, assemblers, deciders, courses, strict=True)
        )


def _assemble(
    backbone: Backbone,
    pupil: Pupil,
    memory: CalibratedMemory | None,
    states: Sequence[Tensor],
    prototypes: Prototypes,
    offsets: Tensor,
) -> AnomalyDetector:
    calibration = calibrate(pupil.support, prototypes, pupil.settings.scoring, memory, offsets)
    phrases = [group.phrases for group in _words_of(pupil)[1]]
    vocabulary = Vocabulary.of(phrases, states, prototypes, pupil.support)
    return Detector(backbone, prototypes, calibration, pupil.settings, pupil.subject, vocabulary, memory)


def _decide(pupil: Pupil, detector: AnomalyDetector) -> AnomalyDetector:
    """Return a detector of this pupil with its thresholds."""
    assert isinstance(detector, Detector)
    settings = pupil.settings
    scores = NormalScores.of(
        pupil.support,
        settings.support_views,
        detector.prototypes,
        detector.calibration,
        settings.scoring,
        detector.memory,
    )
    return detector.deciding(scores, settings.scoring.false_alarm_rate)


def _learn_anchors(backbone: Backbone, pupil: Pupil) -> Iterator[Step]:
    settings, (words, groups) = pupil.settings, _words_of(pupil)
    tokens = prompt_tokens(backbone, words, groups, settings.prompts)
    contexts = start_vectors(backbone, groups, settings.prompts, settings.training.seed)
    prompts, bank = AnchorPrompts(backbone.text_tower, tokens, *contexts), MemoryBank.of(pupil.support)
    lesson = lesson_of(pupil.support, settings.level)
    for epoch in train_anchors(prompts, lesson, backbone.log_temperature, settings):
        loss = float(epoch.losses.total.detach())
        yield Step(epoch.number, loss, partial(AnchorDetector, backbone, epoch.anchors, bank, settings, pupil.subject))


def _words_of(pupil: Pupil) -> tuple[str, tuple[StateGroup, ...]]:
    """Return what a class is called in a prompt, and its manual states."""
    name = pupil.subject.class_name
    return class_words(name), state_groups(name, pupil.settings.prompts.states)
