"""Silence for libraries whose log lines a user can do nothing about."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def quiet_logging(level: int = logging.ERROR) -> Iterator[None]:
    """Silence log lines up to a level: what fails becomes a one-line error of ours."""
    before = logging.root.manager.disable
    logging.disable(level)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def errors_into(file: Path) -> Iterator[None]:
    """Append what is written to standard error to a file, also what libraries write there past Python."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with file.open("ab") as log:
            os.dup2(log.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
