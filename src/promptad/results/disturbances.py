"""The results of a detector on disturbed pictures, beside those on clean ones: a table on disk and one to look at."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptad.data.corruptions import Corruption
from promptad.results.blocks import BlockTable
from promptad.results.columns import METRIC_TITLES
from promptad.results.table import DISTURBED_COLUMNS, read_results, write_results
from promptad.utils.numbers import signed

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


def typed_rows(rows: Sequence[Mapping[str, str]]) -> list[Row]:
    """Return rows as they were before they were written: shares in [0, 1], or None, and the strength as a number."""
    return [
        {
            **row,
            "strength": int(row["strength"]),
            **{column: float(row[column]) / 100 if row[column] else None for column in SHOWN},
        }
        for row in rows
    ]


def disturbances_table(rows: Sequence[Row]) -> BlockTable:
    """Return the rows of one detector, the first of clean pictures, for the terminal: with what each value changed."""
    clean, *lines = table_lines(rows)
    title = f"{rows[0]['class']}: disturbed pictures, in % (change)"
    caption = "False alarms and misses at its own threshold." if rows[0]["misses"] is not None else ""
    table = BlockTable(title, ("disturbance", "level"), list(SHOWN.values()), gap=2, caption=caption)
    table.add_row(*clean)
    table.add_section()
    for row, line in zip(rows[1:], lines, strict=True):
        table.add_row(*line)
        if row["strength"] == 3:
            table.add_section()
    return table


def table_lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the rows of one detector as a table's lines: disturbance, level and each of `SHOWN`, with its change."""
    clean, *disturbed = rows
    lines = [(CLEAN, "", *(with_change(clean[column]) for column in SHOWN))]
    for row in disturbed:
        corruption = Corruption(row["disturbance"], row["strength"])
        cells = (with_change(row[column], clean[column]) for column in SHOWN)
        lines.append((f"{corruption.name} {corruption.strength}", corruption.words, *cells))
    return lines


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

    >>> with_change(0.94), with_change(0.95, 0.9), with_change(0.8999, 0.9), with_change(None)
    ('94.0', '95.0 (+5.0)', '90.0 (0.0)', '-')
    """
    if value is None:
        return "-"
    if clean is None:
        return f"{100 * value:.1f}"
    return f"{100 * value:.1f} ({signed(100 * (value - clean))})"
