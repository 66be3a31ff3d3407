"""The results of a detector on disturbed pictures, beside those on clean ones: a table on disk and one to look at."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from promptad.data.corruptions import Corruption
from promptad.results.columns import METRIC_TITLES
from promptad.results.table import DISTURBED_COLUMNS, read_results, write_results

CLEAN = "none"  # the disturbance of the first row
SHOWN = {name: METRIC_TITLES[name] for name in ("i_roc", "p_pro")} | {
    "false_alarms": "false alarms",
    "misses": "misses",
}

Row = Mapping[str, Any]  # cells as `write_results` takes them


def cells_of(corruption: Corruption | None) -> dict[str, Any]:
    """Return the cells of a row that name its disturbance."""
    name, strength = (CLEAN, 0) if corruption is None else (corruption.name, corruption.strength)
    return {"disturbance": name, "strength": strength}


def write_disturbances(csv_file: Path, rows: Sequence[Row]) -> None:
    """Put the rows of one detector into a table instead of those of the same class and configuration.

    Raises:
        InputError: as of `write_result`.
    """
    write_results(csv_file, rows, DISTURBED_COLUMNS)


def read_disturbances(csv_file: Path) -> list[dict[str, str]]:
    """Return the rows of a table, as text.

    Raises:
        InputError: as of `read_results`.
    """
    return read_results(csv_file, DISTURBED_COLUMNS)


def disturbances_table(rows: Sequence[Row]) -> Table:
    """Return the rows of one detector, the first of clean pictures, for the terminal: with what each value changed."""
    clean, *disturbed = rows
    title = f"{clean['class']}: disturbed pictures, in % (change)"
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("disturbance", no_wrap=True)
    table.add_column("level")
    for title in SHOWN.values():
        table.add_column(title, justify="right", no_wrap=True)
    table.add_row(CLEAN, "", *(with_change(clean[column]) for column in SHOWN), end_section=True)
    for row in disturbed:
        corruption = Corruption(row["disturbance"], row["strength"])
        cells = (with_change(row[column], clean[column]) for column in SHOWN)
        last = row is disturbed[-1] or row["strength"] == 3
        table.add_row(f"{corruption.name} {corruption.strength}", corruption.words, *cells, end_section=last)
    table.caption = "False alarms and misses at its own threshold." if clean["misses"] is not None else ""
    return table


def curves(rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """Return by title, where all rows have a value, and by disturbance the values in %, from clean to strongest."""
    clean, *disturbed = rows
    names = dict.fromkeys(row["disturbance"] for row in disturbed)
    return {
        title: {
            name: [100 * row[column] for row in (clean, *(own for own in disturbed if own["disturbance"] == name))]
            for name in names
        }
        for column, title in SHOWN.items()
        if all(row[column] is not None for row in rows)
    }


def with_change(value: float | None, clean: float | None = None) -> str:
    """Return the text in % of a value in [0, 1], and of what it changed from that of clean pictures, if there is one.

    >>> with_change(0.94), with_change(0.9, 0.95), with_change(0.8999, 0.9), with_change(None)
    ('94.0', '90.0 (-5.0)', '90.0 (+0.0)', '-')
    """
    if value is None:
        return "-"
    if clean is None:
        return f"{100 * value:.1f}"
    change = round(100 * (value - clean), 1) + 0.0  # never -0.0
    return f"{100 * value:.1f} ({change:+.1f})"
