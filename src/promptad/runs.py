"""Runs: one class, or many, with one seed or several, trained and measured into result folders."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptad.checkpoints import read_checkpoint
from promptad.detection import AnomalyDetector, Subject
from promptad.errors import InputError
from promptad.evaluation import TestSplit, files_sha256
from promptad.fitting import Candidate, encode_support, fit, support_sha256
from promptad.measuring import HASH_DIGITS, Run, is_measurable, measure, run_id, save_diagnostics, way_of
from promptad.progress import add_task, progress_bar
from promptad.records import ClassPictures
from promptad.results import read_results, results_table, seeds_table
from promptad.systems import Pupil


@dataclass(frozen=True)
class Job:
    """One class to be trained in one run."""

    run: Run
    pictures: ClassPictures
    support_images: Sequence[Path]


def train_class(job: Job) -> None:
    """Train, save and measure the detector of one class."""
    started = time.monotonic()
    candidate = prepare(job)
    ((detector, split),) = fit(job.run.backbone, [candidate], job.run.console)
    finish(job, candidate, detector, split, started)


def train_together(jobs: Sequence[Job]) -> None:
    """Train the detectors of several jobs side by side, then save and measure each.

    Raises:
        InputError: one of them cannot be prepared or trained.
    """
    started = time.monotonic()
    candidates = []
    for job in jobs:
        job.run.console.print(f"{_name_of(job, jobs)}: ", end="")
        candidates.append(prepare(job))
    fitted = fit(jobs[0].run.backbone, candidates, jobs[0].run.console)
    shared = (time.monotonic() - started) / len(jobs)  # what one of them took
    for job, candidate, (detector, split) in zip(jobs, candidates, fitted, strict=True):
        job.run.console.rule(_name_of(job, jobs))
        finish(job, candidate, detector, split, time.monotonic() - shared)


def prepare(job: Job) -> Candidate:
    """Encode all pictures of a job.

    Test pictures are encoded before training only so that a log can follow it: what learns cannot see them.
    """
    run, pictures = job.run, job.pictures
    names = tuple(path.name for path in job.support_images)
    run.console.print(
        f"learning from {len(names)} of {len(pictures.normal)} pictures: {', '.join(names)}", soft_wrap=True
    )
    support = encode_support(run.backbone, job.support_images, run.settings, run.batch_size)
    split = run.splits.read(run, pictures)
    subject = Subject(pictures.dataset, pictures.class_name, names, support_sha256(job.support_images))
    return Candidate(Pupil(subject, support, run.settings), split)


def finish(job: Job, candidate: Candidate, detector: AnomalyDetector, split: TestSplit | None, started: float) -> None:
    """Save and measure a detector."""
    run, checkpoint = job.run, job.run.results.checkpoint(job.pictures.class_name)
    detector.save(checkpoint)
    run.console.print(f"checkpoint: {checkpoint}", soft_wrap=True)
    if split is None:
        run.console.print("no test split with good and defective pictures: nothing to measure on")
        save_diagnostics(run, detector, candidate.pupil.support)
    else:
        measure(run, detector, split, started)


def test_class(run: Run, detector: AnomalyDetector, pictures: ClassPictures) -> None:
    """Measure the trained detector of one class again.

    Raises:
        InputError: the class has no test split with good and defective pictures.
    """
    started = time.monotonic()
    run.results.check_writable()
    split = run.splits.read(run, pictures)
    if split is None:
        raise InputError(f"class {pictures.class_name!r} has no test split with good and defective pictures to test on")
    measure(run, detector, split, started)


def train_one(jobs: Sequence[Job]) -> None:
    """Train and measure one class, with each of its seeds, and tell mean and deviation of several."""
    for job in jobs:
        if len(jobs) > 1:
            job.run.console.rule(_name_of(job, jobs))
        train_class(job)
    if len(jobs) > 1:
        print_seeds([job.run for job in jobs], {job.pictures.class_name for job in jobs})


def train_all(jobs: Sequence[Job], *, together: bool = False) -> None:
    """Do many jobs, leaving out those that are finished, and print the table of all.

    With `together` all are trained side by side, with the features of all their pictures in memory; where that cannot
    be, one by one. A class that fails while it is trained or measured does not stop the others.

    Raises:
        InputError: what was wrong with such classes, after all others are done.
    """
    failures, console = [], jobs[0].run.console
    pending = [job for job in jobs if not _was_finished(job, jobs)]
    with progress_bar(console) as progress:
        task = add_task(progress, "all classes", len(jobs))
        progress.update(task, completed=len(jobs) - len(pending))
        if together and len(pending) > 1:
            pending = _left_of_together(pending)
            progress.update(task, completed=len(jobs) - len(pending))
        for job in pending:
            name = _name_of(job, jobs)
            progress.update(task, note=name)
            console.rule(f"{name} ({jobs.index(job) + 1} of {len(jobs)})")
            try:
                train_class(job)
            except InputError as error:
                failures.append(f"{name}: {error}")
                console.print(f"{name} failed: {error}", style="red", soft_wrap=True)
            progress.advance(task)
    _print_tables(jobs)
    if unmeasured := dict.fromkeys(job.pictures.class_name for job in jobs if not is_measurable(job.pictures)):
        console.print(f"without test pictures, good and defective ones, and so not measured: {', '.join(unmeasured)}")
    if failures:
        raise InputError(f"{len(failures)} of {len(jobs)} classes failed; " + "; ".join(failures))


def _was_finished(job: Job, jobs: Sequence[Job]) -> bool:
    """Return whether there is nothing left to do for a job, and say so."""
    if not is_finished(job):
        return False
    job.run.console.print(f"{_name_of(job, jobs)}: finished before, left as it is")
    return True


def _left_of_together(jobs: Sequence[Job]) -> list[Job]:
    """Train jobs side by side, and return those that are still to be done where one stood in the way of the others."""
    try:
        train_together(jobs)
    except InputError as error:
        jobs[0].run.console.print(f"{error}; going on one by one", style="red", soft_wrap=True)
        return [job for job in jobs if not is_finished(job)]
    return []


def is_finished(job: Job) -> bool:
    """Return whether a class has been trained and measured with just these settings, support and test pictures."""
    run, pictures = job.run, job.pictures
    try:
        checkpoint = read_checkpoint(run.results.checkpoint(pictures.class_name), run.settings.system)
    except InputError:
        return False
    if "settings" not in checkpoint:
        return False
    trained = run_id(checkpoint["settings"], checkpoint["support_sha256"])
    wanted = run_id(run.settings, support_sha256(job.support_images))
    if trained != wanted or checkpoint["weights_sha256"] != run.backbone.weights_sha256:
        return False
    if not is_measurable(pictures):
        return True
    rows = [row for row in read_results(run.results.csv) if (row["class"], row["run"]) == (pictures.class_name, wanted)]
    return bool(rows) and rows[0]["data"] == files_sha256(pictures.test)[:HASH_DIGITS]


def print_seeds(runs: Sequence[Run], names: set[str]) -> None:
    """Print mean and standard deviation over the seeds of these runs, which differ in nothing else."""
    way = way_of(runs[0].settings).items()
    rows = [
        row for run in runs for row in read_results(run.results.csv) if row["class"] in names and way <= row.items()
    ]
    if rows:
        runs[0].console.print(seeds_table(sorted(rows, key=lambda row: row["class"])))


def _print_tables(jobs: Sequence[Job]) -> None:
    """Print the table of one seed, with whatever other ways of working it holds, or that of several seeds."""
    names = {job.pictures.class_name for job in jobs}
    runs = {job.run.settings.training.seed: job.run for job in jobs}
    if len(runs) > 1:
        print_seeds(list(runs.values()), names)
        return
    (run,) = runs.values()
    rows = sorted((r for r in read_results(run.results.csv) if r["class"] in names), key=lambda row: row["class"])
    if rows:
        run.console.print(results_table(rows))


def _name_of(job: Job, jobs: Sequence[Job]) -> str:
    """Return what a user calls a job: its class, and its seed where there are several."""
    seed = job.run.settings.training.seed
    several = len({other.run.settings.training.seed for other in jobs}) > 1
    return f"{job.pictures.class_name}, seed {seed}" if several else job.pictures.class_name
