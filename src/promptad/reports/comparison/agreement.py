"""The rows of a comparison, checked to agree in what must be equal."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from promptad.errors import InputError
from promptad.reports.comparison.rows import (
    Choice,
    SavedRow,
    choose_rows,
    listed,
    no_results,
    read_rows,
    result_folders,
    used_levels,
)
from promptad.settings import TEST_ORACLE

MAX_NAMED = 3  # values in an error


def comparable_rows(choice: Choice) -> tuple[SavedRow, ...]:
    """Return the saved rows of both systems.

    Raises:
        InputError: there are none, or they differ in what must agree.
    """
    if choice.is_alone:
        raise InputError(f"`baseline` and `ours` are both {choice.ours}: name two systems")
    return saved_rows(choice)


def saved_rows(choice: Choice) -> tuple[SavedRow, ...]:
    """Return the saved rows of the systems of a choice, which may be one.

    Raises:
        InputError: there are none, or they differ in what must agree.
    """
    rows = [row for folder in result_folders(choice) for row in read_rows(folder)]
    if not rows:
        raise no_results(choice)
    rows = used_levels(choose_rows(rows, choice), choice)
    check_duplicates(rows)
    check_test_labels(rows, choice)
    check_mixtures(rows)
    return tuple(rows)


def check_duplicates(rows: Sequence[SavedRow]) -> None:
    """Check that no two rows have the same name, which may happen with two result folders."""
    named: dict[tuple[Any, ...], list[SavedRow]] = defaultdict(list)
    for row in rows:
        named[row.class_name, row.system, row.level, row.select, row.k, row.seed].append(row)
    for duplicates in named.values():
        if len(duplicates) > 1:
            places = " and ".join(str(row.root) for row in duplicates)
            raise InputError(f"{duplicates[0]} is in {places}: name one of them by `root_dir`")


def check_test_labels(rows: Sequence[SavedRow], choice: Choice) -> None:
    """Check that test labels chose no epoch, unless such rows are selected explicitly."""
    oracles = [row for row in rows if row.select == TEST_ORACLE]
    if oracles and choice.select is None:
        honest = next((row.select for row in rows if row.select != TEST_ORACLE), None)
        cure = f"`select` {honest} picks the honest rows" if honest else f"`select` {TEST_ORACLE} shows them as such"
        raise InputError(f"test labels chose the epoch of {oracles[0]} ({TEST_ORACLE}): {cure}")


def check_mixtures(rows: Sequence[SavedRow]) -> None:
    """Check that the rows of one column have the same protocol and test images."""
    check_mixture("kept epochs", rows, "select", "select")
    check_mixture("backbones", rows, "backbone")
    check_mixture("weights", rows, "weights")
    for column in sorted({(row.system, row.level) for row in rows}):
        alike = [row for row in rows if (row.system, row.level) == column]
        check_mixture(f"settings (n_pro, n_pro_ab, epochs) of {column[0]}", alike, "settings")
        check_configurations(column[0], [row for row in alike if row.configuration])
    for name in sorted({row.class_name for row in rows}):
        alike = [row for row in rows if row.class_name == name]
        check_mixture(f"test pictures of {name}", alike, "data")
        check_mixture(f"maps of {name}", [row for row in alike if row.protocol], "protocol")
        check_mixture(f"regions or tiles of {name}", [row for row in alike if row.picture], "picture")


def check_configurations(system: str, rows: Sequence[SavedRow]) -> None:
    """Check that the rows of a system agree in all settings; those of an older version did not write them."""
    for path in dict.fromkeys(path for row in rows for path in row.configuration):
        check_mixture(f"`{path}` of {system}", rows, partial(_setting_of, path))


def _setting_of(path: str, row: SavedRow) -> str:
    return row.configuration.get(path, "none")


def check_mixture(
    what: str, rows: Sequence[SavedRow], column: str | Callable[[SavedRow], Any], setting: str = ""
) -> None:
    """Check that rows agree in `column`, or in what it returns; `setting` picks one of its values, if one does.

    Raises:
        InputError: what differs, where, and how to pick rows that agree.
    """
    groups: dict[Any, list[SavedRow]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, column) if isinstance(column, str) else column(row)].append(row)
    if len(groups) < 2:
        return
    found = [f"{_words(value)} ({group[0]})" for value, group in groups.items()]
    more = ", …" if len(found) > MAX_NAMED else ""
    most = max(groups, key=lambda value: (len({row.system for row in groups[value]}), len(groups[value])))
    cure = f"`{setting}` {most} picks one" if setting else picking_setting(groups[most], rows)
    raise InputError(f"different {what}: {', '.join(found[:MAX_NAMED])}{more}: {cure}")


def picking_setting(wanted: Sequence[SavedRow], rows: Sequence[SavedRow]) -> str:
    """Name the setting that separates the wanted rows from the others, or what to do if none does."""
    others = [row for row in rows if row not in wanted]
    for setting, column in (
        ("k_shot", "k"),
        ("seeds", "seed"),
        ("root_dir", "root"),
        ("classes", "class_name"),
    ):
        values = {getattr(row, column) for row in wanted}
        if values.isdisjoint(getattr(row, column) for row in others):
            return f"`{setting}` {listed(values, ',')} picks one"
    return "train and measure them again in the same way"


def _words(value: object) -> str:
    return f"({', '.join(value)})" if isinstance(value, tuple) else str(value)
