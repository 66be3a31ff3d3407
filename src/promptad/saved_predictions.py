"""What predict writes: a line for each picture, and beside them which detector judged them; read again for a page."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from promptad.detector import Detector
from promptad.errors import InputError
from promptad.records import ANOMALY, GOOD
from promptad.settings import Settings

LINES, RUN = "predictions.jsonl", "run.json"
ONE_PICTURE = (
    "learned from one good picture: how much good parts differ is only guessed; where they differ much, more of them"
    " will be rejected than the false-alarm rate says, and a second picture helps"
)
AGAIN = "judge the pictures again, with promptad predict"


@dataclass(frozen=True)
class InspectionRun:
    """Which detector judged pictures, and how."""

    checkpoint: str
    checkpoint_sha256: str  # of the file, for it may be trained again
    folder: str  # where the paths of checkpoint and pictures start, if they are relative
    class_name: str
    support_images: tuple[str, ...]  # names of the good pictures that were learned from
    settings: Settings  # at the false-alarm rate, and with the weights, that it judged with

    @classmethod
    def of(cls, checkpoint: Path, detector: Detector) -> "InspectionRun":
        """Return what is to be known of a detector that judges in the folder that the command was started in."""
        subject, digest = detector.subject, file_sha256(checkpoint)
        settings = replace(detector.settings, backbone=detector.backbone.settings)  # where its weights lay this time
        return cls(str(checkpoint), digest, str(Path.cwd()), subject.class_name, subject.support_images, settings)

    @property
    def checkpoint_path(self) -> Path:
        """Where the detector lies."""
        return Path(self.folder, self.checkpoint)

    def to_json(self) -> str:
        """Return the text of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"


@dataclass(frozen=True)
class Judged:
    """What was said of one picture; one that could not be read has its `error` and nothing else."""

    path: str
    decision: str = ""
    score: float = 0.0
    raw: float = 0.0  # tells apart what is 1.00 in `score`
    peak: float = 0.0  # the highest point of its map
    regions: int = 0
    most_like: tuple[str, ...] = ()
    error: str = ""


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_predictions(place: Path) -> tuple[InspectionRun, tuple[Judged, ...]]:
    """Read the folder that predict wrote, or its file of lines, with what lies beside it.

    Raises:
        InputError: there are no predictions, they are damaged, or it is not known what made them.
    """
    file = place / LINES if place.is_dir() else place
    return _read_run(file), _read_lines(file)


def _read_run(file: Path) -> InspectionRun:
    if not file.is_file():
        raise InputError(f"--predictions {file}: there is no such file; name the folder that promptad predict wrote")
    beside = file.parent / RUN
    if not beside.is_file():
        raise InputError(f"no {RUN} beside {file}, so it is not known what made them: {AGAIN}")
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
        content |= {"settings": Settings.from_dict(content["settings"])}
        return InspectionRun(**content | {"support_images": tuple(content["support_images"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{beside} does not tell what made the predictions: {AGAIN}") from error


def _read_lines(file: Path) -> tuple[Judged, ...]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"--predictions {file} cannot be read ({error}): {AGAIN}") from error
    if not text.strip():
        raise InputError(f"--predictions {file} is empty: {AGAIN}")
    # Not splitlines, which breaks at rare characters that a path may hold.
    return tuple(_read_line(file, number, line) for number, line in enumerate(text.strip().split("\n"), 1))


def _read_line(file: Path, number: int, line: str) -> Judged:
    try:
        return _judged(json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--predictions {file}: line {number} is no prediction of this promptad: {AGAIN}") from error


def _judged(content: Mapping[str, Any]) -> Judged:
    """Return what a line says.

    Raises:
        ValueError, KeyError, TypeError: it is no such line.
    """
    if "error" in content:
        return Judged(str(content["path"]), error=str(content["error"]))
    if content["decision"] not in (ANOMALY, GOOD):
        raise ValueError(content["decision"])
    most_like = tuple(map(str, content["explanation"]["most_like"]))
    score, raw, peak = (float(content[name]) for name in ("score", "raw", "peak"))
    return Judged(str(content["path"]), content["decision"], score, raw, peak, len(content["regions"]), most_like)
