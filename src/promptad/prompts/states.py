"""Manual abnormal states: what can be wrong with a part, in words, grouped by meaning."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from promptad.errors import InputError


@dataclass(frozen=True)
class StateGroup:
    """Phrases of one meaning, such as "hole": each holds one {} for the part's name."""

    name: str
    phrases: tuple[str, ...]


@cache
def _written() -> dict[str, Any]:
    states: dict[str, Any] = json.loads((files(__package__) / "states.json").read_text(encoding="utf-8"))
    return states


def class_words(class_name: str) -> str:
    """Return what a class is called in a prompt.

    >>> class_words("metal_nut"), class_words("pcb1")
    ('metal nut', 'printed circuit board')
    """
    return str(_written()["names"].get(class_name, class_name.replace("_", " ")))


@cache
def known_parts() -> tuple[str, ...]:
    """Return what the classes are called that states are written for, each name once, sorted."""
    states = _written()
    return tuple(sorted({class_words(name) for name in (*states["mvtec"], *states["visa"])}))


def state_groups(class_name: str, own: Sequence[str] = ()) -> tuple[StateGroup, ...]:
    """Return the groups of manual states of a class: the user's `own` if he gives any, else the written ones."""
    return own_states(own) if own else written_states(class_name)


def written_states(class_name: str) -> tuple[StateGroup, ...]:
    """Return the states of a class, its own groups before the generic ones; any other part has the generic ones."""
    states = _written()
    own: dict[str, list[str]] = states["mvtec"].get(class_name) or states["visa"].get(class_name) or {}
    generic: dict[str, list[str]] = states["generic"]
    names = [*own, *(name for name in generic if name not in own)]
    return tuple(StateGroup(name, (*own.get(name, ()), *generic.get(name, ()))) for name in names)


def own_states(phrases: Sequence[str]) -> tuple[StateGroup, ...]:
    """Return a user's states, such as "with hole" or "scratched {}", each a group of its own.

    Raises:
        InputError: an empty phrase.
    """
    groups = []
    for phrase in phrases:
        words = phrase.strip()
        if not words.replace("{}", "").strip():
            raise InputError(
                f'--states {",".join(phrases)!r}: a state is empty; write such as "with hole, with scratch"'
            )
        groups.append(StateGroup(_state_word(words), (words if "{}" in words else f"{{}} {words}",)))
    return tuple(groups)


def _state_word(phrase: str) -> str:
    """Return the word that says most: "with deep hole" is about a hole, "scratched {}" about scratched."""
    return phrase.replace("{}", "").split()[-1]
