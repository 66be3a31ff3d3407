"""The command line: `promptad` and its commands, which the scripts call too."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from io import TextIOWrapper
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from promptad.cli.flags import with_flags
from promptad.cli.given import applicable
from promptad.cli.parser import parse
from promptad.cli.places import check_given
from promptad.errors import InputError, in_words
from promptad.utils.threads import SAME_BITS

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # a file's name may hold codes that command a terminal


class FlagConsole(Console):
    """A console that writes flags for the settings that messages name, and no control codes that names hold."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, with a flag for each setting in backticks."""
        super().print(*(with_flags(one) if isinstance(one, str) else one for one in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render texts, rules, tables and progress bars, with the control codes of their texts as escapes."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def on_broken_pipe(self) -> None:
        """Go on without output where its reader, such as `head`, has seen enough: the work is still to be done."""
        self.quiet = True
        _drop_output()


def _drop_output() -> None:
    """Have all further output, and what is not yet written of it, go nowhere."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 it is no path on every system
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def printable(text: str) -> str:
    """Return a text with its control codes and broken letters as escapes; line breaks stay."""
    return CONTROL.sub(lambda code: repr(code[0])[1:-1], text).encode("utf-8", "backslashreplace").decode("utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 2 after a user's mistake, which is printed in one line (130 after Ctrl-C).

    `predict` may return 3, for what it rejected.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where the terminal's encoding has no such letter
    warnings.filterwarnings("ignore", module="PIL")  # of large or odd images, which are read or refused in words
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    console = FlagConsole(highlight=False, markup=False)

    def work() -> int:
        command, given = parse(sys.argv[1:] if arguments is None else arguments)
        if "grid" not in given:  # of which each point has a method of its own
            given = applicable(given, console)
        check_given(command, given)
        os.environ.setdefault(*SAME_BITS)
        from promptad.cli.commands import RUNNERS  # noqa: PLC0415 torch takes seconds, which no help should

        return RUNNERS[command](given, console) or 0

    return exit_code(work, "promptad")


def exit_code(work: Callable[[], int], program: str) -> int:
    """Return what `work` returns, or 2 after a user's mistake, which is printed in one line (130 after Ctrl-C)."""
    try:
        code = work()
        sys.stdout.flush()  # a full disk is an error here, not after the end
    except InputError as error:
        return _complain(str(error), 2, program)
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:  # it would be tried once more at the end, which has an exit code of its own
            _drop_output()
        return _complain(in_words(error), 2, program)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which need not be loaded
            raise
        line = "the GPU is out of memory: lower `batch_size` or `resolution`, or use `use_cpu` True"
        return _complain(line, 2, program)
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept", 130, program)
    return code


def _complain(line: str, code: int, program: str) -> int:
    text = f"{program}: {' '.join(line.split())}"
    FlagConsole(stderr=True, highlight=False, markup=False).print(text, soft_wrap=True)
    return code
