"""The files of `predict`: a line for each image, and the record of the detector; read again for a report page."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from promptad.data.fingerprints import file_sha256
from promptad.errors import InputError
from promptad.runtime.metadata import Metadata
from promptad.settings import Settings
from promptad.structures import ANOMALY, GOOD, UNLIKE, UNSURE, Explanation, Look, Region, is_without_place
from promptad.utils.files import writable_folder
from promptad.utils.json_text import is_number, parse_json

LINES, RUN, PART = "predictions.jsonl", "run.json", ".part"
WATCHED = "watch.json"  # is in a folder whose lines a watcher appends
PARTS = "parts.json"  # is in a folder that holds a folder of predictions for each of many parts
MANIFEST = "manifest.json"  # is in a folder that holds lines in shards, as a cluster has written them
ONE_IMAGE = (
    "learned from one good picture: how much good parts differ is only guessed, so the threshold keeps a large distance"
    " and more defects pass; a second picture helps"
)
AGAIN = "judge the pictures again, with promptad predict"
SURE, LIKELY = 0.3, 0.1  # share by which an image lacks less of its part than of the next one
GUESS, UNLIKE_ALL = "a guess", "unlike all parts"  # how surely, in words; else "sure" or "likely"
NO_RECORD = (ValueError, KeyError, TypeError, AttributeError)  # what reading a wrong line raises
# Names in a line that differ from the names in the code.
RECORD_KEYS = {"label": "decision", "raw_score": "raw", "max_score": "peak", "is_blank": "blank"}
REGION_KEYS = {"max_score": "peak"}
EXPLANATION_KEYS = {"nearest_states": "most_like"}


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


@dataclass(frozen=True)
class Match:
    """Which of many parts an image shows, as the image itself tells."""

    part: str
    sureness: float  # the share by which it lacks less of this part than of the next one, 0 to 1
    is_like: bool  # whether it is like any part at all

    @property
    def words(self) -> str:
        """How surely, in words."""
        if not self.is_like:
            return UNLIKE_ALL
        return "sure" if self.sureness >= SURE else "likely" if self.sureness >= LIKELY else GUESS


@dataclass(frozen=True)
class PredictionRecord:
    """The prediction of one image; one that could not be read has its `error` and nothing else."""

    path: str
    label: str = ""
    score: float = 0.0
    raw_score: float = 0.0  # distinguishes images whose `score` is 1.00
    threshold: float | None = None  # of the raw score
    max_score: float = 0.0  # the highest value of its anomaly map
    regions: tuple[Region, ...] = ()
    explanation: Explanation | None = None
    is_blank: bool = False  # of one colour throughout: an anomaly whatever its score
    look: Look | None = None  # None in lines of an older promptad
    match: Match | None = None  # where the part was found by the image itself
    overlay: str = ""  # the file of its overlay
    moved: str = ""  # where a watcher has moved it to
    error: str = ""

    @property
    def is_anomalous(self) -> bool:
        """Whether it is labelled as an anomaly."""
        return self.label == ANOMALY

    @property
    def is_good(self) -> bool:
        """Whether it is labelled as good."""
        return self.label == GOOD

    @property
    def is_unsure(self) -> bool:
        """Whether its decision is left to people."""
        return self.label == UNSURE

    @property
    def reason(self) -> str:
        """Why it may be anomalous, in words."""
        if self.is_blank:
            return f"{UNLIKE}: one colour throughout"
        return "" if self.explanation is None else self.explanation.reason

    @property
    def is_without_place(self) -> bool:
        """Whether it is an anomaly as a whole: nothing in its map is above the threshold."""
        return is_without_place(self.label, self.max_score, self.reason)

    @property
    def distance(self) -> float | None:
        """How far it is from the support images, if it is known: above 1 farther than a new good image may be."""
        return None if self.explanation is None else self.explanation.distance

    @property
    def place(self) -> str:
        """Where the image is now."""
        return self.moved or self.path

    def to_dict(self) -> dict[str, Any]:
        """Return the content of its line."""
        if self.error:
            return {"path": self.path, "error": self.error}
        content = _renamed(asdict(self), RECORD_KEYS)
        content["regions"] = [_renamed(asdict(region), REGION_KEYS) for region in self.regions]
        content["explanation"] = self.explanation and _renamed(asdict(self.explanation), EXPLANATION_KEYS)
        del content["error"]
        return {name: value for name, value in content.items() if value or name not in ("match", "overlay", "moved")}

    def to_line(self) -> str:
        """Return its line in the file."""
        return json.dumps(self.to_dict(), ensure_ascii=False) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "PredictionRecord":
        """Read a line of the file.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is not such a line.
        """
        content = parse_json(line)
        if "error" in content:
            return cls(str(content["path"]), error=str(content["error"]))
        if content["decision"] not in (ANOMALY, UNSURE, GOOD):
            raise ValueError(content["decision"])
        numbers = [content[name] for name in ("score", "raw", "threshold", "peak")]
        numbers += [number for region in content["regions"] for number in region.values()]
        if not all(map(is_number, numbers)):
            raise TypeError(f"{numbers} are not all numbers")
        explanation = _named(content["explanation"], EXPLANATION_KEYS)
        explanation["nearest_states"] = tuple(map(str, explanation["nearest_states"]))
        for name in ("lack", "distance"):
            if (number := explanation.get(name)) is not None and not is_number(number):
                raise TypeError(f"{name} {number!r} is no number")
        if (defect := explanation.get("defect")) is not None:
            explanation["defect"] = str(defect)
        explanation["prototype_words"] = str(explanation.get("prototype_words", ""))
        return cls(
            path=str(content["path"]),
            label=content["decision"],
            score=float(content["score"]),
            raw_score=float(content["raw"]),
            threshold=float(content["threshold"]),
            max_score=float(content["peak"]),
            regions=tuple(Region(**_named(region, REGION_KEYS)) for region in content["regions"]),
            explanation=Explanation(**explanation),
            is_blank=content.get("blank") is True,
            look=_look_of(content.get("look")),
            match=_match_of(content.get("match")),
            overlay=str(content.get("overlay", "")),
            moved=str(content.get("moved", "")),
        )


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
        InputError: the folder cannot be written to, a watcher appends to its lines, or it is of many parts.
    """
    check_holds_no_others(folder, LINES)
    part, run_part = (folder / f"{name}{PART}" for name in (LINES, RUN))
    with writable_folder(folder, "output"):
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
        looks = [look for one in content.get("looks", ()) if (look := _look_of(one)) is not None]
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


def _look_of(content: Any) -> Look | None:
    if content is None:
        return None
    if not all(map(is_number, content.values())):
        raise TypeError(f"{content} are not all numbers")
    return Look(**content)


def _match_of(content: Any) -> Match | None:
    if content is None:
        return None
    if not is_number(content["sureness"]):
        raise TypeError(f"sureness {content['sureness']!r} is no number")
    return Match(str(content["part"]), float(content["sureness"]), content["is_like"] is True)


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


def _named(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return _renamed(values, {written: name for name, written in names.items()})
