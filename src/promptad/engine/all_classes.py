"""All classes of a data set, with one seed or several: trained one after another, side by side, or by workers."""

from collections.abc import Sequence

from rich.console import Console

from promptad.engine.context import Job, RunContext
from promptad.engine.finished import is_finished
from promptad.engine.runs import name_of, print_seeds, rows_of, train_together
from promptad.engine.work import Task, ThisProcess, Workers, brief
from promptad.errors import InputError
from promptad.results.terminal import results_tables
from promptad.utils.progress import add_task, progress_bar


def train_all(
    jobs: Sequence[Job], context: RunContext, workers: Workers | None = None, *, together: bool = False
) -> None:
    """Run many jobs, except those that are finished, and print the table of all.

    With `together` all are trained side by side, with the features of all their images in memory; if that fails, one
    by one. A class that fails while it is trained or evaluated does not stop the others.

    Args:
        jobs: those of a class one after another.
        context: what they run with in this process.
        workers: who trains them; None is this process.
        together: whether to train all side by side in this process.

    Raises:
        InputError: some classes failed; raised after all others are done, with the reasons.
    """
    failures, console = [], context.console
    workers = workers or ThisProcess({context.backbone.settings: context})
    pending = [job for job in jobs if not _was_finished(job, jobs, context)]
    with progress_bar(console) as progress:
        bar = add_task(progress, "all classes", len(jobs), len(jobs) - len(pending))
        if together and len(pending) > 1:
            pending = _left_of_together(pending, context)
            progress.update(bar, completed=len(jobs) - len(pending))
        for outcome in workers.run(_tasks_of(pending, jobs), lambda names: progress.update(bar, note=brief(names))):
            outcome.show(console)
            if outcome.reason:
                failures.append(f"{outcome.task.name}: {outcome.reason}")
                console.print(f"{outcome.task.name} failed: {outcome.reason}", style="red", soft_wrap=True)
            progress.advance(bar)
    _print_tables(jobs, console)
    if remark := workers.remark():
        console.print(remark, soft_wrap=True)
    if unmeasured := dict.fromkeys(job.class_name for job in jobs if not job.dataset.can_be_evaluated):
        console.print(f"without test pictures, good and defective ones, and so not measured: {', '.join(unmeasured)}")
    if failures:
        raise InputError(f"{len(failures)} of {len(jobs)} classes failed; " + "; ".join(failures))


def _tasks_of(pending: Sequence[Job], jobs: Sequence[Job]) -> list[Task]:
    """Return the tasks of pending jobs, told by their places among all."""
    places = {id(job): number for number, job in enumerate(jobs, 1)}
    names = [name_of(job, jobs) for job in pending]
    return [
        Task(job, name, f"{name} ({places[id(job)]} of {len(jobs)})") for job, name in zip(pending, names, strict=True)
    ]


def _was_finished(job: Job, jobs: Sequence[Job], context: RunContext) -> bool:
    """Return whether a job is finished already, and print it if so."""
    if not is_finished(job, context.backbone):
        return False
    context.console.print(f"{name_of(job, jobs)}: finished before, left as it is")
    return True


def _left_of_together(jobs: Sequence[Job], context: RunContext) -> list[Job]:
    """Train jobs side by side; if joint training failed, return the jobs that are not finished."""
    try:
        train_together(jobs, context)
    except InputError as error:
        context.console.print(f"{error}; going on one by one", style="red", soft_wrap=True)
        return [job for job in jobs if not is_finished(job, context.backbone)]
    return []


def _print_tables(jobs: Sequence[Job], console: Console) -> None:
    """Print the table of one seed, with all configurations in it, or the table of several seeds."""
    names = {job.class_name for job in jobs}
    by_seed = {job.settings.training.seed: job for job in jobs}
    if len(by_seed) > 1:
        print_seeds(jobs[0].settings, [job.results for job in by_seed.values()], names, console)
        return
    (job,) = by_seed.values()
    if rows := rows_of(job.results, names):
        console.print(*results_tables(sorted(rows, key=lambda row: row["class"])))
