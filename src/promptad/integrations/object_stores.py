"""Places in object stores, such as s3://bucket/parts, as pyarrow or else fsspec knows them; the extra is `ray`."""

import re
from importlib import import_module
from typing import Any

from promptad.errors import InputError, in_one_line, not_installed

STORE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")  # how an address begins; a drive has one letter
MOST = 200  # letters of what an error says


def is_stored(name: str) -> bool:
    """Whether a name is an address in an object store.

    >>> is_stored("s3://bucket/parts"), is_stored("parts/a.png")
    (True, False)
    """
    return bool(STORE.match(name))


def open_store(address: str) -> tuple[Any, str]:
    """Return the file system of an address, as pyarrow or else fsspec knows it, and its path there.

    Raises:
        InputError: neither knows it, or a package that it needs is not installed.
    """
    store = pyarrow_module("fs")
    try:
        try:
            filesystem, path = store.FileSystem.from_uri(address)
        except (ValueError, NotImplementedError):  # pyarrow's own errors are of the first kind
            own, path = import_module("fsspec.core").url_to_fs(address)
            filesystem = store.PyFileSystem(store.FSSpecHandler(own))
    except Exception as error:  # of each store its own
        raise InputError(f"{address} cannot be opened: {_reason(error)}") from error
    return filesystem, path


def read_stored(address: str) -> bytes:
    """Return the bytes of a file in an object store.

    Raises:
        InputError: it cannot be opened or read.
    """
    filesystem, path = open_store(address)
    try:
        with filesystem.open_input_file(path) as file:
            return bytes(file.read())
    except Exception as error:  # of each store its own
        raise InputError(f"cannot open picture {address}: {_reason(error)}") from error


def files_below(address: str) -> list[str]:
    """Return the addresses of all files below one, or itself if it is a file, sorted; hidden ones are left out.

    Raises:
        InputError: there is nothing, or the store does not answer.
    """
    filesystem, path = open_store(address)
    store = pyarrow_module("fs")
    try:
        own = filesystem.get_file_info(path)
        if own.type == store.FileType.File:
            return [address]
        found = filesystem.get_file_info(store.FileSelector(path, recursive=True))
    except Exception as error:  # of each store its own
        raise InputError(f"nothing can be read at {address}: {_reason(error)}") from error
    base, start = path.rstrip("/"), address.rstrip("/")
    inside = [info.path.removeprefix(base).lstrip("/") for info in found if info.type == store.FileType.File]
    return [f"{start}/{one}" for one in sorted(inside) if not any(part.startswith(".") for part in one.split("/"))]


def pyarrow_module(name: str) -> Any:
    """Return the module pyarrow, or the one of that name in it.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(f"pyarrow.{name}" if name else "pyarrow")
    except ImportError as error:
        raise not_installed("pyarrow", '"promptad[ray]"') from error


def _reason(error: BaseException) -> str:
    return in_one_line(error, MOST)
