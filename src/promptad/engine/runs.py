"""Runs: train and evaluate one class, or several side by side, with one seed or several, into result folders."""

import time
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from promptad.data.fingerprints import support_sha256
from promptad.data.images import image_size
from promptad.data.reading import region_of, tiles_of
from promptad.engine.context import Job, RunContext
from promptad.engine.evaluate import (
    RunRecord,
    configuration_of,
    diagnostics_of,
    draw_predictions,
    evaluate_detector,
    save_diagnostics,
    save_record,
    show_diagnostics,
    show_record,
)
from promptad.engine.fit import fit
from promptad.errors import InputError, in_words
from promptad.evaluation.evaluator import TestSplit
from promptad.features import ImageFeatures
from promptad.models.base import AnomalyDetector, Subject, TrainTask
from promptad.models.support import encode_support
from promptad.results.paths import ResultFolder
from promptad.results.table import read_results
from promptad.results.terminal import seeds_tables
from promptad.settings import Settings
from promptad.structures import ClassDataset
from promptad.utils.progress import add_task, progress_bar

LEAST_SIDE = 32  # pixels of what is looked at, without a word
MAX_ASPECT = 4 / 3  # of images that are squeezed to a square without a word


def train_class(job: Job, context: RunContext) -> None:
    """Train, save and evaluate the detector of one class."""
    started = time.monotonic()
    task, split = _prepare(job, context)
    ((detector, split),) = fit(context.backbone, [task], [split], context.console)
    _finish(job, context, task, detector, split, started)


def try_class(job: Job, context: RunContext) -> str:
    """Train a class as `train_class` does; return why it failed, or an empty text."""
    try:
        train_class(job, context)
    except (InputError, OSError) as error:
        return in_words(error) if isinstance(error, OSError) else str(error)
    return ""


def train_together(jobs: Sequence[Job], context: RunContext) -> None:
    """Train the detectors of several jobs side by side, then save and evaluate each.

    Raises:
        InputError: one of them cannot be prepared or trained.
    """
    started = time.monotonic()
    prepared = []
    for job in jobs:
        context.console.print(f"{name_of(job, jobs)}: ", end="")
        prepared.append(_prepare(job, context))
    tasks, splits = [task for task, _ in prepared], [split for _, split in prepared]
    fitted = fit(context.backbone, tasks, splits, context.console)
    shared = (time.monotonic() - started) / len(jobs)  # seconds per job
    for job, task, (detector, split) in zip(jobs, tasks, fitted, strict=True):
        context.console.rule(name_of(job, jobs))
        _finish(job, context, task, detector, split, time.monotonic() - shared)


def _prepare(job: Job, context: RunContext) -> tuple[TrainTask, TestSplit | None]:
    """Encode all images of a job.

    Test images are encoded before training only for its log: the training has no access to them.
    """
    names = tuple(path.name for path in job.support_images)
    context.console.print(
        f"learning from {len(names)} of {len(job.dataset.normal)} pictures: {', '.join(names)}", soft_wrap=True
    )
    if job.settings.bit_depth is not None:
        context.console.print(
            f"16-bit pictures are read as of {job.settings.bit_depth} bits, white being"
            f" {2**job.settings.bit_depth - 1}; another camera is told by `bit_depth`",
            soft_wrap=True,
        )
    support = encode_support(context.backbone, job.support_images, job.settings, context.batch_size, context.masks)
    if note := _note_on_shape(job):
        context.console.print(note, soft_wrap=True)
    split = context.read_test_split(job.dataset, job.settings)
    subject = Subject(
        job.dataset.dataset, job.class_name, names, support_sha256(job.support_images, job.settings.bit_depth)
    )
    return TrainTask(subject, support, job.settings), split


def _note_on_shape(job: Job) -> str:
    """Return a line on how pictures are cut into tiles, or on what is lost as they are not; mostly nothing."""
    tiles, region = tiles_of(job.settings.picture), region_of(job.settings.picture)
    width, height = image_size(job.support_images[0]) if region is None else region.boxed.shape[::-1]
    left, top, right, bottom = tiles.boxes(width, height)[0]
    across, down = right - left, bottom - top
    if min(across, down) < LEAST_SIDE:
        return f"only {across} x {down} pixels are looked at together, in which little can be seen: take a larger part"
    if tiles.count > 1:
        return f"cut into {tiles.rows} x {tiles.columns} tiles of {across} x {down} pixels"
    if max(across, down) > MAX_ASPECT * min(across, down):
        return (
            f"pictures of {across} x {down} pixels are squeezed to a square, in which small defects can be lost: cut"
            " them into pieces, with `tiles` auto"
        )
    return ""


def _finish(
    job: Job,
    context: RunContext,
    task: TrainTask,
    detector: AnomalyDetector,
    split: TestSplit | None,
    started: float,
) -> None:
    """Save and evaluate a detector."""
    checkpoint = job.results.checkpoint(job.class_name)
    detector.save(checkpoint)
    context.console.print(f"checkpoint: {checkpoint}", soft_wrap=True)
    if split is None:
        context.console.print("no test split with good and defective pictures: nothing to measure on")
        _diagnose(detector, task.support.views, job.results, context)
    else:
        _evaluate(detector, split, job.results, context, started)


def _evaluate(
    detector: AnomalyDetector, split: TestSplit, results: ResultFolder, context: RunContext, started: float
) -> RunRecord:
    """Evaluate a detector; save, draw, print and return the results. The row of results is written last."""
    record = evaluate_detector(detector, split)
    _diagnose(detector, split.features, results, context)
    if context.draw_predictions:
        folder = results.images(detector.class_name)
        with progress_bar(context.console) as progress:
            bar = add_task(progress, f"draw {detector.class_name}", len(split.images))
            draw_predictions(record, folder, lambda count: progress.advance(bar, count))
        context.console.print(f"pictures: {folder}", soft_wrap=True)
    seconds = time.monotonic() - started
    save_record(record, results, seconds)
    show_record(record, context.console)
    return record


def _diagnose(detector: AnomalyDetector, features: ImageFeatures, results: ResultFolder, context: RunContext) -> None:
    """Diagnose the prototypes of a detector, if requested and if it has any; save and print the diagnostics."""
    if not context.save_diagnostics:
        return
    diagnostics = diagnostics_of(detector, features)
    if diagnostics is not None:
        for verdict in diagnostics["verdicts"]:
            verdict["advice"] = context.format_advice(verdict["advice"])
        save_diagnostics(detector, diagnostics, results)
    show_diagnostics(diagnostics, results.diagnostics(detector.class_name), context.console)


def evaluate_class(
    detector: AnomalyDetector, dataset: ClassDataset, results: ResultFolder, context: RunContext
) -> RunRecord:
    """Evaluate the trained detector of one class again; save, draw, print and return the results.

    Raises:
        InputError: the class has no test split with normal and anomalous images.
    """
    started = time.monotonic()
    results.check_writable()
    split = context.read_test_split(dataset, detector.settings)
    if split is None:
        raise InputError(f"class {dataset.class_name!r} has no test split with good and defective pictures to test on")
    known = replace(split, features=detector.add_memory_distances(split.features))
    return _evaluate(detector, known, results, context, started)


def train_one(jobs: Sequence[Job], context: RunContext) -> None:
    """Train and evaluate one class with each of its seeds; print mean and standard deviation if there are several."""
    for job in jobs:
        if len(jobs) > 1:
            context.console.rule(name_of(job, jobs))
        train_class(job, context)
    if len(jobs) > 1:
        print_seeds(jobs[0].settings, [job.results for job in jobs], {jobs[0].class_name}, context.console)


def print_seeds(settings: Settings, results: Sequence[ResultFolder], names: set[str], console: Console) -> None:
    """Print mean and standard deviation over seeds, with a folder each, of settings that differ in nothing else."""
    configuration = configuration_of(settings).items()
    rows = [row for folder in results for row in rows_of(folder, names) if configuration <= row.items()]
    if rows:
        console.print(*seeds_tables(sorted(rows, key=lambda row: row["class"])))


def rows_of(folder: ResultFolder, names: set[str]) -> list[dict[str, str]]:
    """Return the saved rows of some classes."""
    return [row for row in read_results(folder.csv) if row["class"] in names]


def name_of(job: Job, jobs: Sequence[Job]) -> str:
    """Return the displayed name of a job: its class, and its seed if there are several."""
    seed = job.settings.training.seed
    several = len({other.settings.training.seed for other in jobs}) > 1
    return f"{job.class_name}, seed {seed}" if several else job.class_name
