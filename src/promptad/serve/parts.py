"""The parts that a service judges: exported detectors under names of their own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptad.errors import InputError
from promptad.runtime.engines import SUFFIXES
from promptad.runtime.judge import check_decides
from promptad.runtime.parts import name_parts
from promptad.runtime.predictions import ONE_IMAGE
from promptad.runtime.session import Session, open_sessions
from promptad.settings import OWN_REGION


@dataclass(frozen=True)
class Part:
    """An open detector under its name."""

    name: str
    session: Session

    def to_dict(self) -> dict[str, Any]:
        """Return what a client should know of it."""
        known = self.session.metadata
        settings = known.settings
        return {
            "name": self.name,
            "threshold": known.threshold,
            "unsure_threshold": known.unsure_threshold,
            "false_alarm_rate": settings.scoring.false_alarm_rate if settings.scoring.threshold is None else None,
            "false_alarm_range": known.false_alarm_range,
            "image_size": known.image_size,
            "settings": {
                "backbone": settings.backbone.name,
                "k_shot": settings.training.k_shot,
                "level": settings.level,
                "memory": settings.scoring.memory,
                "resolution": settings.scoring.resolution,
                "bit_depth": settings.bit_depth,
            },
            "note": ONE_IMAGE if settings.training.k_shot == 1 else "",
        }


def open_parts(places: Sequence[Path], *, engine: str | None = None, threads: int | None = None) -> tuple[Part, ...]:
    """Open the detectors of files and folders, in their order; heads of one tower share it.

    A part is called as its class; where several are of one class, as its file without the suffix.

    Args:
        places: exported files, or folders that hold some; a tower among them is no part.
        engine: as of `Session`.
        threads: the same.

    Raises:
        InputError: a file cannot be opened, decides nothing or needs a region of each image, there is none, or two have
            one name.
    """
    files = list({file.resolve(): file for place in places for file in _files(place)}.values())
    sessions = open_sessions(files, engine=engine, threads=threads)
    if not sessions:
        raise InputError(f"{places[0]} is a tower, an image encoder alone: give the file of a detector")
    for session in sessions:
        check_decides(session.metadata, session.path)
        if session.metadata.settings.picture.region == OWN_REGION:
            raise InputError(
                f"{session.path} learned from pictures with a region each, which nobody can send: use promptad predict"
            )
    named = name_parts([(session.path, session.metadata.class_name, session.path.stem) for session in sessions])
    return tuple(map(Part, named, sessions))


def _files(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    found = sorted(file for file in place.iterdir() if file.suffix in SUFFIXES)
    if not found:
        raise InputError(f"{place} holds no exported detector, {' or '.join(SUFFIXES)}: make one with promptad export")
    yield from found
