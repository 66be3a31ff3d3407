"""Abnormal states: phrases for what can be wrong with a part, grouped by meaning; built-in states and the user's."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from promptad.errors import InputError

# Before the name of a part in normal prompts, as WinCLIP does (Jeong et al., CVPR 2023).
NORMAL_STATES = ("flawless", "perfect", "unblemished")


@dataclass(frozen=True)
class StateGroup:
    """Phrases of one meaning, such as "hole": each holds one {} for the part's name."""

    name: str
    phrases: tuple[str, ...]


@cache
def _built_in() -> dict[str, Any]:
    states: dict[str, Any] = json.loads((files(__package__) / "states.json").read_text(encoding="utf-8"))
    return states


def class_words(class_name: str) -> str:
    """Return the name of a class in a prompt.

    >>> class_words("metal_nut"), class_words("pcb1")
    ('metal nut', 'printed circuit board')
    """
    return str(_built_in()["names"].get(class_name, class_name.replace("_", " ")))


@cache
def known_parts() -> tuple[str, ...]:
    """Return the names of the classes with built-in states, each once, sorted."""
    states = _built_in()
    return tuple(sorted({class_words(name) for name in (*states["mvtec"], *states["visa"])}))


def state_groups(class_name: str, own: Sequence[str] = ()) -> tuple[StateGroup, ...]:
    """Return the groups of states of a class: the user's `own` if there are any, else the built-in ones."""
    return user_states(own) if own else built_in_states(class_name)


def built_in_states(class_name: str) -> tuple[StateGroup, ...]:
    """Return the built-in states of a class: its own groups, if there are any, then the generic ones."""
    states = _built_in()
    own: dict[str, list[str]] = states["mvtec"].get(class_name) or states["visa"].get(class_name) or {}
    generic: dict[str, list[str]] = states["generic"]
    names = [*own, *(name for name in generic if name not in own)]
    return tuple(StateGroup(name, (*own.get(name, ()), *generic.get(name, ()))) for name in names)


def user_states(phrases: Sequence[str]) -> tuple[StateGroup, ...]:
    """Return a user's states, such as "with hole" or "scratched {}", each a group of its own.

    Raises:
        InputError: an empty phrase.
    """
    groups = []
    for phrase in phrases:
        words = phrase.strip()
        if not words.replace("{}", "").strip():
            raise InputError(
                f'`states` {",".join(phrases)!r}: a state is empty; write such as "with hole, with scratch"'
            )
        groups.append(StateGroup(_head_word(words), (words if "{}" in words else f"{{}} {words}",)))
    return tuple(groups)


def _head_word(phrase: str) -> str:
    """Return the head word of a phrase: "with deep hole" is about a hole, "scratched {}" about scratched."""
    return phrase.replace("{}", "").split()[-1]
