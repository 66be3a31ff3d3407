"""Pictures as rows of Parquet files, which hold their names and the bytes of their files; the extra is `ray`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptad.data.search import FoundImages
from promptad.errors import InputError, in_one_line
from promptad.integrations.object_stores import MOST, is_stored, open_store, pyarrow_module
from promptad.integrations.picked import NONE, Predicted, refuse_masks
from promptad.runtime.predict import Predictor, predict_stored

COLUMNS = ("path", "bytes")
ROWS = 64  # of a Parquet file that are in memory beside the pictures of a shard


@dataclass(frozen=True)
class StoredBytes:
    """A picture whose bytes are here."""

    name: str  # of the file that they were read from
    own: bytes | None = field(repr=False)

    def content(self) -> bytes:
        """Return the bytes of its file."""
        if self.own is None:
            raise InputError(f"cannot open picture {self.name}: its row has no bytes")
        return self.own


@dataclass(frozen=True)
class RowGroup:
    """The rows of a Parquet file that are stored together."""

    file: str  # a path, or an address in an object store
    number: int  # among those of the file, from 0
    rows: int


@dataclass(frozen=True)
class ParquetPictures:
    """Pictures as rows of Parquet files: their names, and the bytes of their files."""

    groups: tuple[RowGroup, ...]
    names: tuple[str, ...]
    left_out: FoundImages = NONE
    kind: str = "Parquet"

    def pick(self, start: int, stop: int) -> "PickedRows":
        """Return the rows from the number `start` up to `stop`."""
        parts, before = [], 0
        for group in self.groups:
            first, last = max(start - before, 0), min(stop - before, group.rows)
            if first < last:
                parts.append((group, first, last))
            before += group.rows
        return PickedRows(tuple(parts))


@dataclass(frozen=True)
class PickedRows:
    """A range of rows: groups, each with its first row and the one behind its last."""

    parts: tuple[tuple[RowGroup, int, int], ...]

    def predicted(self, predictor: Predictor, batch_size: int, masks: Path | None) -> Predicted:
        """Yield the record of each picture with its map."""
        refuse_masks(masks)
        images = [image for part in self.parts for image in _rows(*part)]
        return predict_stored(predictor, images, batch_size)


def read_tables(files: Sequence[str]) -> ParquetPictures:
    """Return the pictures of Parquet files, of which the names alone are read.

    Raises:
        InputError: one is none, lacks a column or does not answer, or all are empty.
    """
    groups: list[RowGroup] = []
    names: list[str] = []
    for file in files:
        table = _opened_table(file)
        groups += [
            RowGroup(file, number, table.metadata.row_group(number).num_rows)
            for number in range(table.metadata.num_row_groups)
        ]
        with _readable(file):
            names += map(str, table.read(columns=["path"]).column("path").to_pylist())
    if not names:
        raise InputError(f"{files[0]} has no rows: name a Parquet file that holds pictures")
    return ParquetPictures(tuple(groups), tuple(names))


def _opened_table(file: str) -> Any:
    """Open a Parquet file of pictures.

    Raises:
        InputError: it is none, or lacks a column.
    """
    filesystem, path = open_store(file) if is_stored(file) else (None, file)
    with _readable(file):
        table = pyarrow_module("parquet").ParquetFile(path, filesystem=filesystem)
    names = table.schema_arrow.names
    if missing := [column for column in COLUMNS if column not in names]:
        raise InputError(
            f"{file} has no column {missing[0]!r} but {', '.join(names)}: it needs `path` and `bytes`, as"
            " ray.data.read_binary_files makes them with include_paths"
        )
    return table


@contextmanager
def _readable(file: str) -> Iterator[None]:
    """Put what fails while a Parquet file is read into words.

    Raises:
        InputError: it did.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of each store its own
        raise InputError(f"{file} cannot be read as a Parquet file: {in_one_line(error, MOST)}") from error


def _rows(group: RowGroup, first: int, last: int) -> list[StoredBytes]:
    """Return the pictures of some rows of a group.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    found: list[StoredBytes] = []
    before = 0
    table = _opened_table(group.file)
    with _readable(group.file):
        for batch in table.iter_batches(ROWS, row_groups=[group.number], columns=list(COLUMNS)):
            part = batch.slice(max(first - before, 0), max(0, last - max(before, first)))
            before += len(batch)
            found += map(StoredBytes, map(str, part.column("path").to_pylist()), part.column("bytes").to_pylist())
            if before >= last:
                break
    return found
