"""The values of options: from what is typed to what is meant. All raise ValueError for anything else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from promptad.results.search import Range

MAX_NUMBERS = 10_000  # of a range


def truth(text: str) -> bool:
    """Read a yes or no as the original PromptAD writes it.

    >>> truth("True"), truth("0")
    (True, False)
    """
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]


def phrases(text: str) -> tuple[str, ...]:
    """Split states at commas.

    >>> phrases("with hole, with scratch")
    ('with hole', 'with scratch')
    """
    return tuple(phrase.strip() for phrase in text.split(","))


def names(text: str) -> tuple[str, ...]:
    """Split class names at commas; a comma too many does not matter.

    >>> names("carpet, grid,")
    ('carpet', 'grid')
    """
    return tuple(filter(None, phrases(text)))


def class_choice(text: str) -> tuple[str, ...] | None:
    """Split class names at commas; None is all classes.

    >>> class_choice("carpet, grid"), class_choice("all")
    (('carpet', 'grid'), None)
    """
    return None if text.strip() == "all" else names(text)


def alternatives(read: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Return a reader of several values by commas, or of a range of numbers by a colon; of lists, it takes one.

    >>> alternatives(int)("1,3-5"), alternatives(float)("0.1, 1"), alternatives(phrases)("with hole, bent")
    ((1, 3, 4, 5), (0.1, 1.0), (('with hole', 'bent'),))
    """

    def read_each(text: str) -> tuple[Any, ...]:
        if read in (phrases, names, shares):
            return (read(text),)
        if read in (int, float, rate) and ":" in text:
            return (number_range(text, read),)
        found = numbers(text) if read is int else tuple(map(read, names(text)))
        if not found:
            raise ValueError(text)
        return found

    read_each.__name__ = read.__name__  # which messages show
    return read_each


def number_range(text: str, read: Callable[[str], Any]) -> Range:
    """Read a lower and an upper end, and whether what lies between is even in its logarithm.

    >>> number_range("0.0005:0.01:log", float), number_range("2:5", int)
    (Range(low=0.0005, high=0.01, log=True), Range(low=2, high=5, log=False))
    """
    low, high, *scale = (part.strip() for part in text.split(":"))
    if scale not in ([], ["log"]):
        raise ValueError(text)
    return Range(read(low), read(high), log=bool(scale))


def tiles(text: str) -> tuple[int, int] | None:
    """Read rows and columns; None is what suits the pictures.

    >>> tiles("2x3"), tiles("auto")
    ((2, 3), None)
    """
    if text.lower() == "auto":
        return None
    rows, columns = map(int, text.lower().split("x"))
    return rows, columns


def shares(text: str) -> tuple[float, ...]:
    """Read numbers that are separated by commas.

    >>> shares("0.25,0.67")
    (0.25, 0.67)
    """
    return tuple(map(float, names(text)))


def rate(text: str) -> float:
    """Read a share: a number from 0 to 1, or per cent with their sign.

    >>> rate("0.01"), rate("1%"), rate("0.5 %")
    (0.01, 0.01, 0.005)
    """
    number = text.strip()
    return float(number.removesuffix("%")) / 100 if number.endswith("%") else float(number)


def numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers: one, several separated by commas, and ranges that hold both their ends.

    >>> numbers("0-2,5"), numbers("111,112")
    ((0, 1, 2, 5), (111, 112))
    """
    found: list[int] = []
    for part in names(text):
        first, _, last = part.partition("-")
        if int(last or first) - int(first) >= MAX_NUMBERS:
            raise ValueError(text)
        found += range(int(first), int(last or first) + 1)
    if not found or len(set(found)) < len(found):
        raise ValueError(text)
    return tuple(found)


def folders(text: str) -> tuple[Path, ...]:
    """Split folders at commas.

    >>> [folder.as_posix() for folder in folders("result,old/result")]
    ['result', 'old/result']
    """
    return tuple(map(Path, names(text)))
