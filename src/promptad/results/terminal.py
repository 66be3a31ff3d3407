"""The results of runs for the terminal: metrics of images and of pixels, their means, and their spreads over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

from promptad.results.blocks import BlockTable
from promptad.results.columns import IMAGE_COLUMNS, METRIC_TITLES, PIXEL_COLUMNS
from promptad.results.table import KEY_COLUMNS, key_of
from promptad.settings import TEST_ORACLE


def results_tables(rows: Sequence[Mapping[str, str]]) -> list[BlockTable | str]:
    """The metrics of `rows`, as `read_results` returns them, for the terminal: of images, and of pixels if measured.

    Remarks follow them.
    """
    tables = [
        results_table(rows, columns, f"Results of {measured} in %") for measured, columns in measured_columns(rows)
    ]
    return [*tables, *incomplete_remark(rows), *oracle_remark(rows)]


def results_table(rows: Sequence[Mapping[str, str]], columns: Sequence[str], title: str) -> BlockTable:
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


def seeds_tables(rows: Sequence[Mapping[str, str]]) -> list[BlockTable | str]:
    """Mean and standard deviation over seeds of `rows` of one configuration: of images, and of pixels if measured."""
    over = f"in %, mean ± standard deviation over {len({row['seed'] for row in rows})} seeds"
    tables = [
        seeds_table(rows, columns, f"Results of {measured} {over}") for measured, columns in measured_columns(rows)
    ]
    return [*tables, *oracle_remark(rows)]


def seeds_table(rows: Sequence[Mapping[str, str]], columns: Sequence[str], title: str) -> BlockTable:
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


def metrics_table(title: str, first: Sequence[str], columns: Sequence[str]) -> BlockTable:
    """An empty table for the terminal with columns of metrics."""
    heads = [METRIC_TITLES[column].replace(" ", "\n") for column in columns]
    return BlockTable(title, first, heads)


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
