"""Progress bars."""

import io

import pytest
from rich.console import Console

from promptad.utils import progress
from promptad.utils.progress import add_task, can_show, progress_bar


def test_time_left_is_shown_after_the_first_of_long_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    with progress_bar(Console(file=io.StringIO(), force_terminal=True)) as bars:
        clock = iter(range(0, 10_000, 100))  # every reading of the clock is 100 seconds later
        monkeypatch.setattr(bars, "get_time", lambda: float(next(clock)))
        bars.advance(add_task(bars, "all classes", 15))
        (shown,) = bars.tasks
        assert shown.time_remaining is not None


def test_steps_that_were_done_before_make_the_others_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    left = []
    for done in (0, 90):
        with progress_bar(Console(file=io.StringIO(), force_terminal=True)) as bars:
            clock = iter(range(0, 10_000, 100))
            monkeypatch.setattr(bars, "get_time", lambda clock=clock: float(next(clock)))
            bars.advance(add_task(bars, "all classes", 15 + done, done))
            left.append(bars.tasks[0].time_remaining)
    assert left[0] == left[1]
    assert left[0] is not None


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_shows_them_where_it_has_widgets(widgets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda _: object() if widgets else None)
    assert can_show(Console(force_jupyter=True)) is widgets
    assert not can_show(Console(file=io.StringIO()))
    assert can_show(Console(file=io.StringIO(), force_terminal=True))
