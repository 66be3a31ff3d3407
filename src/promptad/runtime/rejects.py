"""Rejected pictures, copied or moved into a folder: whole, under a free name, and completed after a kill."""

import errno
import filecmp
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from promptad.runtime.arrivals import Picture, look_at, utc
from promptad.runtime.journal import Entry, sync_folder
from promptad.runtime.predictions import WATCHED
from promptad.utils.files import whole_file
from promptad.utils.json_text import is_number, parse_json

COPY, MOVE = "copy", "move"
WAYS = (COPY, MOVE)


class Placement:
    """Brings pictures to where their lines say, in the lines' order; what was finished is kept in a file.

    Attributes:
        waiting: the entries that could not be brought there, by the number of their line.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._state, self._tell = folder / WATCHED, tell
        self.waiting: dict[int, Entry] = {}
        self._placed = 0

    def resume(self, entries: Iterable[Entry]) -> Iterable[Entry]:
        """Yield entries as they come, and keep those that a kill, or a full disk, has left."""
        placed, unplaced = self._read()
        self._placed = 0
        for number, entry in enumerate(entries, 1):
            if (number > placed or number in unplaced) and target_of(entry):
                self.waiting[number] = entry
            self._placed = number
            yield entry

    def add(self, first: int, entries: Iterable[Entry]) -> None:
        """Bring the pictures of new lines, from the number `first` on, to their places."""
        for number, entry in enumerate(entries, first):
            self._placed = number
            if target_of(entry):
                self.waiting[number] = entry
                self._place(number, entry, again=False)

    def retry(self) -> None:
        """Try again what is waiting."""
        for number, entry in list(self.waiting.items()):
            self._place(number, entry, again=True)

    def save(self) -> None:
        """Note what is finished."""
        with whole_file(self._state, "output") as temporary:
            temporary.write_text(f'{{"placed": {self._placed}, "unplaced": {list(self.waiting)}}}\n', encoding="utf-8")

    def _place(self, number: int, entry: Entry, *, again: bool) -> None:
        try:
            complaint = place(entry)
        except OSError as error:
            if not again:
                reason = (error.strerror or str(error)).lower()
                self._tell(f"not in {target_of(entry)}: {reason}; {entry.record.path} is tried again later")
            return
        del self.waiting[number]
        if complaint:
            self._tell(complaint)

    def _read(self) -> tuple[int, set[int]]:
        try:
            content = parse_json(self._state.read_text(encoding="utf-8"))
            placed, unplaced = content["placed"], content["unplaced"]
            if not all(map(is_number, [placed, *unplaced])):
                return 0, set()
            return int(placed), set(unplaced)
        except (OSError, ValueError, KeyError, TypeError):
            return 0, set()


class FreeNames:
    """Names in a folder that no file has, each given once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._given: set[str] = set()

    def take(self, name: str) -> Path:
        """Return the path of a name, with a number if it is taken."""
        path, number = self.folder / name, 1
        while os.path.lexists(path) or path.name.casefold() in self._given:
            number += 1
            path = self.folder / f"{Path(name).stem}_{number}{Path(name).suffix}"
        self._given.add(path.name.casefold())
        return path


def target_of(entry: Entry) -> str:
    """Return where a picture is to be copied or moved; "" if it stays."""
    return entry.record.moved or entry.copied


def place(entry: Entry) -> str:
    """Copy or move a picture to where its line says, if that is not done yet.

    Returns:
        What is to be told of it; mostly nothing.

    Raises:
        OSError: the folder cannot be written to; nothing is lost.
    """
    target = Path(target_of(entry))
    target.parent.mkdir(parents=True, exist_ok=True)
    if entry.record.moved:
        return _move(entry.picture, target)
    if os.path.lexists(target):  # it was copied before a kill
        return ""
    return "" if _copy(entry.picture.path, target, entry.picture) else _gone(entry.picture)


def _move(picture: Picture, target: Path) -> str:
    """Move a picture: first to a hidden name beside it, so that another one that comes meanwhile stays."""
    taken = picture.path.with_name(_hidden(target, "taken"))
    if not os.path.lexists(taken):
        if look_at(picture.path) != picture:
            return "" if os.path.lexists(target) else _gone(picture)
        picture.path.rename(taken)
        if not _is_same(taken, picture):
            taken.rename(FreeNames(picture.path.parent).take(picture.path.name))
            return _gone(picture)
    if os.path.lexists(target):
        if not filecmp.cmp(taken, target, shallow=False):
            taken.rename(FreeNames(picture.path.parent).take(picture.path.name))
            return f"{target} is another file: {picture.path} stays"
        taken.unlink()  # it was copied to another disk before a kill
        return ""
    try:
        if not taken.is_symlink():  # a relative link would lead elsewhere
            taken.rename(target)
            return ""
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    _copy(taken, target, None)
    sync_folder(target.parent)
    taken.unlink()
    return ""


def _copy(source: Path, target: Path, expected: Picture | None) -> bool:
    """Copy a file with its times under a hidden name, and rename it; return whether it was the picture expected."""
    part = target.with_name(_hidden(target, "part"))
    try:
        with source.open("rb") as reading, part.open("wb") as writing:
            shutil.copyfileobj(reading, writing)
            times = os.fstat(reading.fileno())
            writing.flush()
            os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
            os.fsync(writing.fileno())
        if expected is not None and (times.st_size, utc(times.st_mtime_ns)) != (expected.size, expected.modified):
            return False
        part.rename(target)
    except FileNotFoundError:
        if source.exists():
            raise
        return False
    finally:
        with suppress(OSError):
            part.unlink()
    return True


def _is_same(path: Path, picture: Picture) -> bool:
    found = look_at(path)
    return found is not None and found.identity[1:] == picture.identity[1:]


def _gone(picture: Picture) -> str:
    return f"{picture.path} was replaced or removed before it could be put away"


def _hidden(target: Path, kind: str) -> str:
    return f".{hashlib.sha256(str(target).encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.{kind}"
