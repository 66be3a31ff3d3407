"""The files of a sweep: tables and figures, and those of a search's trials."""

from pathlib import Path

from promptad.reports.sweep.figure import draw_sweep
from promptad.reports.sweep.lines import SweepTable
from promptad.reports.sweep.tables import write_csv, write_json, write_markdown
from promptad.reports.sweep.trials import FIGURE, write_trials_table
from promptad.reports.sweep.trials_figure import draw_trials
from promptad.results.search import Search


def write_files(table: SweepTable, folder: Path) -> None:
    """Write sweep.csv, .json, .md and .png into a folder."""
    draw_sweep(table, folder / "sweep.png")
    write_csv(table, folder / "sweep.csv")
    write_json(table, folder / "sweep.json")
    write_markdown(table, "sweep.png", folder / "sweep.md")


def write_trials(search: Search, folder: Path) -> None:
    """Write trials.csv and .png into a folder."""
    draw_trials(search, folder / FIGURE)
    write_trials_table(search, folder / "trials.csv")
