"""A command line without rich: its parser, and how it complains."""

import argparse
import logging
import re
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from promptad.errors import InputError, in_words


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaints are one line, like all others of ours."""

    def error(self, message: str) -> NoReturn:
        """Raise the complaint."""
        raise InputError(message)


def run_command(work: Callable[[], int]) -> int:
    """Do the work of a command; return its exit code, 2 after a mistake, printed in one line, or 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # where the terminal's encoding has no such letter
    warnings.filterwarnings("ignore", module="PIL")  # of large or odd images, which are read or refused in words
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    try:
        return work()
    except InputError as error:
        return _complain(str(error), 2)
    except OSError as error:
        return _complain(in_words(error), 2)
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept", 130)


def with_flags(message: str) -> str:
    """Return a message with a flag for each setting that it names in backticks.

    >>> with_flags("`max_mb` 0: must be more than 0")
    '--max-mb 0: must be more than 0'
    """
    return re.sub(r"`([a-z_]+)`", lambda named: f"--{named[1].replace('_', '-')}", message)


def _complain(line: str, code: int) -> int:
    print(f"promptad: {with_flags(' '.join(line.split()))}", file=sys.stderr)
    return code
