"""A folder of exported detectors as parts; heads of one tower share it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from promptad.data.reading import Reading
from promptad.errors import InputError
from promptad.runtime.engines import SUFFIXES
from promptad.runtime.judge import check_decides
from promptad.runtime.judge_parts import OpenedParts
from promptad.runtime.parts import Finder, Part, name_parts
from promptad.runtime.session import Session, open_sessions


def exported_files(folder: Path) -> list[Path]:
    """Return the exported files in a folder, towers too, by name."""
    return sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)


def open_exported_parts(
    files: Sequence[Path], *, engine: str | None = None, precision: str = "float32", threads: int | None = None
) -> OpenedParts:
    """Open exported detectors; what fails is named with the reason.

    Args:
        files: of detectors, and towers among them.
        engine: as of `Session`.
        precision: the same.
        threads: the same.

    Raises:
        InputError: none can be opened, or two have one name.
    """

    def opened(paths: Sequence[Path]) -> list[Session]:
        sessions = open_sessions(paths, engine=engine, precision=precision, threads=threads)
        for session in sessions:
            check_decides(session.metadata, session.path)
        return sessions

    failures: list[str] = []
    try:
        sessions = opened(files)
    except InputError:
        whole = []
        for file in files:
            try:
                opened([file])
                whole.append(file)
            except InputError as error:
                failures.append(str(error))
        sessions = opened(whole)
    if not sessions:
        raise InputError(failures[0] if failures else f"{files[0]} is a tower, an image encoder alone")
    names = name_parts([(session.path, session.metadata.class_name, session.path.stem) for session in sessions])
    parts = tuple(Part(name, session.path, session) for name, session in zip(names, sessions, strict=True))
    return OpenedParts(parts, tuple(failures), partial(_finders, names, sessions))


def _finders(names: Sequence[str], sessions: Sequence[Session]) -> list[Finder]:
    """Return what finds the part by the pictures: one for all heads of a tower that read images alike.

    Raises:
        InputError: a detector cannot tell.
    """
    groups: dict[tuple[int, Reading], list[tuple[str, Session]]] = {}
    for name, session in zip(names, sessions, strict=True):
        if "lack" not in session.head.outputs:
            raise InputError(f"`which`: {session.path} cannot tell its part from others: train it again, and export it")
        key = id(session.tower or session), Reading.of(session.metadata.settings)
        groups.setdefault(key, []).append((name, session))
    return [
        Finder(tuple(name for name, _ in own), own[0][1].metadata, partial(_lacks, [session for _, session in own]))
        for own in groups.values()
    ]


def _lacks(sessions: Sequence[Session], squares: np.ndarray) -> np.ndarray:
    """Return how much N squares lack of each session's part [N, part]."""
    tower = sessions[0].tower
    given = {"images": squares} if tower is None else tower.graph.run({"images": squares})
    return np.stack([session.head.run(given)["lack"] for session in sessions], 1)
