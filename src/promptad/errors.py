"""The error of a user's mistake."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave is wrong: the message names the value and the cure, in one line.

    The command line prints it without a traceback and ends with exit code 2. Our own mistakes are assertions.
    """


def check_choice(what: str, name: str, choices: Iterable[str]) -> None:
    """Refuse a name that is not among the choices, and say which one is near.

    Raises:
        InputError: the name is unknown.
    """
    known = list(choices)
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f'unknown {what}: "{name}"; {hint}choose from {", ".join(known)}')
