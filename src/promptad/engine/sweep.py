"""A sweep: train and measure many settings of the same classes and seeds, each into result folders of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from promptad.engine.context import Job, RunContext
from promptad.engine.finished import is_finished, measured_row
from promptad.engine.work import Task, ThisProcess, Workers, brief, in_order
from promptad.results.columns import METRIC_TITLES
from promptad.results.sweep import MeasuredSetting, in_words
from promptad.settings import BackboneSettings
from promptad.utils.progress import add_task, progress_bar

SHOWN = ("i_roc", "p_pro")  # metrics of a training that is done


@dataclass(frozen=True)
class SweepSetting:
    """One setting of a sweep."""

    values: Mapping[str, str]  # in words, by the names of the settings that vary
    folder: str  # of its results, below the sweep's
    jobs: tuple[Job, ...]  # one for each class and seed

    def measured(self) -> MeasuredSetting:
        """Return it with the rows of those jobs that were measured."""
        rows = [row for job in self.jobs if (row := measured_row(job)) is not None]
        return MeasuredSetting(self.values, self.folder, tuple(rows))


def run_settings(
    settings: Sequence[SweepSetting],
    contexts: Mapping[BackboneSettings, RunContext],
    console: Console,
    workers: Workers | None = None,
) -> list[str]:
    """Run the jobs of all settings, except those that are finished, with one progress bar.

    Args:
        settings: of the sweep.
        contexts: what jobs run with in this process.
        console: what is told of each training.
        workers: who trains; None is this process.

    Returns:
        Of each job that failed its name and why; it does not stop the others.
    """
    failures, names = [], {id(job): _name_of(setting, job) for setting in settings for job in setting.jobs}
    workers = workers or ThisProcess(contexts)
    jobs = in_order([job for setting in settings for job in setting.jobs])
    pending = [job for job in jobs if not is_finished(job, contexts[job.settings.backbone].backbone)]
    if done := len(jobs) - len(pending):
        console.print(f"{done} of {len(jobs)} trainings were finished before, and are left as they are")
    with progress_bar(console) as progress:
        bar = add_task(progress, "sweep", len(jobs), done)
        tasks = [Task(job, names[id(job)]) for job in pending]
        coming = workers.run(tasks, lambda running: progress.update(bar, note=brief(running)))
        for number, outcome in enumerate(coming, done + 1):
            name, reason = outcome.task.name, outcome.reason
            if reason:
                failures.append(f"{name}: {reason}")
            told = f"failed: {reason}" if reason else _result_of(outcome.task.job)
            style = "red" if reason else None
            console.print(f"{number} of {len(jobs)}: {name}: {told}", style=style, soft_wrap=True)
            progress.advance(bar)
    if remark := workers.remark():
        console.print(remark, soft_wrap=True)
    return failures


def _name_of(setting: SweepSetting, job: Job) -> str:
    return f"{job.class_name}, seed {job.settings.training.seed}, {in_words(setting.values)}"


def _result_of(job: Job) -> str:
    row = measured_row(job) or {}
    cells = [f"{METRIC_TITLES[metric]} {row[metric]} %" for metric in SHOWN if row.get(metric)]
    return ", ".join(cells)
