"""Progress bars."""

import io

import pytest
from rich.console import Console

from promptad.utils.progress import add_task, progress_bar


def test_time_left_is_shown_after_the_first_of_long_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    with progress_bar(Console(file=io.StringIO(), force_terminal=True)) as progress:
        clock = iter(range(0, 10_000, 100))  # every reading of the clock is 100 seconds later
        monkeypatch.setattr(progress, "get_time", lambda: float(next(clock)))
        progress.advance(add_task(progress, "all classes", 15))
        (shown,) = progress.tasks
        assert shown.time_remaining is not None


def test_steps_that_were_done_before_make_the_others_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    left = []
    for done in (0, 90):
        with progress_bar(Console(file=io.StringIO(), force_terminal=True)) as progress:
            clock = iter(range(0, 10_000, 100))
            monkeypatch.setattr(progress, "get_time", lambda clock=clock: float(next(clock)))
            progress.advance(add_task(progress, "all classes", 15 + done, done))
            left.append(progress.tasks[0].time_remaining)
    assert left[0] == left[1]
    assert left[0] is not None
