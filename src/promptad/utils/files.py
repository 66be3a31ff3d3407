"""Write files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from promptad.errors import InputError


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
            temporary.touch()
            yield temporary
            with temporary.open("r+b") as written:
                # Before the rename, or a power cut could leave the new name on an empty file.
                os.fsync(written.fileno())
            temporary.replace(path)
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


@contextmanager
def writable_folder(folder: Path, setting: str = "root_dir") -> Iterator[None]:
    """Make `folder` and its parents, and convert an OSError raised here or in the body into an `InputError`.

    The error names `setting` as the one to change.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(
            f"cannot write to {str(folder)!r} ({error.strerror or error}): choose another folder with `{setting}`"
        ) from error
