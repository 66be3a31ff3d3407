"""An option of the command line: what it is called, sets and means."""

from collections.abc import Callable
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

    @property
    def name(self) -> str:
        """The option's name among parsed arguments."""
        return self.flag.lstrip("-").replace("-", "_").lower()
