"""A search: settings that are proposed one after another, trained, and measured on the classes that may choose."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean
from typing import Any

from rich.console import Console

from promptad.engine.context import RunContext
from promptad.engine.finished import is_finished
from promptad.engine.proposals import Proposals
from promptad.engine.sweep import SweepSetting, run_settings
from promptad.errors import InputError
from promptad.results.search import Objective, Trial
from promptad.settings import BackboneSettings
from promptad.utils.progress import add_task, progress_bar

Contexts = Mapping[BackboneSettings, RunContext]


@dataclass(frozen=True)
class Planned:
    """A trial before it is trained."""

    trial: Trial
    setting: SweepSetting  # without jobs if it cannot be trained: the trial says why


Plan = Callable[[int, Mapping[str, Any]], Planned]  # from the number of a trial and its values


def run_trials(
    proposals: Proposals, plan: Plan, count: int, objective: Objective, contexts: Contexts, console: Console
) -> list[Trial]:
    """Train and measure `count` proposed settings, except what is finished, with one progress bar.

    Finished trials are told to the proposals anew, from their rows: these are then as if nothing had come between.

    Raises:
        InputError: a training fails, or does not measure the objective; what is finished is kept.
    """
    trials: list[Trial] = []
    plans = _plans(proposals, plan, count, trials)
    pending: list[Planned] = []
    for planned in plans:
        if not _is_done(planned, contexts):
            pending.append(planned)
            break
        trials.append(_measured(planned, objective))
    if done := sum(trial.objective is not None for trial in trials):
        console.print(f"{done} of {count} trials were finished before, and are left as they are")
    with progress_bar(console) as progress:
        bar = add_task(progress, "search", count, len(trials))
        for planned in chain(pending, plans):
            progress.update(bar, note=f"trial {planned.trial.number}: {planned.trial.name}")
            _train(planned, contexts)
            trials.append(_measured(planned, objective))
            console.print(_told(trials[-1], count, objective), soft_wrap=True)
            progress.advance(bar)
    return trials


def _plans(proposals: Proposals, plan: Plan, count: int, trials: Sequence[Trial]) -> Iterator[Planned]:
    """Yield trials to run, each by all before it, which whoever runs them puts into `trials`."""
    for number in range(1, count + 1):
        yield plan(number, proposals.ask())
        proposals.tell(trials[-1].objective)


def _is_done(planned: Planned, contexts: Contexts) -> bool:
    return all(is_finished(job, contexts[job.settings.backbone].backbone) for job in planned.setting.jobs)


def _train(planned: Planned, contexts: Contexts) -> None:
    """Train what is not finished of a trial; a failure ends the search, whose later proposals would hang on it."""
    silent = Console(quiet=True, force_terminal=False)
    if failures := run_settings([planned.setting], contexts, silent):
        raise InputError(
            f"trial {planned.trial.number} failed; {'; '.join(failures)}; what was finished is kept, and the search"
            " goes on from there when it is started again"
        )


def _measured(planned: Planned, objective: Objective) -> Trial:
    """Return a trial with its objective and seconds, from the rows of its trainings alone."""
    if planned.trial.failure:
        return planned.trial
    rows = planned.setting.measured().rows
    if lacking := [row["class"] for row in rows if not row[objective.column]]:
        raise InputError(
            f"`objective` {objective.column}: not measured of {', '.join(dict.fromkeys(lacking))}, which have no masks;"
            " take i_roc"
        )
    mean = fmean(float(row[objective.column]) for row in rows)
    return replace(planned.trial, objective=round(mean, 4), seconds=sum(float(row["seconds"] or 0) for row in rows))


def _told(trial: Trial, count: int, objective: Objective) -> str:
    start = f"trial {trial.number} of {count}: {trial.name}: "
    if trial.objective is None:
        return f"{start}left out: {trial.failure}"
    return f"{start}{objective.metric.title} {trial.objective:.2f} % on {', '.join(objective.classes)}"
