"""What a sweep has measured: the saved rows of each of its settings."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class MeasuredSetting:
    """One setting of a sweep."""

    values: Mapping[str, str]  # in words, by the names of the settings that vary
    folder: str  # of its results, below the sweep's
    rows: tuple[Mapping[str, str], ...]  # of the table of results, for each class and seed

    @property
    def name(self) -> str:
        """It in words, such as "n_pro 3, k_shot 2"."""
        return in_words(self.values)


def in_words(values: Mapping[str, str]) -> str:
    """Return settings with their values.

    >>> in_words({"n_pro": "3", "k_shot": "2"})
    'n_pro 3, k_shot 2'
    """
    return ", ".join(f"{name} {value}" for name, value in values.items())
