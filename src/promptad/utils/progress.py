"""Progress bars with the time left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

ONE_DAY = 86_400.0  # seconds


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """Show progress bars with the time left, on a terminal only."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    # Rich forgets steps older than the period: the time left of slow steps needs a long one.
    options: dict[str, Any] = {"transient": True, "disable": not console.is_terminal, "speed_estimate_period": ONE_DAY}
    with Progress(*columns, console=console, **options) as progress:
        yield progress


def add_task(progress: Progress, description: str, total: int, done: int = 0) -> TaskID:
    """Add a task of `total` steps, whose time left shows from its first step on.

    Steps that were `done` before took no time now: the time left is by the others alone.
    """
    task = progress.add_task(description, total=total, completed=done, note="")
    progress.advance(task, 0)  # starts the clock of the first step
    return task
