"""What a search looks through, and what it has found: its ranges, its trials, and who chose."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from promptad.errors import InputError
from promptad.results.columns import METRICS, Metric
from promptad.results.sweep import in_words

CHOSEN_BY_REPORTED = "test-oracle: chosen by the labels that it is measured on"
DIGITS = 4  # significant ones of a number that is proposed


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both with it; whole ones if `low` is an int; even in logarithm if `log`."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.low}:{self.high}{':log' * self.log}"

    def check(self, name: str) -> None:
        """Check that there is something to look through.

        Raises:
            InputError: an end is no number, the lower one is not below the upper one, or has no logarithm.
        """
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise InputError(f"`{name}` {self}: both ends of a range must be numbers")
        if self.low == self.high:
            raise InputError(f"`{name}` {self}: one value is no range, give a lower and an upper end")
        if self.low > self.high:
            raise InputError(f"`{name}` {self}: the lower end comes first, such as {self.high}:{self.low}")
        if self.log and self.low <= 0:
            raise InputError(f"`{name}` {self}: {self.low} has no logarithm, start above 0 or leave out :log")

    def rounded(self, value: float) -> float:
        """Return a value as it is trained with: with few digits, which its folder is named by, and in the range."""
        if isinstance(self.low, int):
            return int(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class Trial:
    """One setting that a search has tried."""

    number: int  # from 1
    values: Mapping[str, str]  # in words, by the names of the settings that vary
    folder: str  # of its results, below the sweep's
    objective: float | None = None  # in percent; None if it could not be trained
    seconds: float = 0.0  # of its trainings
    failure: str = ""  # why it could not be trained

    @property
    def name(self) -> str:
        """Its values in words."""
        return in_words(self.values)


@dataclass(frozen=True)
class Objective:
    """The number that a search goes by, and what it is measured on."""

    column: str  # of the table of results
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    is_of_reported: bool  # whether these classes are reported, too: then their test labels chose

    @property
    def metric(self) -> Metric:
        """Which number of a row it is the mean of."""
        return next(metric for metric in METRICS if metric.column == self.column)

    @property
    def words(self) -> str:
        """It in words, such as "mean I-AUROC of carpet, grid (seed 111)"."""
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        return f"mean {self.metric.title} of {', '.join(self.classes)} ({seeds})"

    @property
    def choice(self) -> str:
        """Whose labels chose, in words."""
        if self.is_of_reported:
            return CHOSEN_BY_REPORTED
        return f"chosen by {self.words}, {'which are' if len(self.classes) > 1 else 'which is'} not reported"


@dataclass(frozen=True)
class Search:
    """A search that is done."""

    objective: Objective
    looked_through: Mapping[str, str]  # the range, or the values, of each setting that varies, as typed
    scales: Mapping[str, tuple[str, ...] | Range]  # the same for figures: the values in words, or the range
    search_seed: int
    trials: tuple[Trial, ...]

    @property
    def chosen(self) -> Trial:
        """The trial of the best objective, of several the first.

        Raises:
            InputError: none could be trained.
        """
        done = [trial for trial in self.trials if trial.objective is not None]
        if not done:
            raise InputError(f"none of {len(self.trials)} trials could be trained; {self.trials[0].failure}")
        return max(done, key=self.gain)

    @property
    def first(self) -> Trial:
        """The trial that the chosen one is compared with."""
        return self.trials[0]

    def gain(self, trial: Trial) -> float:
        """Return the objective of a trial that was trained, the larger the better."""
        assert trial.objective is not None
        return -trial.objective if self.objective.metric.lower_is_better else trial.objective
