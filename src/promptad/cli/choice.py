"""From options to the saved results that are asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptad.cli.given import Arguments
from promptad.errors import InputError
from promptad.reports.comparison.rows import Choice


def make_choice(given: Arguments, k_shot: tuple[int, ...]) -> Choice:
    """Return which saved results are asked for."""
    return Choice(
        given["dataset"],
        given["root_dir"] or (Path("result"),),
        given["baseline"],
        given["ours"],
        k_shot,
        given["seeds"] or (),
        given["classes"] or (),
        given["select"],
    )


def check_alone(given: Arguments, usual: Mapping[str, Any], words: str) -> None:
    """Check that no options are given that do not go with another one, which the `words` name with the cure.

    `usual` are their defaults.
    """
    for name, default in usual.items():
        if given[name] != default:
            raise InputError(f"`{name}` {given[name]} does not go with {words}")
