"""An option of the command line: what it is called, sets and means; and a command: its options in groups."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """One option; `setting` is the path of what it sets, such as "training.lr", or empty if it sets nothing saved.

    A flag without dashes is a positional argument.
    """

    flag: str
    read: Callable[[str], Any]
    help: str
    setting: str = ""
    default: Any = None
    system: str = ""  # the method that it applies to, if not to all
    several: bool = False  # whether it may be given more than once
    varied: bool = False  # whether several values, by commas, make as many settings
    aliases: tuple[str, ...] = ()  # other flags for it, such as the original PromptAD's
    choices: tuple[str, ...] = ()  # what a shell completes; what is given is checked where it is used

    @property
    def name(self) -> str:
        """The option's name among parsed arguments."""
        return self.flag.lstrip("-").replace("-", "_").lower()

    @property
    def is_positional(self) -> bool:
        """Whether it is given by its place."""
        return not self.flag.startswith("-")


@dataclass(frozen=True)
class Command:
    """A command: what it is for, its options by the titles of their groups, most used first, and examples."""

    purpose: str
    groups: Mapping[str, tuple[Option, ...]]
    examples: tuple[str, ...]  # whole lines of a shell

    @property
    def options(self) -> tuple[Option, ...]:
        """All options."""
        return tuple(option for group in self.groups.values() for option in group)
