"""Progress bars with the time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

ONE_DAY = 86_400.0  # seconds

ProgressLike: TypeAlias = bool | Callable[[int], Any]  # whether a bar is shown, or what is told how many are done


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """Show progress bars with the time left, on a terminal, or in a notebook that has widgets."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    # Rich forgets steps older than the period: the time left of slow steps needs a long one.
    options: dict[str, Any] = {"transient": True, "disable": not can_show(console), "speed_estimate_period": ONE_DAY}
    with Progress(*columns, console=console, **options) as progress:
        yield progress


def can_show(console: Console) -> bool:
    """Whether a console can show a bar: a terminal, or a notebook that has widgets."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def add_task(progress: Progress, description: str, total: int, done: int = 0) -> TaskID:
    """Add a task of `total` steps, whose time left shows from its first step on.

    Steps that were `done` before took no time now: the time left is by the others alone.
    """
    task = progress.add_task(description, total=total, completed=done, note="")
    progress.advance(task, 0)  # starts the clock of the first step
    return task


@contextmanager
def reported(progress: ProgressLike, description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with how many more of `total` are done: a bar, or the caller's own function, tells it.

    Args:
        progress: True shows a bar on standard error, if that is a terminal, or in a notebook; a function is called with
            how many are done so far.
        description: of the bar.
        total: how many there are.
    """
    if callable(progress):
        yield _adding_up(progress)
    elif progress:
        with progress_bar(Console(stderr=True)) as bar:
            task = add_task(bar, description, total)
            yield lambda more: bar.advance(task, more)
    else:
        yield lambda _: None


def _adding_up(told: Callable[[int], Any]) -> Callable[[int], None]:
    """Return a function that takes how many more are done, and tells how many are done in all."""
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        told(done)

    return advance
