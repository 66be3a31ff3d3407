"""Write files whole or not at all."""

import errno
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

from promptad.errors import InputError

PARTIAL = re.compile(r"\..+\.[0-9a-f]{32}(\.\w+)?")  # the name of a file while it is written
ABANDONED = 3600  # seconds since the last write


@contextmanager
def whole_file(path: Path, setting: str = "root_dir") -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to, and replace `path` by it at the end.

    A reader sees the old file or the new one, never a part. After an error, or Ctrl-C, the old file is untouched and
    nothing is left behind. The folder is made if needed; errors name `setting` as the one to change.

    Raises:
        InputError: the folder cannot be written to.
    """
    # The suffix is kept because writers choose a format by it; a plain new name, unlike mkstemp's, honours the umask.
    temporary = path.with_name(f".{path.stem}.{uuid4().hex}{path.suffix}")
    try:
        with writable_folder(path.parent, setting):
            _sweep(path.parent.absolute())
            temporary.touch()
            yield temporary
            with temporary.open("r+b") as written:
                # Before the rename, or a power cut could leave the new name on an empty file.
                os.fsync(written.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):  # the error that led here is the one to tell
            temporary.unlink()


def remove_partials(files: Iterable[Path]) -> None:
    """Delete those of the files that a process which was killed has left half-written, and that nobody writes now."""
    for file in files:
        with suppress(OSError):
            if PARTIAL.fullmatch(file.name) and time.time() - file.stat().st_mtime > ABANDONED:
                file.unlink()


@cache
def _sweep(folder: Path) -> None:
    """Delete the abandoned partial files in a folder, once for each process."""
    remove_partials(folder.glob(".*"))


@contextmanager
def writable_folder(folder: Path, setting: str = "root_dir") -> Iterator[None]:
    """Make `folder` and its parents, and convert an OSError raised here or in the body into an `InputError`.

    The error names `setting` as the one to change.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"a file's name below {str(folder)!r} is too long: choose a shorter `{setting}`"
            ) from error
        raise InputError(
            f"cannot write to {str(folder)!r} ({error.strerror or error}): choose another folder with `{setting}`"
        ) from error
