"""Silence for libraries whose log lines a user can do nothing about."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_logging(level: int = logging.ERROR) -> Iterator[None]:
    """Silence log lines up to a level: what fails becomes a one-line error of ours."""
    before = logging.root.manager.disable
    logging.disable(level)
    try:
        yield
    finally:
        logging.disable(before)
