"""The results of runs: one row per class and configuration, in a CSV file that several processes may write at once."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev

from filelock import FileLock, Timeout
from rich import box
from rich.table import Table

from promptad.errors import InputError
from promptad.results.columns import IMAGE_COLUMNS, METRIC_TITLES, METRICS, PIXEL_COLUMNS
from promptad.settings import TEST_ORACLE
from promptad.structures import Evaluation
from promptad.utils.files import whole_file, writable_folder

KEY_COLUMNS = ("class", "system", "level", "memory", "select")
RUN_COLUMNS = ("dataset", "data", "k", "seed", "n_pro", "n_pro_ab", "epochs", "backbone", "weights", "run")
COUNT_COLUMNS = ("test_images", "seconds")
PROVENANCE_COLUMNS = ("support", "version", "commit", "protocol", "settings")
RESULT_COLUMNS = (*KEY_COLUMNS, *RUN_COLUMNS, *METRIC_TITLES, *COUNT_COLUMNS, *PROVENANCE_COLUMNS)
FIRST_COLUMNS = {*KEY_COLUMNS, *RUN_COLUMNS, *("i_roc", "i_ap", "i_f1", "p_roc", "p_pro"), *COUNT_COLUMNS}
WHOLE_COLUMNS = ("k", "seed", "test_images")
MAX_DIGITS = 20  # of a whole number
CLASS_WIDTH = 10  # letters; "toothbrush"
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
    unknown = set(row) - set(RESULT_COLUMNS)
    assert not unknown, f"no such columns: {sorted(unknown)}"
    cells = {column: format_cell(column, row.get(column)) for column in RESULT_COLUMNS}
    with sole_writer(csv_file):
        rows = {key_of(known): known for known in read_results(csv_file)}
        rows[key_of(cells)] = cells
        replace_rows(csv_file, rows.values())


def read_results(csv_file: Path) -> list[dict[str, str]]:
    """The rows of `csv_file` in their order, as text; empty if there is no such file yet.

    Cells of columns that an older version did not write are empty.

    Raises:
        InputError: the file is damaged or has other columns.
    """
    if not csv_file.exists():
        return []
    cure = "move it away, or delete it and run again"
    try:
        with csv_file.open(encoding="utf-8", newline="") as lines:
            header, *table = [line for line in csv.reader(lines, strict=True) if line] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{str(csv_file)!r} cannot be read as results ({error}): {cure}") from error
    if len(set(header)) < len(header) or not set(header) >= FIRST_COLUMNS:
        raise InputError(f"{str(csv_file)!r} does not start with the columns {','.join(RESULT_COLUMNS)}: {cure}")
    if unknown := [column for column in header if column not in RESULT_COLUMNS]:
        raise InputError(
            f"{str(csv_file)!r} has columns that this promptad does not know, {', '.join(unknown)}: install a newer"
            f" one, or {cure}"
        )
    for number, line in enumerate(table, start=2):
        if not is_result(header, line):
            raise InputError(f"{str(csv_file)!r} is damaged in row {number}: mend the row, {cure}")
    return [dict.fromkeys(RESULT_COLUMNS, "") | dict(zip(header, line, strict=True)) for line in table]


def results_tables(rows: Sequence[Mapping[str, str]]) -> list[Table | str]:
    """The metrics of `rows`, as `read_results` returns them, for the terminal: of images, and of pixels if measured.

    Remarks follow them.
    """
    tables = [
        results_table(rows, columns, f"Results of {measured} in %") for measured, columns in measured_columns(rows)
    ]
    return [*tables, *incomplete_remark(rows), *oracle_remark(rows)]


def results_table(rows: Sequence[Mapping[str, str]], columns: Sequence[str], title: str) -> Table:
    """Some metrics of `rows`; each configuration ends in its mean row.

    Of the columns of a configuration (system, level, memory, select), only those that differ among the rows are shown.
    A class that lacks a metric is left out of the mean of that metric.
    """
    shown = [column for column in KEY_COLUMNS[1:] if len({row[column] for row in rows}) > 1]
    table = metrics_table(title, ("class", *shown), columns)
    for configuration in dict.fromkeys(key_of(row)[1:] for row in rows):
        own = [row for row in rows if key_of(row)[1:] == configuration]
        named = [own[0][column] for column in shown]
        for row in own:
            table.add_row(row["class"], *named, *(row[column] or "-" for column in columns))
        table.add_section()
        table.add_row(f"mean of {len(own)}", *named, *(mean_cell(own, column) for column in columns), style="bold")
        table.add_section()
    return table


def seeds_tables(rows: Sequence[Mapping[str, str]]) -> list[Table | str]:
    """Mean and standard deviation over seeds of `rows` of one configuration: of images, and of pixels if measured."""
    over = f"in %, mean ± standard deviation over {len({row['seed'] for row in rows})} seeds"
    tables = [
        seeds_table(rows, columns, f"Results of {measured} {over}") for measured, columns in measured_columns(rows)
    ]
    return [*tables, *oracle_remark(rows)]


def seeds_table(rows: Sequence[Mapping[str, str]], columns: Sequence[str], title: str) -> Table:
    """Mean and standard deviation over seeds of some metrics.

    The last row is of the means over classes, one for each seed. Standard deviations are of a sample (n - 1).
    """
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    table = metrics_table(title, ("class",), columns)
    classes = list(dict.fromkeys(row["class"] for row in rows))
    for name in classes:
        own = [row for row in rows if row["class"] == name]
        values = ([float(row[column]) for row in own if row[column]] for column in columns)
        table.add_row(name, *map(spread_cell, values))
    if len(classes) > 1:
        table.add_section()
        by_seed = [[row for row in rows if row["seed"] == seed] for seed in seeds]
        means = ([mean for own in by_seed if (mean := mean_of(own, column)) is not None] for column in columns)
        table.add_row(f"mean of {len(classes)}", *map(spread_cell, means), style="bold")
    return table


def measured_columns(rows: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The metrics of images, then those of pixels, that some of the rows have; of images at least the usual ones."""
    for measured, columns, least in (("images", IMAGE_COLUMNS, IMAGE_COLUMNS[:3]), ("pixels", PIXEL_COLUMNS, ())):
        if found := tuple(column for column in columns if any(row[column] for row in rows)) or least:
            yield measured, found


def metrics_table(title: str, first: Sequence[str], columns: Sequence[str]) -> Table:
    """An empty table for the terminal with columns of metrics."""
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for name in first:
        table.add_column(name, overflow="fold", min_width=CLASS_WIDTH if name == first[0] else None)
    for column in columns:
        table.add_column(METRIC_TITLES[column], justify="right", overflow="fold")
    return table


def incomplete_remark(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """A line on means where classes of a configuration differ in what was measured, if any do."""
    for configuration in {key_of(row)[1:] for row in rows}:
        own = [row for row in rows if key_of(row)[1:] == configuration]
        if any(0 < sum(bool(row[column]) for row in own) < len(own) for column in METRIC_TITLES):
            return ["A mean is over the classes that have the metric."]
    return []


def oracle_remark(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """A line that warns of results whose epoch was chosen by test labels, if there are any."""
    chosen = any(row["select"] == TEST_ORACLE for row in rows)
    return ["WARNING: test-oracle results chose their epoch BY TEST LABELS."] if chosen else []


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


def format_cell(column: str, value: object) -> str:
    """The text of one cell."""
    if value is None:
        return ""
    if column in METRIC_TITLES:
        assert isinstance(value, float), f"{column} is {value!r}, not a number"
        assert 0 <= value <= 1, f"{column} is {value}, not in [0, 1]"
        return f"{100 * value:.2f}"
    return f"{value:.1f}" if column == "seconds" else str(value)


def replace_rows(csv_file: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write the header and `rows` instead of `csv_file`."""
    with whole_file(csv_file) as temporary, temporary.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, RESULT_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def is_result(header: Sequence[str], line: Sequence[str]) -> bool:
    """Whether `line` has a cell for each column, a class, whole numbers, and metrics in percent, or empty."""
    if len(line) != len(header):
        return False
    cells = dict(zip(header, line, strict=True))
    measured = [cells[column] for column in METRIC_TITLES if column in cells]
    try:
        whole = all(len(cells[column]) < MAX_DIGITS and int(cells[column] or 0) >= 0 for column in WHOLE_COLUMNS)
        return bool(cells["class"]) and whole and all(0 <= float(cell or 0) <= 100 for cell in measured)
    except ValueError:
        return False


def mean_cell(rows: Sequence[Mapping[str, str]], metric: str) -> str:
    """The text of the mean of `metric` over the rows that have it."""
    mean = mean_of(rows, metric)
    return "-" if mean is None else f"{mean:.2f}"


def mean_of(rows: Sequence[Mapping[str, str]], metric: str) -> float | None:
    """The mean of `metric` over the rows that have it; None if there is none."""
    values = [float(row[metric]) for row in rows if row[metric]]
    return fmean(values) if values else None


def spread_cell(values: Sequence[float]) -> str:
    """The text of a mean and a sample standard deviation; the latter is left out for a single value."""
    if not values:
        return "-"
    return f"{fmean(values):.1f}±{stdev(values):.1f}" if len(values) > 1 else f"{fmean(values):.1f}"
