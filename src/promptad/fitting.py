"""Fitting: a detector learns from support images while a log shows how it goes, and one epoch is kept."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from rich.console import Console

from promptad.backbone.clip import Backbone
from promptad.data.geometry import square_picture
from promptad.data.pictures import ImageLike, read_picture
from promptad.data.views import make_views
from promptad.detection import BATCH_SIZE, AnomalyDetector, Subject
from promptad.evaluation import TestSplit, oracle_figure
from promptad.metrics import image_auroc
from promptad.progress import TrainingLog, add_task, progress_bar
from promptad.records import ImageFeatures
from promptad.selection import Selection
from promptad.settings import TEST_ORACLE, Settings
from promptad.systems import Step, learn


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


def fit(
    backbone: Backbone,
    subject: Subject,
    support: ImageFeatures,
    settings: Settings,
    split: TestSplit | None,
    console: Console,
) -> tuple[AnomalyDetector, TestSplit | None]:
    """Train a detector, report on every epoch, and return that of the epoch that the settings choose.

    The test split, where there is one, is for the log alone, and for the test oracle where the settings name it. It
    comes back with its distances to the memory bank, if there is one, which are computed once.

    Raises:
        InputError: the loss leaves the numbers, or the test oracle has no test split.
    """
    steps = learn(backbone, subject, support, settings)
    start = next(steps)
    if split is not None:
        split = replace(split, features=start.detector.remember(split.features))
    selection, log = _make_selection(settings, split), TrainingLog(settings.training.epochs)
    with progress_bar(console) as progress:
        task = add_task(progress, f"train {subject.class_name}", settings.training.epochs)
        for step in chain([start], steps):
            selection.offer(step)
            log.add(step.loss)
            if log.is_due():
                _watch(log, step, support, split)
                console.print(log.report())
            progress.update(task, completed=step.number, note=log.line())
    if settings.training.select != "last":
        console.print(selection.in_words())
    return selection.detector(), split


def _make_selection(settings: Settings, split: TestSplit | None) -> Selection:
    """Return the selection of the settings: the test split goes into the oracle's alone."""
    if settings.training.select != TEST_ORACLE or split is None:
        return Selection(settings.training)
    return Selection(settings.training, partial(oracle_figure, split=split))


def _watch(log: TrainingLog, step: Step, support: ImageFeatures, split: TestSplit | None) -> None:
    """Look at an epoch for the log: usage on the test pictures if there are any, else on the support images."""
    usage = step.detector.usage(support if split is None else split.features)
    auroc = None
    if split is not None:
        auroc = image_auroc(step.detector.score(split.features).image.cpu().numpy(), split.labels)
    log.watch(None if usage is None else usage.mean(0).tolist(), auroc)
