"""The trials of a search for readers: who chose, and tables for the terminal, CSV, Markdown and JSON."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from promptad.reports.comparison.tables import escaped, table_row, write_text
from promptad.results.blocks import BlockTable
from promptad.results.search import CHOSEN_BY_REPORTED, Search, Trial

FIGURE = "trials.png"
CHOSEN, FIRST, FAILED = "chosen", "the first", "not trained"


def warning(search: Search) -> str:
    """What stands before a title where reported labels chose; else nothing."""
    return f"{CHOSEN_BY_REPORTED}: " if search.objective.is_of_reported else ""


def outcome(search: Search) -> str:
    """What a search came to."""
    if search.chosen is search.first:
        return f"none of {len(search.trials)} trials was above the first setting"
    return f"the first setting, and the choice of {len(search.trials)} trials"


def choice(search: Search) -> str:
    """Who chose, and what that means for the numbers."""
    chosen = f"Trial {search.chosen.number} ({search.chosen.name}) of {len(search.trials)} is {search.objective.choice}"
    if search.objective.is_of_reported:
        return f"{chosen} ({search.objective.words}): for other pictures its numbers promise nothing."
    return f"{chosen}: the labels of this table had no say."


def trials_title(search: Search) -> str:
    """What the trials are measured by."""
    return f"{warning(search)}{len(search.trials)} trials: {search.objective.words}"


def trials_explanation(search: Search) -> str:
    """What an objective is, and what it is not."""
    apart = "what the choice is worth is measured on other classes, which have no say here."
    if search.objective.is_of_reported:
        apart = f"{CHOSEN_BY_REPORTED}."
    return (
        f"Of many trials the best is so by luck, too: {apart} Trial 1 is the first setting, which the choice is"
        f" compared with. Search seed {search.search_seed}."
    )


def terminal_table(search: Search) -> RenderableType:
    """A table of all trials."""
    table = BlockTable(trials_title(search), ["trial", *search.first.values], _heads(search), least=5)
    for trial in search.trials:
        number, seconds, verdict = _cells(search, trial)
        style = "bold" if trial is search.chosen else ""
        table.add_row(str(trial.number), *trial.values.values(), number, seconds, Text(verdict, style))
    return table


def write_trials_table(search: Search, file: Path) -> None:
    """Write a row for each trial as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    column = search.objective.column
    writer.writerow(["trial", *search.first.values, column, "seconds", "verdict", "choice", "folder", "failure"])
    for trial in search.trials:
        number = "" if trial.objective is None else f"{trial.objective:.4f}"
        told = [number, f"{trial.seconds:.1f}", _verdict(search, trial), search.objective.choice]
        writer.writerow([trial.number, *trial.values.values(), *told, trial.folder, trial.failure])
    write_text(file, text.getvalue())


def as_plain(search: Search) -> dict[str, Any]:
    """Return a search as plain data."""
    objective = search.objective
    return {
        "choice": objective.choice,
        "objective": objective.column,
        "tuned_on": objective.classes,
        "seeds": objective.seeds,
        "test_oracle": objective.is_of_reported,
        "looked_through": search.looked_through,
        "search_seed": search.search_seed,
        "chosen": search.chosen.number,
        "trials": [
            {
                "trial": trial.number,
                "values": trial.values,
                "objective": trial.objective,
                "seconds": round(trial.seconds, 1),
                "folder": trial.folder,
                "failure": trial.failure,
            }
            for trial in search.trials
        ],
    }


def markdown(search: Search) -> list[str]:
    """Return the lines of the trials' section: what was looked through, the figure, and all trials."""
    ranges = "; ".join(f"{name} {words}" for name, words in search.looked_through.items())
    names = list(search.first.values)
    heads = ["trial", *names, *_heads(search)]
    lines = [f"## {escaped(trials_title(search))}", "", f"Looked through: {escaped(ranges)}.", ""]
    lines += [escaped(trials_explanation(search)), "", f"![the objective of each trial]({FIGURE})", ""]
    lines += [table_row(heads), table_row(["---:", *["---"] * len(names), "---:", "---:", "---"])]
    for trial in search.trials:
        mark = "**" if trial is search.chosen else ""
        number, seconds, verdict = _cells(search, trial)
        told = f"{mark}{verdict}{mark}" if verdict else ""
        lines.append(table_row([str(trial.number), *map(escaped, trial.values.values()), number, seconds, told]))
    failures = [f"- trial {trial.number}: {escaped(trial.failure)}" for trial in search.trials if trial.failure]
    return [*lines, "", *failures, *[""] * bool(failures)]


def _heads(search: Search) -> Sequence[str]:
    return f"{search.objective.metric.title} in %", "seconds", ""


def _cells(search: Search, trial: Trial) -> tuple[str, str, str]:
    """Return objective, seconds and verdict of a trial."""
    number = "-" if trial.objective is None else f"{trial.objective:.2f}"
    return number, f"{trial.seconds:.1f}", _verdict(search, trial)


def _verdict(search: Search, trial: Trial) -> str:
    told = {CHOSEN: trial is search.chosen, FIRST: trial is search.first, FAILED: trial.objective is None}
    return ", ".join(words for words, is_so in told.items() if is_so)
