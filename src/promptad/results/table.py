"""The results of runs: one row per class and configuration, in a CSV file that several processes may write at once."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from promptad.errors import InputError
from promptad.results.columns import METRIC_TITLES, METRICS
from promptad.structures import Evaluation
from promptad.utils.files import whole_file, writable_folder
from promptad.utils.json_text import parse_json

KEY_COLUMNS = ("class", "system", "level", "memory", "select")
RUN_COLUMNS = ("dataset", "data", "k", "seed", "n_pro", "n_pro_ab", "epochs", "backbone", "weights", "run")
COUNT_COLUMNS = ("test_images", "seconds")
PROVENANCE_COLUMNS = ("support", "version", "commit", "protocol", "settings", "memory_weights")
RESULT_COLUMNS = (*KEY_COLUMNS, *RUN_COLUMNS, *METRIC_TITLES, *COUNT_COLUMNS, *PROVENANCE_COLUMNS)
FIRST_COLUMNS = {*KEY_COLUMNS, *RUN_COLUMNS, *("i_roc", "i_ap", "i_f1", "p_roc", "p_pro"), *COUNT_COLUMNS}
DISTURBED_COLUMNS = ("disturbance", "strength", "false_alarms", "misses")  # more of the table of disturbed pictures
PERCENT_COLUMNS = (*METRIC_TITLES, "false_alarms", "misses")
WHOLE_COLUMNS = ("k", "seed", "test_images", "strength")
HASH_DIGITS = 12  # of a SHA-256, as saved and shown
MAX_DIGITS = 20  # of a whole number
LOCK_TIMEOUT = 60  # seconds; a row takes milliseconds


def metric_cells(evaluation: Evaluation) -> dict[str, float | None]:
    """The metric columns of a row, in [0, 1]."""
    return {metric.column: getattr(evaluation, metric.field) for metric in METRICS}


def write_result(csv_file: Path, row: Mapping[str, object]) -> None:
    """Put `row` into `csv_file` instead of the row with the same `KEY_COLUMNS`, or at the end.

    Metrics are given in [0, 1] and written in percent with two decimals, seconds with one; cells that are None or not
    given stay empty. Rows that other processes write at the same time are kept.

    Raises:
        InputError: the folder cannot be written to, the file is locked for a minute, or holds something else.
    """
    write_results(csv_file, [row])


def write_results(csv_file: Path, rows: Sequence[Mapping[str, object]], more: Sequence[str] = ()) -> None:
    """Put rows into `csv_file` as `write_result` does: all of one key together replace all that had it.

    The table has `more` columns behind those of results.

    Raises:
        InputError: as of `write_result`.
    """
    columns = (*RESULT_COLUMNS, *more)
    unknown = {column for row in rows for column in row} - set(columns)
    assert not unknown, f"no such columns: {sorted(unknown)}"
    cells = [{column: format_cell(column, row.get(column)) for column in columns} for row in rows]
    with sole_writer(csv_file):
        kept = by_key(read_results(csv_file, more)) | by_key(cells)
        replace_rows(csv_file, [row for own in kept.values() for row in own], columns)


def read_results(csv_file: Path, more: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of `csv_file` in their order, as text; empty if there is no such file yet.

    The table has `more` columns behind those of results. Cells of columns that an older version did not write are
    empty.

    Raises:
        InputError: the file is damaged or has other columns.
    """
    if not csv_file.exists():
        return []
    cure, columns = "move it away, or delete it and run again", (*RESULT_COLUMNS, *more)
    try:
        with csv_file.open(encoding="utf-8", newline="") as lines:
            header, *table = [line for line in csv.reader(lines, strict=True) if line] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{str(csv_file)!r} cannot be read as results ({error}): {cure}") from error
    if len(set(header)) < len(header) or not set(header) >= FIRST_COLUMNS | set(more):
        raise InputError(f"{str(csv_file)!r} does not start with the columns {','.join(columns)}: {cure}")
    if unknown := [column for column in header if column not in columns]:
        raise InputError(
            f"{str(csv_file)!r} has columns that this promptad does not know, {', '.join(unknown)}: install a newer"
            f" one, or {cure}"
        )
    for number, line in enumerate(table, start=2):
        if not is_result(header, line):
            raise InputError(f"{str(csv_file)!r} is damaged in row {number}: mend the row, {cure}")
    return [dict.fromkeys(columns, "") | dict(zip(header, line, strict=True)) for line in table]


@contextmanager
def sole_writer(csv_file: Path) -> Iterator[None]:
    """Hold the lock of `csv_file` against all other processes."""
    # Hidden, and never removed: a writer that waits for a removed lock and one that made it anew would both go ahead.
    # A left-over file does no harm: the operating system releases the lock when its holder ends, in whatever way.
    lock = FileLock(csv_file.with_name(f".{csv_file.name}.lock"))
    with writable_folder(csv_file.parent):
        try:
            lock.acquire(timeout=LOCK_TIMEOUT)
        except Timeout as error:
            raise InputError(
                f"{str(csv_file)!r} has been locked for {LOCK_TIMEOUT} s: end the other process that writes to it"
            ) from error
    try:
        yield
    finally:
        lock.release()


def key_of(row: Mapping[str, str]) -> tuple[str, ...]:
    """The key of a row: its class and its configuration."""
    return tuple(row[column] for column in KEY_COLUMNS)


def by_key(rows: Iterable[dict[str, str]]) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """The rows of each key, in their order."""
    found: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        found.setdefault(key_of(row), []).append(row)
    return found


def format_cell(column: str, value: object) -> str:
    """The text of one cell."""
    if value is None:
        return ""
    if column in PERCENT_COLUMNS:
        assert isinstance(value, float), f"{column} is {value!r}, not a number"
        assert 0 <= value <= 1, f"{column} is {value}, not in [0, 1]"
        return f"{100 * value:.2f}"
    return f"{value:.1f}" if column == "seconds" else str(value)


def replace_rows(csv_file: Path, rows: Iterable[Mapping[str, str]], columns: Sequence[str] = RESULT_COLUMNS) -> None:
    """Write the header and `rows` instead of `csv_file`."""
    with whole_file(csv_file) as temporary, temporary.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def is_result(header: Sequence[str], line: Sequence[str]) -> bool:
    """Whether `line` has a cell for each column, a class, whole numbers, and metrics in percent, or empty."""
    if len(line) != len(header):
        return False
    cells = dict(zip(header, line, strict=True))
    whole = [cells[column] for column in WHOLE_COLUMNS if column in cells]
    measured = [cells[column] for column in PERCENT_COLUMNS if column in cells]
    try:
        if cells.get("settings"):
            parse_json(cells["settings"])
        counted = all(len(cell) < MAX_DIGITS and int(cell or 0) >= 0 for cell in whole)
        timed = 0 <= float(cells["seconds"] or 0) < math.inf
        return bool(cells["class"]) and counted and timed and all(0 <= float(cell or 0) <= 100 for cell in measured)
    except ValueError:
        return False
