"""A folder of exported detectors as parts; heads of one tower share it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from promptad.errors import InputError
from promptad.runtime.engines import SUFFIXES
from promptad.runtime.judge import check_decides
from promptad.runtime.judge_parts import OpenedParts
from promptad.runtime.parts import Finder, Part, make_finders, name_parts
from promptad.runtime.session import Session, graph_inputs, open_sessions


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
    """Return what finds the part by the pictures.

    Raises:
        InputError: a detector cannot tell.
    """
    for session in sessions:
        if "lack" not in session.head.outputs:
            raise InputError(f"`which`: {session.path} cannot tell its part from others: train it again, and export it")
    return make_finders(list(zip(names, sessions, strict=True)), lambda session: session.tower or session, _lacks)


def _lacks(sessions: Sequence[Session], squares: np.ndarray) -> np.ndarray:
    """Return how much N squares lack of each session's part [N, part]."""
    tower = sessions[0].tower
    given: Mapping[str, np.ndarray] = graph_inputs(squares, sessions[0].metadata.image_size)
    given = given if tower is None else tower.graph.run(given)
    return np.stack([session.head.run(given)["lack"] for session in sessions], 1)
