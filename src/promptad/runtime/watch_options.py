"""What is watched, and what is done with its pictures; checked before anything is opened."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promptad.errors import InputError, check_choice, not_installed
from promptad.runtime.rejects import WAYS
from promptad.runtime.webhook import check_address
from promptad.settings import BATCH_SIZE

SETTLE, GIVE_UP = 1.0, 10.0  # seconds


@dataclass(frozen=True)
class WatchOptions:
    """Which folder is watched, and what is done with its pictures.

    Raises:
        InputError: a value is none of those that are possible, or what it needs is not installed.
    """

    folder: Path
    output: Path  # folder for the lines and overlays
    once: bool = False  # judge what is there, and end
    settle: float = SETTLE  # seconds without a change after which a picture is complete
    give_up: float = GIVE_UP  # seconds without a change after which one that cannot be read is an error
    poll: float | None = None  # seconds between looks at a folder whose system tells of no changes
    batch_size: int = BATCH_SIZE
    rejected: str | None = None  # what is done with rejected pictures: "copy" or "move" them
    rejected_to: Path | None = None  # a folder
    webhook: str | None = None  # address that rejected lines are sent to
    webhook_all: bool = False  # send all lines
    masks: Path | None = None  # folder of the pictures' regions, where each has its own
    fail_on_anomaly: bool = False  # with `once`: return 3 after a picture that is rejected or cannot be read

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "WatchOptions":
        """Return the options of a command line, which tells nothing of masks: its detector does."""
        return cls(**{field.name: given[field.name] for field in fields(cls) if field.name != "masks"})

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_rejected()
        if self.webhook is not None:
            check_address(self.webhook)
        elif self.webhook_all:
            raise InputError("`webhook_all`: give the address with `webhook`")
        if self.fail_on_anomaly and not self.once:
            raise InputError("`fail_on_anomaly` goes with `once`: watching ends with 0 when it is stopped")
        if not self.folder.is_dir():
            raise InputError(f"no folder of pictures at {self.folder}: check the path")
        needed = ["filelock"] if self.once or self.poll else ["filelock", "watchfiles"]
        if missing := [name for name in needed if find_spec(name) is None]:
            raise not_installed(missing[0], " ".join(missing))

    def _check_numbers(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"`batch_size` {self.batch_size}: must be at least 1")
        if not 0 <= self.settle < float("inf"):
            raise InputError(f"`settle` {self.settle:g}: must be a number of seconds, at least 0")
        if not self.settle <= self.give_up < float("inf"):
            raise InputError(
                f"`give_up` {self.give_up:g}: must be a number of seconds, at least `settle` {self.settle:g}"
            )
        if self.poll is not None and not 0 < self.poll < float("inf"):
            raise InputError(f"`poll` {self.poll:g}: must be a number of seconds, more than 0")

    def _check_rejected(self) -> None:
        if self.rejected is not None:
            check_choice("rejected", self.rejected, WAYS)
        if (self.rejected is None) != (self.rejected_to is None):
            raise InputError("`rejected` and `rejected_to` go together: say copy or move, and where to")
        for name, place in (("output", self.output), ("rejected_to", self.rejected_to)):
            if place is not None and _real(self.folder).is_relative_to(_real(place)):
                raise InputError(f"`{name}` {place} is the watched folder, or above it: choose another")


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
