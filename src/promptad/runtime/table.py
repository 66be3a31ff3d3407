"""Predictions as a table for spreadsheets, beside the file of their lines."""

import csv
from collections.abc import Iterable
from pathlib import Path

from promptad.runtime.predictions import PredictionRecord
from promptad.utils.files import whole_file

TABLE = "predictions.csv"
COLUMNS = (
    *("path", "decision", "score", "raw", "threshold", "peak", "regions"),
    *("left", "top", "right", "bottom", "reason", "error"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # at the start of a cell, for a spreadsheet


def write_table(records: Iterable[PredictionRecord], file: Path) -> None:
    """Write a row for each record, with the box of the region with the highest maximum.

    Spreadsheets know the encoding by the mark at its start. No path is taken for a formula.

    Raises:
        InputError: the folder cannot be written to.
    """
    with (
        whole_file(file, "output") as temporary,
        temporary.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as written,
    ):
        rows = csv.writer(written)
        rows.writerow(COLUMNS)
        rows.writerows(map(_row, records))


def _row(record: PredictionRecord) -> list[object]:
    path = f"./{record.path}" if record.path.startswith(FORMULA) else record.path
    if record.error:
        return [path, *[""] * (len(COLUMNS) - 2), record.error]
    first = record.regions[0] if record.regions else None
    box = ("",) * 4 if first is None else (first.left, first.top, first.right, first.bottom)
    numbers = record.score, record.raw_score, record.threshold, record.max_score
    rounded = [f"{number:.6g}" for number in numbers if number is not None]
    reason = "" if record.is_good else record.reason
    return [path, record.label, *rounded, len(record.regions), *box, reason, ""]
