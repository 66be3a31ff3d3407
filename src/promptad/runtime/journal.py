"""The lines that a watcher appends: each is on the disk before anything else is done with its picture."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptad.errors import InputError
from promptad.runtime.arrivals import Picture
from promptad.runtime.predictions import LINES, RUN, PredictionRun, read_run
from promptad.runtime.records import NO_RECORD, PredictionRecord
from promptad.utils.files import whole_file, writable_folder
from promptad.utils.json_text import parse_json

OTHER = "choose another `output`"
DECIDES = ("false_alarm_rate", "threshold", "unsure_rate")  # settings that may be changed after training
BLOCK = 2**16  # bytes that are read at a time


@dataclass(frozen=True)
class Entry:
    """A line: a record, of which picture it is, when it was judged, and where a copy of it goes."""

    record: PredictionRecord
    picture: Picture
    judged: str  # UTC, ISO 8601
    copied: str = ""

    def to_line(self) -> bytes:
        """Return the line in the file."""
        content = self.record.to_dict()
        content |= {"size": self.picture.size, "modified": self.picture.modified, "judged": self.judged}
        if self.copied:
            content["copied"] = self.copied
        # \udc80, of a name that is no UTF-8, is written as JSON's own escape.
        return (json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")

    @classmethod
    def from_line(cls, line: bytes) -> "Entry":
        """Read a line.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is not such a line.
        """
        text = line.decode()
        record, content = PredictionRecord.from_line(text), parse_json(text)
        picture = Picture(Path(record.path), int(content["size"]), str(content["modified"]))
        return cls(record, picture, str(content["judged"]), str(content.get("copied", "")))

    @property
    def is_rejected(self) -> bool:
        """Whether the picture is labelled as an anomaly."""
        return self.record.is_anomalous


class Journal:
    """The file of lines in a folder of one detector.

    A last line that a kill has torn is cut off; its picture is judged again.

    Attributes:
        path: the file.
        end: its length in bytes; all of it is on the disk.
        count: its lines.

    Raises:
        InputError: the folder holds predictions of another detector or of `predict`, or it cannot be written to.
    """

    def __init__(self, folder: Path, run: PredictionRun) -> None:
        self.path = folder / LINES
        with writable_folder(folder, "output"):
            self._check_run(run)
            with self.path.open("ab"):
                pass
            sync_folder(folder)
            self._cut_torn_line()
            self.end = self.path.stat().st_size
        self.count = 0

    def read(self) -> Iterator[Entry]:
        """Yield all entries, and count them.

        Raises:
            InputError: a line was not written by a watcher.
        """
        self.count = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield Entry.from_line(line)
                except NO_RECORD as error:
                    raise InputError(
                        f"line {number} of {self.path} was not written by promptad watch: {OTHER}"
                    ) from error
                self.count = number

    def append(self, entries: Sequence[Entry]) -> None:
        """Append the lines of entries; when it returns they are on the disk.

        Raises:
            InputError: the disk is full, or the file cannot be written to; then no line is kept in part.
        """
        content = b"".join(entry.to_line() for entry in entries)
        with writable_folder(self.path.parent, "output"), self.path.open("r+b", buffering=0) as lines:
            lines.seek(self.end)
            try:
                written = 0
                while written < len(content):
                    written += lines.write(content[written:]) or 0
                os.fsync(lines.fileno())
            except OSError:
                lines.truncate(self.end)
                raise
        self.end += len(content)
        self.count += len(entries)

    def _check_run(self, run: PredictionRun) -> None:
        """Check that the folder is of this detector, and that it decides as before; or note that it is from now on."""
        if (self.path.parent / RUN).is_file():
            known = read_run(self.path)
            if known.checkpoint_sha256 != run.checkpoint_sha256:
                raise InputError(f"`output` {self.path.parent} is of another detector, {known.checkpoint}: {OTHER}")
            for name in DECIDES:
                before, now = (getattr(one.settings.scoring, name) for one in (known, run))
                if before != now:
                    raise InputError(f"`output` {self.path.parent} is of {name} {before}, not {now}: {OTHER}")
        elif self.path.is_file() and self.path.stat().st_size:
            raise InputError(f"no {RUN} beside {self.path}, so it is not known what made it: {OTHER}")
        else:
            with whole_file(self.path.parent / RUN, "output") as temporary:
                temporary.write_text(run.to_json(), encoding="utf-8")

    def _cut_torn_line(self) -> None:
        with self.path.open("r+b") as lines:
            end = position = lines.seek(0, os.SEEK_END)
            whole = 0
            while position and not whole:
                position = max(position - BLOCK, 0)
                lines.seek(position)
                whole = lines.read(min(BLOCK, end - position)).rfind(b"\n") + 1
            if position + whole < end:
                lines.truncate(position + whole)
                os.fsync(lines.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk, where the system can."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
