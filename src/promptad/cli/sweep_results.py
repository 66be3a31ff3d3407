"""The end of a sweep: its numbers, compared, written and printed."""

import sys
from collections.abc import Sequence

from rich.console import Console

from promptad.cli.given import Arguments
from promptad.engine.sweep import SweepSetting
from promptad.errors import InputError
from promptad.reports.sweep.files import write_files
from promptad.reports.sweep.lines import make_table
from promptad.reports.sweep.tables import as_json, print_sweep
from promptad.results.search import Search


def show_results(
    settings: Sequence[SweepSetting],
    failures: Sequence[str],
    given: Arguments,
    console: Console,
    search: Search | None = None,
) -> None:
    """Compare all settings with the first, write the files, and print the tables, or JSON.

    Raises:
        InputError: trainings failed; raised after all is written, unless there is nothing to compare with.
    """
    count = sum(len(setting.jobs) for setting in settings)
    failed = InputError(f"{len(failures)} of {count} trainings failed; " + "; ".join(failures))
    measured = [setting.measured() for setting in settings]
    if failures and not measured[0].rows:  # nothing to compare with
        raise failed
    table = make_table(measured, given["dataset"], search)
    folder = given["output"] or given["root_dir"]
    write_files(table, folder)
    names = "sweep.md, .csv, .json and .png" + (", trials.csv and .png" if search else "")
    console.print(f"written: {names} in {folder}", soft_wrap=True)
    if given["json"]:
        sys.stdout.write(as_json(table))
    else:
        print_sweep(table, console)
    if failures:
        raise failed
