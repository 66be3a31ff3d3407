"""Files that are written whole."""

import os
import time
from pathlib import Path
from uuid import uuid4

from helpers import refusal

from promptad.utils.files import ABANDONED, remove_partials, whole_file


def write(path: Path) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("new")


def test_partial_files_of_killed_processes_are_swept(tmp_path: Path) -> None:
    abandoned, fresh, foreign = (
        tmp_path / name for name in (f".row.{uuid4().hex}.csv", f".map.{uuid4().hex}.png", ".hidden.csv")
    )
    for file in (abandoned, fresh, foreign):
        file.touch()
    long_ago = time.time() - ABANDONED - 10
    for file in (abandoned, foreign):
        os.utime(file, (long_ago, long_ago))
    write(tmp_path / "row.csv")
    assert {file.name for file in tmp_path.iterdir()} == {"row.csv", fresh.name, foreign.name}


def test_a_file_that_went_meanwhile_does_not_stop_the_sweep(tmp_path: Path) -> None:
    remove_partials([tmp_path / f".gone.{uuid4().hex}"])


def test_a_name_that_is_too_long_is_called_so(tmp_path: Path) -> None:
    assert f"a file's name below '{tmp_path}' is too long" in refusal(write, tmp_path / ("x" * 250))
