"""Disturbed test pictures on the page of a run, where they were measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from promptad.errors import InputError
from promptad.reports.comparison.rows import MEMORY, SavedRow
from promptad.results.disturbances import CLEAN, Row, read_disturbances, typed_rows
from promptad.results.table import key_of


@dataclass(frozen=True)
class Disturbed:
    """One detector on disturbed test pictures."""

    seed: int
    rows: tuple[Row, ...]  # the first of clean pictures


def read_disturbed(rows: Sequence[SavedRow]) -> Disturbed | None:
    """Return what is saved of the first seed of a class's results that was measured on disturbed pictures, if any was.

    Raises:
        InputError: the table is damaged, or of another training of the same class.
    """
    for row in sorted(rows, key=lambda row: row.seed):
        if found := _saved(row):
            return Disturbed(row.seed, found)
    return None


def _saved(row: SavedRow) -> tuple[Row, ...]:
    memory = "yes" if row.system.endswith(MEMORY) else "no"
    key = row.class_name, row.folder.system, row.level, memory, row.select
    own = [cells for cells in read_disturbances(row.folder.disturbances) if key_of(cells) == key]
    if not own:
        return ()
    if any(cells["run"] != row.run for cells in own) or own[0]["disturbance"] != CLEAN:
        raise InputError(
            f"{row.folder.disturbances.name} is of another training: measure again, with promptad test --disturb"
        )
    return tuple(typed_rows(own))
