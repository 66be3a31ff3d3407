"""Fit: train detectors from support images, with a log, and keep one epoch of each."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from rich.console import Console

from promptad.backbones.clip import Backbone
from promptad.engine.model_selection import ModelSelection
from promptad.engine.training_log import TrainingLog
from promptad.evaluation.evaluator import TestSplit, oracle_metric
from promptad.evaluation.metrics import image_auroc
from promptad.models.base import AnomalyDetector, EpochState, TrainTask
from promptad.models.registry import train
from promptad.settings import MULTI_PROTOTYPE, TEST_ORACLE, Settings
from promptad.utils.progress import add_task, progress_bar


def fit(
    backbone: Backbone, tasks: Sequence[TrainTask], splits: Sequence[TestSplit | None], console: Console
) -> list[tuple[AnomalyDetector, TestSplit | None]]:
    """Train detectors side by side, log every epoch, and return each detector of the epoch that its settings select.

    Args:
        backbone: the frozen CLIP.
        tasks: the training task of each detector.
        splits: the test split of each, or None: used for the log only, and for the test oracle if the settings select
            it. It is returned with its memory-bank distances, if there is a bank, which are computed once.
        console: where the log is printed.

    Raises:
        InputError: the loss becomes NaN or infinite, or the test oracle has no test split.
    """
    states = train(backbone, tasks)
    start = next(states)
    monitors = [TrainingMonitor(*of_one) for of_one in zip(tasks, splits, start, strict=True)]
    epochs = tasks[0].settings.training.epochs
    name = monitors[0].class_name if len(monitors) == 1 else f"{len(monitors)} detectors"
    for monitor, state in zip(monitors, start, strict=True):
        if state.finding:
            console.print(f"{monitor.class_name}: {state.finding}", markup=False, soft_wrap=True)
    with progress_bar(console) as progress:
        bar = add_task(progress, f"train {name}", epochs)
        for of_epoch in chain([start], states):
            for monitor, state in zip(monitors, of_epoch, strict=True):
                if report := monitor.update(state):
                    console.print(f"{monitor.class_name}, {report}" if len(monitors) > 1 else report)
            progress.update(bar, completed=of_epoch[0].number, note=monitors[-1].log.line())
    for monitor in monitors:
        if monitor.task.settings.training.select != "last":
            console.print(monitor.selection.in_words())
    fitted = [(monitor.selection.detector(), monitor.split) for monitor in monitors]
    for monitor, (detector, _) in zip(monitors, fitted, strict=True):
        for finding in (*detector.findings(), *monitor.findings()):
            console.print(f"{detector.class_name}: {finding}", markup=False, soft_wrap=True)
    return fitted


class TrainingMonitor:
    """Follows the training of one detector: its log, and the selection of its epoch."""

    def __init__(self, task: TrainTask, split: TestSplit | None, start: EpochState) -> None:
        """Begin with the state before the first step."""
        if split is not None:
            split = replace(split, features=start.detector.add_memory_distances(split.features))
        self.task, self.split = task, split
        self.selection = _make_selection(task.settings, split)
        self.log = TrainingLog(task.settings.training.epochs)

    @property
    def class_name(self) -> str:
        """The class that is trained."""
        return self.task.subject.class_name

    def findings(self) -> tuple[str, ...]:
        """Return what labelled images say of the training, in words."""
        settings = self.task.settings
        learned_last = settings.system == MULTI_PROTOTYPE and settings.training.select == "last"
        return self.log.findings(from_words=learned_last and settings.prompts.start == "words")

    def update(self, state: EpochState) -> str:
        """Add the next epoch, and return its report if it is due, else an empty text."""
        self.selection.update(state)
        self.log.add(state.loss)
        if not self.log.is_due():
            return ""
        self._measure(state.detector)
        return self.log.report()

    def _measure(self, detector: AnomalyDetector) -> None:
        """Log the prototype usage on the test images, or else on the support images, and the image AUROC if known."""
        auroc = None
        usage = detector.usage(self.task.support.views if self.split is None else self.split.features)
        if self.split is not None:
            scores = detector.per_image(detector.score(self.split.features).image)
            auroc = image_auroc(scores.cpu().numpy(), self.split.labels)
        self.log.measure(None if usage is None else usage.mean(0).tolist(), auroc)


def _make_selection(settings: Settings, split: TestSplit | None) -> ModelSelection:
    """Return the model selection of the settings; only the test oracle is given the test split."""
    if settings.training.select != TEST_ORACLE or split is None:
        return ModelSelection(settings.training)
    return ModelSelection(settings.training, partial(oracle_metric, split=split))
