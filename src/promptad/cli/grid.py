"""The grid of a sweep: the settings that were given several values, and its points."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

from promptad.cli.given import Arguments, chosen_system, foreign_options, without
from promptad.cli.learning_options import LEARNING
from promptad.cli.option import Command
from promptad.cli.values import tiles
from promptad.errors import InputError
from promptad.results.search import Range
from promptad.settings import TEST_ORACLE

MOST_POINTS = 1000
LONGEST = 40  # letters of a value in a folder's name
READERS = {option.name: option.read for option in LEARNING}


@dataclass(frozen=True)
class GridPoint:
    """One setting of a sweep."""

    values: Mapping[str, str]  # in words, by the names of the options that vary
    given: Arguments

    @property
    def folder(self) -> str:
        """The name of its folder, which stays the same when other values are added to the sweep."""
        return "-".join(f"{name}_{_plain(words)}" for name, words in self.values.items())


def with_grid(given: Arguments, command: Command) -> Arguments:
    """Return what was given with options of one value as themselves, and those of several, or ranges, in the grid."""
    varied = [option.name for option in command.options if option.varied]
    if not varied:
        return given
    found = {name: tuple(chain(*value)) for name, value in given.items() if name in varied}
    grid = {name: values for name, values in found.items() if len(values) > 1 or has_range(values)}
    alone = {name: values[0] for name, values in found.items() if name not in grid}
    return {name: value for name, value in given.items() if name not in found} | alone | {"grid": grid}


def grid_points(given: Arguments) -> list[GridPoint]:
    """Return all points of the grid, the first option varying slowest.

    Raises:
        InputError: nothing varies, a value is there twice, a method does not have it, there are too many, or test
            labels would choose an epoch.
    """
    grid: Mapping[str, tuple[Any, ...]] = given["grid"]
    if not grid:
        raise InputError("nothing varies: give a setting several values, by commas, such as `n_pro` 1,3,5")
    for name, values in grid.items():
        if has_range(values):
            raise InputError(
                f"`{name}` {values[0]} is a range, which only a search looks through: add `search` optuna, or give"
                " values by commas"
            )
    if (count := math.prod(map(len, grid.values()))) > MOST_POINTS:
        raise InputError(f"{count} settings are too many: at most {MOST_POINTS}, leave out values of {_named(grid)}")
    for name, values in grid.items():
        check_once(name, values)
    return [grid_point(given, dict(zip(grid, values, strict=True))) for values in product(*grid.values())]


def has_range(values: Sequence[Any]) -> bool:
    """Whether a range is among the values of a setting."""
    return any(isinstance(value, Range) for value in values)


def check_once(name: str, values: Sequence[Any]) -> None:
    """Check that no value of a setting is there twice.

    Raises:
        InputError: one is.
    """
    if len(set(values)) < len(values):
        raise InputError(f"`{name}` {', '.join(value_in_words(name, value) for value in values)}: give each value once")


def grid_point(given: Arguments, values: Arguments) -> GridPoint:
    """Return the setting of some values of what varies.

    Raises:
        InputError: its method does not have one of them, or test labels would choose an epoch.
    """
    own = {name: value for name, value in given.items() if name != "grid"} | values
    foreign = foreign_options(own)
    for option in foreign:
        if option.name in values:
            words = f"the {chosen_system(own)} system has no such thing: leave it out, or that system"
            raise InputError(f"`{option.name}` {value_in_words(option.name, values[option.name])}: {words}")
    if own.get("select") == TEST_ORACLE:
        raise InputError(f"`select` {TEST_ORACLE}: a sweep lets no test label choose; take last or train-loss")
    return GridPoint({name: value_in_words(name, value) for name, value in values.items()}, without(own, foreign))


def value_in_words(name: str, value: Any) -> str:
    """Return a value of an option as it is typed."""
    if READERS[name] is tiles:
        return "auto" if value is None else "x".join(map(str, value))
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _plain(words: str) -> str:
    """Return words as a part of a folder's name, told from all others."""
    plain = re.sub(r"[^\w.]+", "_", words, flags=re.ASCII).strip(".")[:LONGEST]
    return plain if plain == words else f"{plain}_{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def _named(grid: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in grid)
