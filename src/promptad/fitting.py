"""Fitting: a detector learns from support images while a log shows how it goes, and one epoch is kept."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from rich.console import Console

from promptad.backbone.clip import Backbone
from promptad.data.geometry import square_picture
from promptad.data.pictures import ImageLike, read_picture
from promptad.data.views import make_views
from promptad.detection import BATCH_SIZE, AnomalyDetector
from promptad.evaluation import TestSplit, oracle_figure
from promptad.metrics import image_auroc
from promptad.progress import TrainingLog, add_task, progress_bar
from promptad.records import ImageFeatures
from promptad.selection import Selection
from promptad.settings import TEST_ORACLE, Settings
from promptad.systems import Pupil, Step, learn


def encode_support(
    backbone: Backbone, pictures: Sequence[ImageLike], settings: Settings, batch_size: int = BATCH_SIZE
) -> ImageFeatures:
    """Encode the views of the support images: features of k * views pictures, those of each image together."""
    views = []
    for picture in pictures:
        square = square_picture(read_picture(picture), backbone.resize, backbone.resize)
        views += make_views(square, settings.support_views, settings.training.seed)
    return backbone.encode_pictures(views, batch_size, read_picture, taps=settings.taps)


def support_sha256(images: Sequence[ImageLike]) -> str:
    """Return the SHA-256 of the pixels of support images."""
    digest = hashlib.sha256()
    for image in images:
        picture = read_picture(image)
        digest.update(f"{picture.size}".encode() + picture.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Candidate:
    """A detector to be trained, and the test split, if there is one, that it is watched on."""

    pupil: Pupil
    split: TestSplit | None


def fit(
    backbone: Backbone, candidates: Sequence[Candidate], console: Console
) -> list[tuple[AnomalyDetector, TestSplit | None]]:
    """Train detectors side by side, report on every epoch, and return those of the epochs that their settings choose.

    A test split, where there is one, is for the log alone, and for the test oracle where the settings name it. It
    comes back with its distances to the memory bank, if there is one, which are computed once.

    Raises:
        InputError: the loss leaves the numbers, or the test oracle has no test split.
    """
    steps = learn(backbone, [candidate.pupil for candidate in candidates])
    start = next(steps)
    watches = [Watch.of(candidate, step) for candidate, step in zip(candidates, start, strict=True)]
    epochs = candidates[0].pupil.settings.training.epochs
    name = watches[0].class_name if len(watches) == 1 else f"{len(watches)} detectors"
    for watch, step in zip(watches, start, strict=True):
        if step.recognition is not None:
            console.print(f"{watch.class_name}: {step.recognition.in_words()}", markup=False)
    with progress_bar(console) as progress:
        task = add_task(progress, f"train {name}", epochs)
        for taken in chain([start], steps):
            for watch, step in zip(watches, taken, strict=True):
                watch.see(step, console, named=len(watches) > 1)
            progress.update(task, completed=taken[0].number, note=watches[-1].log.line())
    for watch in watches:
        if watch.candidate.pupil.settings.training.select != "last":
            console.print(watch.selection.in_words())
    return [(watch.selection.detector(), watch.split) for watch in watches]


@dataclass(frozen=True)
class Watch:
    """Watches over the training of one detector: what the log says of it, and which epoch is kept."""

    candidate: Candidate
    split: TestSplit | None
    selection: Selection
    log: TrainingLog

    @classmethod
    def of(cls, candidate: Candidate, start: Step) -> "Watch":
        """Begin with the start of a training."""
        settings, split = candidate.pupil.settings, candidate.split
        if split is not None:
            split = replace(split, features=start.detector.remember(split.features))
        return cls(candidate, split, _make_selection(settings, split), TrainingLog(settings.training.epochs))

    @property
    def class_name(self) -> str:
        """The class that is learned."""
        return self.candidate.pupil.subject.class_name

    def see(self, step: Step, console: Console, *, named: bool) -> None:
        """Take an epoch; report it where that is due, under the name of its class if there are several."""
        self.selection.offer(step)
        self.log.add(step.loss)
        if self.log.is_due():
            self._look_at(step)
            console.print(f"{self.class_name}, {self.log.report()}" if named else self.log.report())

    def _look_at(self, step: Step) -> None:
        """Note the usage on the test pictures if there are any, else on the support images, and the image AUROC."""
        detector, auroc = step.detector, None
        usage = detector.usage(self.candidate.pupil.support if self.split is None else self.split.features)
        if self.split is not None:
            auroc = image_auroc(detector.score(self.split.features).image.cpu().numpy(), self.split.labels)
        self.log.watch(None if usage is None else usage.mean(0).tolist(), auroc)


def _make_selection(settings: Settings, split: TestSplit | None) -> Selection:
    """Return the selection of the settings: the test split goes into the oracle's alone."""
    if settings.training.select != TEST_ORACLE or split is None:
        return Selection(settings.training)
    return Selection(settings.training, partial(oracle_figure, split=split))
