"""Very many pictures, named as files, as places in object stores, or as Parquet files of their bytes.

Each kind can hand a range of itself to another machine, which reads the pictures by itself. Its extra is `ray`.
"""

import glob
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeAlias

import numpy as np

from promptad.data.images import IMAGE_SUFFIXES
from promptad.data.search import FoundImages, find_images
from promptad.errors import InputError, not_installed
from promptad.runtime.predict import Predictor, predict, predict_stored
from promptad.runtime.records import PredictionRecord

Predicted: TypeAlias = Iterator[tuple[PredictionRecord, np.ndarray | None]]

PARQUET = ".parquet"
COLUMNS = ("path", "bytes")
NONE = FoundImages(())
ROWS = 64  # of a Parquet file that are in memory beside the pictures of a shard
STORE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")  # how a place in an object store begins; a drive has one letter


class Picked(Protocol):
    """A range of pictures, as plain data that can be sent to another machine."""

    def predicted(self, predictor: Predictor, batch_size: int, masks: Path | None) -> Predicted:
        """Yield the record of each picture, in their order, with its anomaly map."""


class Pictures(Protocol):
    """All pictures that are to be judged."""

    @property
    def kind(self) -> str:
        """What they are, in a word."""

    @property
    def names(self) -> Sequence[str]:
        """What their records call them, in order."""

    @property
    def left_out(self) -> FoundImages:
        """The files beside them that are not judged."""

    def pick(self, start: int, stop: int) -> Picked:
        """Return those from the number `start` up to `stop`, which is exclusive."""


@dataclass(frozen=True)
class FilePictures:
    """Pictures in files that all machines see under the same names."""

    found: FoundImages  # relative names are of the working directory, which all share
    kind: str = "files"

    @cached_property
    def names(self) -> Sequence[str]:
        """Their paths."""
        return tuple(map(str, self.found.images))

    @property
    def left_out(self) -> FoundImages:
        """The files beside them that are not judged."""
        return self.found

    def pick(self, start: int, stop: int) -> "PickedFiles":
        """Return those from the number `start` up to `stop`."""
        return PickedFiles(self.found.images[start:stop])


@dataclass(frozen=True)
class PickedFiles:
    """A range of pictures in files."""

    paths: tuple[Path, ...]

    def predicted(self, predictor: Predictor, batch_size: int, masks: Path | None) -> Predicted:
        """Yield the record of each picture with its map."""
        return predict(predictor, self.paths, batch_size, masks)


@dataclass(frozen=True)
class StorePictures:
    """Pictures in object stores, by their whole addresses, such as s3://bucket/a.png."""

    names: tuple[str, ...]
    left_out: FoundImages = NONE
    kind: str = "object store"

    def pick(self, start: int, stop: int) -> "PickedAddresses":
        """Return those from the number `start` up to `stop`."""
        return PickedAddresses(self.names[start:stop])


@dataclass(frozen=True)
class PickedAddresses:
    """A range of pictures in object stores."""

    addresses: tuple[str, ...]

    def predicted(self, predictor: Predictor, batch_size: int, masks: Path | None) -> Predicted:
        """Yield the record of each picture with its map."""
        _refuse_masks(masks)
        return predict_stored(predictor, [StoredFile(address) for address in self.addresses], batch_size)


@dataclass(frozen=True)
class StoredFile:
    """A picture in an object store."""

    name: str  # its address

    def content(self) -> bytes:
        """Return the bytes of its file."""
        filesystem, path = open_store(self.name)
        try:
            with filesystem.open_input_file(path) as file:
                return bytes(file.read())
        except Exception as error:  # of each store its own
            raise InputError(f"cannot open picture {self.name}: {_reason(error)}") from error


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
        _refuse_masks(masks)
        images = [image for part in self.parts for image in _rows(*part)]
        return predict_stored(predictor, images, batch_size)


def find_pictures(named: Sequence[str], besides: Path | None = None) -> Pictures:
    """Find the pictures that a user names, all of one kind.

    Args:
        named: files, folders with all below them or patterns; Parquet files, or folders of them alone, with the
            columns `path` and `bytes`; or addresses of object stores, of either.
        besides: a folder in which none is looked for.

    Raises:
        InputError: there are none, they are of several kinds, a Parquet file is none or lacks a column, or an object
            store does not answer.
    """
    below = {name: _below(name) for name in named if is_stored(name)}
    tables = {name: _tables(name, below.get(name)) for name in named}
    if any(tables.values()):
        if not all(tables.values()):
            raise InputError("pictures and Parquet files are named together: judge them one after the other")
        return _of_tables([file for files in tables.values() for file in files])
    if not below:
        return FilePictures(find_images(named, besides))
    if len(below) < len(named):
        raise InputError(f"{next(iter(below))} is in an object store and others are files: judge them one by one")
    for name, own in below.items():
        if not any(map(_is_picture, own)):
            raise InputError(f"no pictures in {name!r}: name one, or a folder that holds some")
    every = list(dict.fromkeys(address for own in below.values() for address in own))
    others = tuple(Path(address) for address in every if not _is_picture(address))
    return StorePictures(tuple(filter(_is_picture, every)), FoundImages((), others=others))


def names_sha256(names: Sequence[str]) -> str:
    """Return the SHA-256 of the names of pictures, in their order."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def is_stored(name: str) -> bool:
    """Whether a name is an address in an object store.

    >>> is_stored("s3://bucket/parts"), is_stored("parts/a.png")
    (True, False)
    """
    return bool(STORE.match(name))


def open_store(address: str) -> tuple[Any, str]:
    """Return the file system of an address, as pyarrow or else fsspec knows it, and its path there.

    Raises:
        InputError: neither knows it, or a package that it needs is not installed.
    """
    store = _pyarrow("fs")
    try:
        try:
            filesystem, path = store.FileSystem.from_uri(address)
        except (ValueError, NotImplementedError):  # pyarrow's own errors are of the first kind
            own, path = import_module("fsspec.core").url_to_fs(address)
            filesystem = store.PyFileSystem(store.FSSpecHandler(own))
    except Exception as error:  # of each store its own
        raise InputError(f"{address} cannot be opened: {_reason(error)}") from error
    return filesystem, path


def _tables(name: str, below: Sequence[str] | None) -> list[str]:
    """Return the Parquet files that a name means; none if it means pictures. `below` is known of object stores."""
    if below is None and Path(name).is_dir():
        below = _files_until_a_picture(Path(name))
    if below is None:
        below = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else [name]  # noqa: PTH207
    return [] if any(map(_is_picture, below)) else [file for file in below if file.endswith(PARQUET)]


def _files_until_a_picture(folder: Path) -> list[str]:
    """Return the files below a folder, sorted; the first picture ends the search, which would take long behind it."""
    found: list[str] = []
    for place, _, names in os.walk(folder):
        found += [Path(place, name).as_posix() for name in names if not name.startswith(".")]
        if any(map(_is_picture, names)):
            break
    return sorted(found)


def _below(address: str) -> list[str]:
    """Return the addresses of all files below one, or itself if it is a file, sorted; hidden ones are left out.

    Raises:
        InputError: there is nothing, or the store does not answer.
    """
    filesystem, path = open_store(address)
    store = _pyarrow("fs")
    try:
        own = filesystem.get_file_info(path)
        if own.type == store.FileType.File:
            return [address]
        found = filesystem.get_file_info(store.FileSelector(path, recursive=True))
    except Exception as error:  # of each store its own
        raise InputError(f"nothing can be read at {address}: {_reason(error)}") from error
    base, start = path.rstrip("/"), address.rstrip("/")
    inside = [info.path.removeprefix(base).lstrip("/") for info in found if info.type == store.FileType.File]
    return [f"{start}/{one}" for one in sorted(inside) if not any(part.startswith(".") for part in one.split("/"))]


def _of_tables(files: Sequence[str]) -> ParquetPictures:
    groups: list[RowGroup] = []
    names: list[str] = []
    for file in files:
        table = _opened_table(file)
        groups += [
            RowGroup(file, number, table.metadata.row_group(number).num_rows)
            for number in range(table.metadata.num_row_groups)
        ]
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
    try:
        table = _pyarrow("parquet").ParquetFile(path, filesystem=filesystem)
    except InputError:
        raise
    except Exception as error:  # of each store its own
        raise InputError(f"{file} cannot be read as a Parquet file: {_reason(error)}") from error
    names = table.schema_arrow.names
    if missing := [column for column in COLUMNS if column not in names]:
        raise InputError(
            f"{file} has no column {missing[0]!r} but {', '.join(names)}: it needs `path` and `bytes`, as"
            " ray.data.read_binary_files makes them with include_paths"
        )
    return table


def _rows(group: RowGroup, first: int, last: int) -> list[StoredBytes]:
    """Return the pictures of some rows of a group."""
    found: list[StoredBytes] = []
    before = 0
    for batch in _opened_table(group.file).iter_batches(ROWS, row_groups=[group.number], columns=list(COLUMNS)):
        part = batch.slice(max(first - before, 0), max(0, last - max(before, first)))
        before += len(batch)
        found += map(StoredBytes, map(str, part.column("path").to_pylist()), part.column("bytes").to_pylist())
        if before >= last:
            break
    return found


def _refuse_masks(masks: Path | None) -> None:
    """Check that no picture has a region of its own, which is found by a file's name.

    Raises:
        InputError: they have.
    """
    if masks is not None:
        raise InputError(f"`region` {masks} is a folder of masks, for pictures in files: give one region for all")


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _pyarrow(module: str) -> Any:
    try:
        return import_module(f"pyarrow.{module}")
    except ImportError as error:
        raise not_installed("pyarrow", '"promptad[ray]"') from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
