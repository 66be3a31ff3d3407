"""From training tasks to trained multi-prototype detectors."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from promptad.backbones.clip import Backbone
from promptad.features import SupportFeatures
from promptad.models.base import AnomalyDetector, EpochState, TrainTask
from promptad.models.memory_bank import WORDS_WEIGHTS, CalibratedMemory, LeftOut, MemoryBank
from promptad.models.multi_prototype.calibration import calibrate
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.multi_prototype.explain import StateDirections
from promptad.models.multi_prototype.fusion import weigh_distances, weigh_words
from promptad.models.multi_prototype.head import PrototypeHead
from promptad.models.multi_prototype.likeness import Likeness
from promptad.models.multi_prototype.normal_scores import NormalScoreDistribution
from promptad.models.multi_prototype.support_distance import SupportDistance
from promptad.models.multi_prototype.teaching import taught_by
from promptad.models.multi_prototype.trainer import Trainer, run_epochs
from promptad.settings import Settings


def train(backbone: Backbone, tasks: Sequence[TrainTask]) -> Iterator[tuple[EpochState, ...]]:
    """Train detectors side by side; yield their states at the start and after each epoch.

    Raises:
        InputError: the loss of one becomes NaN or infinite, or a prompt is too long.
    """
    learners = [_Learner(backbone, task) for task in tasks]
    for _ in run_epochs([learner.trainer for learner in learners]):
        yield tuple(learner.state() for learner in learners)


class _Learner:
    """One training task, and the detectors of its epochs."""

    def __init__(self, backbone: Backbone, task: TrainTask) -> None:
        self.backbone, self.memory = backbone, None
        self.trainer = Trainer(backbone, task.words, task.state_groups, task.support, task.settings)
        self.likeness = Likeness.fit(task.support, task.settings.support_views)
        self.distance = SupportDistance.fit(task.support, task.settings.support_views)
        if task.settings.scoring.memory:
            self.memory, support = _remember(task.support, task.settings)
            task = replace(task, support=support)
        self.task = task

    def state(self) -> EpochState:
        """Return the state of the current epoch."""
        prototypes, bias, check = self.trainer.prototypes.detach(), self.trainer.bias, self.trainer.check

        def assemble() -> MultiPrototypeDetector:
            support, settings, memory = self.task.support.views, self.task.settings, self.memory
            calibration = calibrate(self.task.support.normal, prototypes, settings.scoring.calibration, bias)
            phrases = [group.phrases for group in self.task.state_groups]
            states = StateDirections.calibrated(phrases, self.trainer.inputs.state_groups, prototypes, support)
            if memory is not None and settings.needs_probes:
                believed = 1.0 if check is None else check.believed
                memory = weigh_words(memory, self.task.support, prototypes, calibration, believed)
            scoring = settings.scoring.image_score, settings.scoring.top_share
            head = PrototypeHead(prototypes, calibration, states, memory, self.likeness, *scoring)
            subject, looks = self.task.subject, self.task.support.looks
            return MultiPrototypeDetector(
                self.backbone, head.with_distance(self.distance), settings, subject, looks=looks
            )

        loss = float(self.trainer.loss.detach())
        finding = "" if check is None else check.in_words()
        return EpochState(self.trainer.epoch, loss, assemble, self._with_thresholds, finding)

    def _with_thresholds(self, detector: AnomalyDetector) -> MultiPrototypeDetector:
        """Return a detector of this task with its thresholds, from the support images."""
        assert isinstance(detector, MultiPrototypeDetector)
        return _with_thresholds(detector, self.task.support)


def recalibrate(detector: AnomalyDetector, support: SupportFeatures) -> MultiPrototypeDetector:
    """Return a detector with its prototypes as they are, and all else found anew on other features of its images.

    What words count for beside the memory bank stays, too, and so do the features of verdicts.
    """
    assert isinstance(detector, MultiPrototypeDetector)
    if detector.taught is not None:
        untaught = recalibrate(detector.untaught, support)
        return taught_by(untaught, detector.taught.verdicts, detector.taught.features)
    head, settings, known, memory = detector.head, detector.settings, support, None
    if head.memory is not None:
        memory, known = _remember(support, settings)
        weights = {name: getattr(head.memory, name) for name in WORDS_WEIGHTS}
        memory = replace(memory, **weights)
    calibration = calibrate(known.normal, head.prototypes, settings.scoring.calibration)
    states = head.states.calibrated_on(known.views, head.prototypes)
    likeness = None if head.likeness is None else Likeness.fit(support, settings.support_views)
    scoring = head.image_score, head.top_share
    again = PrototypeHead(head.prototypes, calibration, states, memory, likeness, *scoring)
    if head.distance is not None:
        again = again.with_distance(SupportDistance.fit(support, settings.support_views))
    return _with_thresholds(replace(detector, head=again), known)


def _with_thresholds(detector: MultiPrototypeDetector, support: SupportFeatures) -> MultiPrototypeDetector:
    """Return a detector with its thresholds, from features of its support images with their memory-bank distances."""
    settings, head = detector.settings, detector.head
    distribution = NormalScoreDistribution.estimate(
        support.views,
        settings.support_views,
        head.prototypes,
        head.calibration,
        settings.scoring,
        head.memory,
        support.tiles,
    )
    return detector.with_thresholds(distribution, settings.scoring)


def _remember(support: SupportFeatures, settings: Settings) -> tuple[CalibratedMemory, SupportFeatures]:
    """Return a memory bank of the support images, calibrated, and their features with their distances to it."""
    distances = settings.scoring.memory_distances
    left_out, weights = LeftOut.measured(support, settings.support_views, distances), None
    if settings.needs_probes:
        assert support.probes is not None, "there are no probes"
        weights = weigh_distances(left_out, support.probes.places)
    bank = MemoryBank.from_support(support.banked, weights, distances)
    known = left_out.added_to(support, bank.weights)
    assert known.normal.distances is not None
    return CalibratedMemory.calibrated(bank, known.normal.distances, settings.scoring), known
