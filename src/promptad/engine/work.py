"""Work: trainings one after another, in this process or in others, which are sent plain data."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import StringIO
from typing import Protocol

from rich.console import Console
from rich.text import Text

from promptad.engine.context import ContextSettings, Job, RunContext
from promptad.engine.runs import try_class
from promptad.settings import BackboneSettings

Told = Callable[[Sequence[str]], None]  # takes the names of the trainings that run now


@dataclass(frozen=True)
class Task:
    """A training to be done."""

    job: Job
    name: str
    heading: str = ""  # above what it prints


@dataclass(frozen=True)
class Outcome:
    """A training that was done, or failed."""

    task: Task
    reason: str = ""  # why it failed
    seconds: float = 0.0  # that another process worked on it
    printed: str = ""  # by another process, with a terminal's codes for colours

    def show(self, console: Console) -> None:
        """Print what another process printed."""
        if self.printed:
            console.print(Text.from_ansi(self.printed.rstrip("\n")), soft_wrap=True)


class Workers(Protocol):
    """Who trains."""

    def run(self, tasks: Sequence[Task], told: Told) -> Iterator[Outcome]:
        """Yield the outcome of each task as it comes; a task that fails does not stop the others."""

    def remark(self) -> str:
        """Return what is to be said of how it went, or an empty text."""


@dataclass(frozen=True)
class ThisProcess:
    """Trains here, one task after another, and prints as it goes."""

    contexts: Mapping[BackboneSettings, RunContext]

    def run(self, tasks: Sequence[Task], told: Told) -> Iterator[Outcome]:
        """Yield the outcome of each task in turn."""
        for task in tasks:
            told([task.name])
            yield run_task(task, self.contexts[task.job.settings.backbone])

    def remark(self) -> str:
        """Return nothing: there is no other way to do it that would be faster."""
        return ""


def run_task(task: Task, context: RunContext) -> Outcome:
    """Train and evaluate one class, and return how that went."""
    if task.heading:
        context.console.rule(task.heading)
    return Outcome(task, try_class(task.job, context))


@dataclass(frozen=True)
class Message:
    """What another process is sent with a task."""

    settings: ContextSettings
    make_console: Callable[..., Console]  # of a file: what is printed in the other process


def run_message(task: Task, message: Message) -> Outcome:
    """Train in the process that is sent a task; a backbone is loaded once in each."""
    printed = StringIO()
    context = _context_of(message.settings, task.job.settings.backbone)
    # A core's own time, for processes that are side by side slow each other down.
    clock = time.process_time if message.settings.device == "cpu" else time.monotonic
    started = clock()
    outcome = run_task(task, replace(context, console=message.make_console(file=printed)))
    return replace(outcome, seconds=clock() - started, printed=printed.getvalue())


@cache
def _context_of(settings: ContextSettings, backbone: BackboneSettings) -> RunContext:
    return settings.load(backbone, Console(quiet=True))


def brief(names: Sequence[str]) -> str:
    """Return names in a few words.

    >>> brief(["carpet", "grid", "screw"])
    'carpet and 2 more'
    """
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs by backbone, class and all that the features of test images depend on, in the order of the first.

    Those that look at the same features follow each other, so that these are encoded, or read, once.
    """
    places: dict[tuple[object, ...], int] = {}
    for job in jobs:
        for place in (features_of(job)[:1], features_of(job)[:2], features_of(job)):
            places.setdefault(place, len(places))
    return sorted(jobs, key=lambda job: [places[features_of(job)[:count]] for count in (1, 2, None)])


def features_of(job: Job) -> tuple[object, ...]:
    """Return all that the features of a job's test images depend on."""
    settings = job.settings
    read = settings.picture, settings.bit_depth, settings.scoring.resolution, settings.scoring.memory
    return settings.backbone, job.class_name, *read


class Turns:
    """Tasks that several workers take in turn: each goes on with the features that it has, as long as there are some.

    After them it takes those that nobody has begun, and at the end some of what another one has most of.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.waiting: dict[tuple[object, ...], list[Task]] = {}
        for task in tasks:
            self.waiting.setdefault(features_of(task.job), []).append(task)
        self.begun: set[tuple[object, ...]] = set()

    def next(self, last: Task | None) -> Task | None:
        """Return the next task of a worker whose last one it names; None if there are no more."""
        own = None if last is None else features_of(last.job)
        left = [key for key, tasks in self.waiting.items() if tasks]
        if not left:
            return None
        new = [key for key in left if key not in self.begun]
        key = own if own in left else new[0] if new else max(left, key=lambda key: len(self.waiting[key]))
        self.begun.add(key)
        return self.waiting[key].pop(0)

    def put_back(self, task: Task) -> None:
        """Have a task taken again, before the others that look at the same."""
        self.waiting[features_of(task.job)].insert(0, task)


class Effort:
    """The seconds of all trainings, against those of the wall clock: what other processes cost and gain."""

    def __init__(self) -> None:
        self.started, self.of_trainings, self.count = time.monotonic(), 0.0, 0

    def add(self, outcome: Outcome) -> None:
        """Count a training."""
        self.of_trainings += outcome.seconds
        self.count += 1

    def remark(self, means: str) -> str:
        """Return that one process would have been faster, where it would; `means` are what to leave out for that."""
        passed = time.monotonic() - self.started
        if not self.count or passed <= self.of_trainings:
            return ""
        return (
            f"the trainings took {self.of_trainings:.0f} s of work, and with the start of their processes"
            f" {passed:.0f} s: so few short ones are faster without {means}"
        )
