"""The command line: `promptad` and its commands, which the scripts call too."""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console

from promptad.cli.commands import RUNNERS
from promptad.cli.options import with_flags
from promptad.cli.parser import applicable, parse
from promptad.errors import InputError


class FlagConsole(Console):
    """A console that writes flags for the settings that messages name."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, with a flag for each setting in backticks."""
        super().print(*(with_flags(one) if isinstance(one, str) else one for one in objects), **options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 2 after a user's mistake, which is printed in one line (130 after Ctrl-C).

    `predict` may return 3, for what it rejected.
    """
    console = FlagConsole(highlight=False, markup=False)
    try:
        command, given = parse(sys.argv[1:] if arguments is None else arguments)
        return RUNNERS[command](applicable(given, console), console) or 0
    except InputError as error:
        return _complain(str(error), 2)
    except torch.OutOfMemoryError:
        return _complain("the GPU is out of memory: lower `batch_size` or `resolution`, or use `use_cpu` True", 2)
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept", 130)


def _complain(line: str, code: int) -> int:
    FlagConsole(stderr=True, highlight=False, markup=False).print(f"promptad: {' '.join(line.split())}", soft_wrap=True)
    return code
