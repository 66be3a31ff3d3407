"""The error for invalid user input."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Invalid user input: the message names the value and the cure, in one line.

    A setting is named in backticks, as in "`n_pro` 0: must be a whole number of at least 1"; the command line writes
    its flag instead, prints the line without a traceback and ends with exit code 2. Programming errors are assertions.
    """


def no_checkpoint(path: object) -> InputError:
    """Return the error of a checkpoint that is not there."""
    return InputError(f"no checkpoint {path}: check its path, or train the class first")


def not_installed(package: str, install: str) -> InputError:
    """Return the error of a package that is missing; `install` is what pip is given."""
    return InputError(f"{package} is not installed: pip install {install}")


def in_words(error: OSError) -> str:
    """Return the message of an error of the operating system that nothing nearer to its cause has put in words.

    >>> in_words(PermissionError(13, "Permission denied", "parts/test"))
    'parts/test: permission denied; check the path and its rights'
    """
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return f"{error.filename or 'the output'}: {reason}; check the path and its rights"


def in_one_line(error: BaseException, most: int = 160) -> str:
    r"""Return what an error of another library says, in one line of at most so many letters; or else its kind.

    >>> in_one_line(ValueError("no such\n  tensor")), in_one_line(KeyError())
    ('no such tensor', 'KeyError')
    """
    return " ".join(str(error).split())[:most] or type(error).__name__


def check_choice(what: str, name: str, choices: Iterable[str]) -> None:
    """Check that a name is among the choices.

    Raises:
        InputError: it is not; the message suggests the nearest one.
    """
    known = list(choices)
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f'unknown {what}: "{name}"; {hint}choose from {", ".join(known)}')
