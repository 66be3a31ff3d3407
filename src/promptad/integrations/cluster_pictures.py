"""Very many pictures, named as files, as places in object stores, or as Parquet files of their bytes.

Each kind can hand a range of itself to another machine (`picked`). Its extra is `ray`.
"""

import glob
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from promptad.data.images import IMAGE_SUFFIXES
from promptad.data.search import FoundImages, find_images
from promptad.errors import InputError
from promptad.integrations.object_stores import files_below, is_stored, read_stored
from promptad.integrations.parquet_pictures import read_tables
from promptad.integrations.picked import NONE, Pictures, Predicted, refuse_masks
from promptad.runtime.predict import Predictor, predict, predict_stored

PARQUET = ".parquet"


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
        refuse_masks(masks)
        return predict_stored(predictor, [StoredFile(address) for address in self.addresses], batch_size)


@dataclass(frozen=True)
class StoredFile:
    """A picture in an object store."""

    name: str  # its address

    def content(self) -> bytes:
        """Return the bytes of its file."""
        return read_stored(self.name)


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
    below = {name: files_below(name) for name in named if is_stored(name)}
    tables = {name: _tables(name, below.get(name), besides) for name in named}
    if any(tables.values()):
        if not all(tables.values()):
            raise InputError("pictures and Parquet files are named together: judge them one after the other")
        return read_tables([file for files in tables.values() for file in files])
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


def _tables(name: str, below: Sequence[str] | None, besides: Path | None) -> list[str]:
    """Return the Parquet files that a name means; none if it means pictures. `below` is known of object stores."""
    if below is None and Path(name).is_dir():
        below = _files_until_a_picture(Path(name), besides and besides.resolve())
    if below is None:
        below = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else [name]  # noqa: PTH207
    return [] if any(map(_is_picture, below)) else [file for file in below if file.endswith(PARQUET)]


def _files_until_a_picture(folder: Path, besides: Path | None) -> list[str]:
    """Return the files below a folder, sorted, without those below `besides`, such as the shards of an earlier run.

    The first picture ends the search, which would take long behind it.
    """
    found: list[str] = []
    for place, inside, names in os.walk(folder):
        if Path(place).resolve() == besides:
            inside.clear()  # is not entered
            continue
        found += [Path(place, name).as_posix() for name in names if not name.startswith(".")]
        if any(map(_is_picture, names)):
            break
    return sorted(found)


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
