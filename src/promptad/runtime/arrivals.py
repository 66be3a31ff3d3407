"""Pictures that arrive in a folder: which are there, and which are completely written."""

import os
import re
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from promptad.data.images import IMAGE_SUFFIXES
from promptad.data.search import FoundImages, find_below, is_drawn

RESCAN = 5.0  # seconds between two looks at the whole folder, beside what the system tells of it
SHARE = 20  # so many times as long as a look took is waited before the next one
LEAST_RETRY = 0.2  # seconds
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 10**9  # nanoseconds
# Names that programs give to files while they write them.
PARTIAL = re.compile(r"[.~].*|.*\.(part|partial|filepart|tmp|temp|crdownload|download)(\.\w+)?", re.IGNORECASE)

Identity = tuple[str, int, str]


@dataclass(frozen=True)
class Picture:
    """A picture as it was found: another file under the same name is another picture."""

    path: Path  # absolute
    size: int  # bytes
    modified: str  # UTC, ISO 8601, to the nanosecond

    @property
    def identity(self) -> Identity:
        """What distinguishes it from all others."""
        return str(self.path), self.size, self.modified


def look_at(path: Path) -> Picture | None:
    """Return the picture that is at a path now; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Picture(path, found.st_size, utc(found.st_mtime_ns)) if stat.S_ISREG(found.st_mode) else None


def utc(nanoseconds: int) -> str:
    """Return a time since 1970 in words; as it is if it is none of our calendar.

    >>> utc(1_700_000_000_000_000_001)
    '2023-11-14T22:13:20.000000001Z'
    """
    seconds, rest = divmod(nanoseconds, SECOND)
    try:
        return f"{(EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()}.{rest:09}Z"
    except OverflowError:
        return str(nanoseconds)


@dataclass
class _Waiting:
    """A picture that is not yet judged."""

    picture: Picture
    since: float  # when it was first seen as it is
    due: float  # when it is looked at again
    changes: int = 0  # how often it was found changed


@dataclass
class Arrivals:
    """Which pictures of a folder are still to be judged, and which of these are complete.

    A picture is complete when size and modification time have not changed for `settle` seconds, by our own clock: those
    of file servers differ, and copying may set old times.
    """

    folder: Path  # absolute
    besides: Sequence[Path]  # folders that are left out
    settle: float  # seconds
    give_up: float  # seconds after which one that cannot be judged is an error
    rescan: float = RESCAN
    done: set[Identity] = field(default_factory=set)
    found: FoundImages = field(default_factory=lambda: FoundImages(()))  # at the last look
    left: list[Path] = field(default_factory=list)  # that were still being written

    def __post_init__(self) -> None:
        self._waiting: dict[Path, _Waiting] = {}
        self._real = Path(os.path.realpath(self.folder))
        self._excluded = [Path(os.path.realpath(place)) for place in self.besides]
        self._next_look = 0.0
        self._is_stale = True

    def __len__(self) -> int:
        return len(self._waiting)

    def look(self) -> None:
        """Look at the whole folder, if it is time."""
        started = time.monotonic()
        if started < self._next_look - (self.rescan if self._is_stale else 0.0):
            return
        self._is_stale = False
        self.found = find_below(self.folder, self.besides)
        for path in self.found.images:
            self._add(path)
        took = time.monotonic() - started
        self._next_look = started + took + max(self.rescan, SHARE * took)

    def note(self, paths: Iterable[Path]) -> None:
        """Take note of files that have changed; for links and folders the next look at the whole is soon."""
        for path in paths:
            if self._is_plain(path):
                self._add(path)
            elif path.is_symlink() or path.is_dir():
                self._is_stale = True

    def complete(self, limit: int) -> list[Picture]:
        """Return pictures that are complete, at most `limit`, those that came first in front."""
        complete: list[Picture] = []
        now = time.monotonic()
        for waiting in list(self._waiting.values()):
            if len(complete) == limit:
                break
            if waiting.due <= now and self._is_still(waiting, now):
                complete.append(waiting.picture)
        return complete

    def finish(self, picture: Picture) -> None:
        """Take a picture as judged."""
        self.done.add(picture.identity)
        self._waiting.pop(picture.path, None)

    def has_changed(self, picture: Picture) -> bool:
        """Whether it is another one by now, or gone; then what was read of it counts for nothing."""
        waiting = self._waiting[picture.path]
        return not self._is_still(waiting, time.monotonic())

    def may_recover(self, picture: Picture) -> bool:
        """Whether a picture that could not be judged is tried again."""
        waiting, now = self._waiting[picture.path], time.monotonic()
        waiting.due = min(now + max(self.settle, LEAST_RETRY), max(waiting.since + self.give_up, now))
        return now < waiting.since + self.give_up

    def leave_changing(self) -> None:
        """Leave those alone that have been changing for `give_up` seconds."""
        longest = self.give_up / max(self.settle, LEAST_RETRY)
        changing = [path for path, waiting in self._waiting.items() if waiting.changes > longest]
        self.left += changing
        for path in changing:
            del self._waiting[path]

    def _is_still(self, waiting: _Waiting, now: float) -> bool:
        """Whether a picture has not changed since it was seen; else it waits anew, or is forgotten."""
        current = look_at(waiting.picture.path)
        if current == waiting.picture:
            return True
        if current is None or current.identity in self.done:
            del self._waiting[waiting.picture.path]
        else:
            waiting.picture, waiting.since, waiting.due = current, now, now + self.settle
            waiting.changes += 1
        return False

    def _add(self, path: Path) -> None:
        if path in self._waiting or PARTIAL.fullmatch(path.name):
            return
        picture, now = look_at(path), time.monotonic()
        if picture is not None and picture.identity not in self.done:
            self._waiting[path] = _Waiting(picture, now, now + self.settle)

    def _is_plain(self, path: Path) -> bool:
        """Whether a look at the whole folder would find a picture by this path, without following links."""
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_relative_to(self.folder):
            return False
        below = path.relative_to(self.folder)
        real = self._real / below.parent
        hidden = any(part.startswith(".") for part in below.parts)
        inside = any(map(real.is_relative_to, self._excluded)) or is_drawn(real)
        return not hidden and not inside and Path(os.path.realpath(path.parent)) == real
