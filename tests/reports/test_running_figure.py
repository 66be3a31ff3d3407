"""The figure of a value that runs over the last pictures."""

from promptad.reports.figures import running_figure


def test_a_single_running_value_is_seen() -> None:
    """Of one value there is no line: it is a mark, as each picture's own is, whose values are unknown here."""
    unknown: list[float | None] = [None] * 20
    seen, nothing = (
        running_figure(unknown, [*unknown[1:], last], "share", "share", top=1).count("<use") for last in (0.1, None)
    )
    assert seen > nothing
