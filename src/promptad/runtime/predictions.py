"""The files of `predict`: a line for each image, and which detector wrote them; read again for a report page."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from promptad.data.fingerprints import file_sha256
from promptad.errors import InputError
from promptad.runtime.alone import alone
from promptad.runtime.metadata import Metadata
from promptad.runtime.records import NO_RECORD, PredictionRecord, look_in
from promptad.settings import Settings
from promptad.structures import Look
from promptad.utils.files import writable_folder
from promptad.utils.json_text import is_number, parse_json

LINES, RUN, PART = "predictions.jsonl", "run.json", ".part"
WATCHED = "watch.json"  # is in a folder whose lines a watcher appends
PARTS = "parts.json"  # is in a folder that holds a folder of predictions for each of many parts
MANIFEST = "manifest.json"  # is in a folder that holds lines in shards, as a cluster has written them
LOCK = ".predict.lock"  # of whoever writes predictions into a folder
ONE_IMAGE = (
    "learned from one good picture: how much good parts differ is only guessed, so the threshold keeps a large distance"
    " and more defects pass; a second picture helps"
)
AGAIN = "judge the pictures again, with promptad predict"


@dataclass(frozen=True)
class PredictionRun:
    """Which detector predicted, and how."""

    checkpoint: str
    checkpoint_sha256: str  # of the file, since it may be trained again
    folder: str  # what the paths of checkpoint and images are relative to
    class_name: str
    support_images: tuple[str, ...]  # their names
    settings: Settings  # at the false-alarm rate, and with the weights, of this run
    false_alarm_range: tuple[float, float] | None = None  # of the actual rate, as far as the detector can tell
    looks: tuple[Look, ...] = ()  # of the support images, if they are known
    masks: str = ""  # folder of the images' regions, where each has its own

    @classmethod
    def of(cls, checkpoint: Path, known: Metadata, masks: Path | None = None) -> "PredictionRun":
        """Return the record of a detector's file that predicts in the working directory."""
        return cls(
            str(checkpoint),
            file_sha256(checkpoint),
            str(Path.cwd()),
            known.class_name,
            known.support_images,
            known.settings,
            known.false_alarm_range,
            known.looks,
            "" if masks is None else str(masks),
        )

    @property
    def checkpoint_path(self) -> Path:
        """The detector's file."""
        return Path(self.folder, self.checkpoint)

    def to_json(self) -> str:
        """Return the text of the file."""
        return json.dumps(asdict(self) | {"settings": self.settings.to_dict()}, indent=1) + "\n"


class PredictionsFile:
    """The file of lines of a run while it is being written; `known` are the lines of an interrupted run of the same."""

    def __init__(self, lines: IO[str], known: Sequence[PredictionRecord]) -> None:
        self.lines, self.known = lines, known

    def write(self, record: PredictionRecord) -> None:
        """Write the line of a record, so that it survives whatever happens to the next one."""
        self.lines.write(record.to_line())
        self.lines.flush()


def check_holds_no_others(folder: Path, own: str) -> None:
    """Check that a folder may hold predictions whose main file is called `own`.

    Raises:
        InputError: there are predictions of another kind in it.
    """
    kinds = {
        WATCHED: "the lines of promptad watch",
        PARTS: "the predictions of many parts",
        MANIFEST: "the predictions of a cluster",
        LINES: "the predictions of one process",
    }
    for name, kind in kinds.items():
        if name != own and (folder / name).exists():
            raise InputError(f"`output` {folder} holds {kind}: choose another folder")


@contextmanager
def predictions_file(folder: Path, run: PredictionRun, images: Sequence[Path]) -> Iterator[PredictionsFile]:
    """Open a file that takes the records of images, in their order, as they come.

    The lines go to a file beside the one of an earlier run, and take its place at the end, with the run. After an error
    or Ctrl-C they stay there, and the same run goes on behind them. Overlays of the earlier run are deleted at the end.

    Raises:
        InputError: the folder cannot be written to, another process writes to it, a watcher appends to its lines, or
            it is of many parts.
    """
    check_holds_no_others(folder, LINES)
    part, run_part = (folder / f"{name}{PART}" for name in (LINES, RUN))
    with alone(folder, LOCK, "output"), writable_folder(folder, "output"):
        known = _resumed(part, run_part, run, images)
        run_part.write_text(run.to_json(), encoding="utf-8")
        # \udc80 is JSON's own escape; lines end alike on every system, as those of a watcher.
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as lines:
            file = PredictionsFile(lines, known)
            for record in known:
                file.write(record)
            yield file
            os.fsync(lines.fileno())
        stale = _overlays(folder / LINES) - _overlays(part)
        part.replace(folder / LINES)
        run_part.replace(folder / RUN)
        for overlay in stale:
            if overlay.resolve().is_relative_to((folder / "overlays").resolve()):
                overlay.unlink(missing_ok=True)


def discard_part(folder: Path) -> None:
    """Delete what an unfinished run has written."""
    for name in (LINES, RUN):
        (folder / f"{name}{PART}").unlink(missing_ok=True)


def _resumed(part: Path, run_part: Path, run: PredictionRun, images: Sequence[Path]) -> list[PredictionRecord]:
    """Return the records of an interrupted run, if it was the same and its images are the first of these."""
    try:
        if run_part.read_text(encoding="utf-8") != run.to_json():
            return []
        whole = part.read_text(encoding="utf-8").rpartition("\n")[0]
        known = _records_of(whole)
    except (OSError, *NO_RECORD):
        return []
    paths = [record.path for record in known]
    return known if paths == list(map(str, images[: len(paths)])) else []


def _overlays(file: Path) -> set[Path]:
    """Return the overlays that a file of lines names; none if it cannot be read."""
    try:
        records = _records_of(file.read_text(encoding="utf-8"))
    except (OSError, *NO_RECORD):
        return set()
    return {Path(record.overlay) for record in records if record.overlay}


def _records_of(text: str) -> list[PredictionRecord]:
    # Not splitlines, which breaks at rare characters that a path may hold.
    return [PredictionRecord.from_line(line) for line in text.split("\n") if line]


def read_predictions(place: Path) -> tuple[PredictionRun, tuple[PredictionRecord, ...]]:
    """Read a folder that predict wrote, or its file of lines, with the run file beside it.

    Raises:
        InputError: there are no predictions, they are damaged, or it is not known what made them.
    """
    if (place / MANIFEST).is_file():
        return read_run(place / MANIFEST), tuple(
            record for file in _readable_shards(place) for record in _read_lines(file)
        )
    file = place / LINES if place.is_dir() else place
    if not file.is_file():
        raise InputError(f"`predictions` {file}: there is no such file; name the folder that promptad predict wrote")
    return read_run(file), _read_lines(file)


def shard_files(folder: Path) -> list[Path]:
    """Return the files of lines of a folder that a cluster wrote, in their order, as its manifest names them.

    Raises:
        InputError: the manifest is damaged.
    """
    manifest = folder / MANIFEST
    try:
        content = parse_json(manifest.read_text(encoding="utf-8"))
        return [folder / Path(shard["file"]).name for shard in content["shards"]]
    except (OSError, *NO_RECORD) as error:
        raise InputError(f"{manifest} does not tell which shards there are: {AGAIN}") from error


def _readable_shards(folder: Path) -> list[Path]:
    """Return those files.

    Raises:
        InputError: they are of a format that is not read here.
    """
    files = shard_files(folder)
    for file in files:
        if file.suffix != ".jsonl":
            raise InputError(f"`predictions` {folder}: its shards are {file.suffix} files; only jsonl can be read here")
    return files


def read_run(file: Path) -> PredictionRun:
    """Read which detector made the lines of a file.

    Raises:
        InputError: it is not known.
    """
    beside = file.parent / RUN
    if not beside.is_file():
        raise InputError(f"no {RUN} beside {file}, so it is not known what made them: {AGAIN}")
    try:
        content = parse_json(beside.read_text(encoding="utf-8"))
        content |= {"settings": Settings.from_dict(content["settings"])}
        if not all(
            isinstance(content[name], str) for name in ("checkpoint", "checkpoint_sha256", "folder", "class_name")
        ):
            raise TypeError("a name is no text")
        if (range_ := content.get("false_alarm_range")) is not None:
            low, high = range_
            if not (is_number(low) and is_number(high)):
                raise TypeError("a rate is no number")
            content |= {"false_alarm_range": (float(low), float(high))}
        looks = [look for one in content.get("looks", ()) if (look := look_in(one)) is not None]
        content |= {"looks": tuple(looks)}
        return PredictionRun(**content | {"support_images": tuple(map(str, content["support_images"]))})
    except (OSError, *NO_RECORD) as error:
        raise InputError(f"{beside} does not tell what made the predictions: {AGAIN}") from error


def read_lines(file: Path) -> Iterator[PredictionRecord]:
    """Yield the records of a file of lines that was just written; one line is in memory at a time."""
    with file.open(encoding="utf-8", newline="\n") as lines:
        yield from map(PredictionRecord.from_line, lines)


def _read_lines(file: Path) -> tuple[PredictionRecord, ...]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"`predictions` {file} cannot be read ({error}): {AGAIN}") from error
    if not text.strip():
        raise InputError(f"`predictions` {file} is empty: {AGAIN}")
    # Not splitlines, which breaks at rare characters that a path may hold.
    return tuple(_read_line(file, number, line) for number, line in enumerate(text.strip().split("\n"), 1))


def _read_line(file: Path, number: int, line: str) -> PredictionRecord:
    try:
        return PredictionRecord.from_line(line)
    except NO_RECORD as error:
        raise InputError(f"`predictions` {file}: line {number} is no prediction of this promptad: {AGAIN}") from error
