"""A folder that one process alone writes to."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from promptad.errors import InputError
from promptad.utils.files import writable_folder


@contextmanager
def alone(folder: Path, name: str, setting: str) -> Iterator[None]:
    """Lock a folder by a file of that name, which stays in it; the lock of a process that has died is none.

    Where filelock is not installed, or the file system has no locks, it goes on without one.

    Raises:
        InputError: another process holds it, or the folder cannot be written to.
    """
    try:
        from filelock import FileLock, Timeout  # noqa: PLC0415 the runtime does without it
    except ImportError:
        yield
        return
    with writable_folder(folder, setting):
        lock = FileLock(folder / name)
        try:
            with suppress(NotImplementedError):  # of some network file systems
                lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                f"`{setting}` {folder} is in use by another promptad: wait for its end, or choose another folder"
            ) from error
    try:
        yield
    finally:
        lock.release()
