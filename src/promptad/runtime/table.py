"""Predictions as a table for spreadsheets, beside the file of their lines."""

import csv
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from promptad.runtime.records import PredictionRecord
from promptad.utils.files import whole_file

TABLE = "predictions.csv"
COLUMNS = (
    *("path", "decision", "score", "raw", "threshold", "peak", "regions"),
    *("left", "top", "right", "bottom", "reason", "distance", "error"),
)
PART_COLUMNS = ("part", "sureness", "how_sure")  # before them, of many parts
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # at the start of a cell, for a spreadsheet


def write_table(records: Iterable[PredictionRecord], file: Path) -> None:
    """Write a row for each record, with the box of the region with the highest maximum.

    Spreadsheets know the encoding by the mark at its start. No path is taken for a formula.

    Raises:
        InputError: the folder cannot be written to.
    """
    _write(chain([COLUMNS], map(_row, records)), file)


def write_parts_table(parts: Iterable[tuple[str, Iterable[PredictionRecord]]], file: Path) -> None:
    """Write a row for each record of each part, behind the part's name.

    Raises:
        InputError: the folder cannot be written to.
    """
    rows = ([*_part_cells(name, record), *_row(record)] for name, records in parts for record in records)
    _write(chain([(*PART_COLUMNS, *COLUMNS)], rows), file)


def _write(rows: Iterable[Sequence[object]], file: Path) -> None:
    with (
        whole_file(file, "output") as temporary,
        temporary.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as written,
    ):
        csv.writer(written).writerows(rows)


def _part_cells(name: str, record: PredictionRecord) -> list[object]:
    match = record.match
    part = f"'{name}" if name.startswith(FORMULA) else name
    return [part, "", ""] if match is None else [part, f"{match.sureness:.3g}", match.words]


def _row(record: PredictionRecord) -> list[object]:
    path = f"./{record.path}" if record.path.startswith(FORMULA) else record.path
    if record.error:
        return [path, *[""] * (len(COLUMNS) - 2), record.error]
    first = record.regions[0] if record.regions else None
    box = ("",) * 4 if first is None else (first.left, first.top, first.right, first.bottom)
    numbers = record.score, record.raw_score, record.threshold, record.max_score
    rounded = [f"{number:.6g}" for number in numbers if number is not None]
    reason = "" if record.is_good else record.reason
    distance = "" if record.distance is None else f"{record.distance:.6g}"
    return [path, record.label, *rounded, len(record.regions), *box, reason, distance, ""]
