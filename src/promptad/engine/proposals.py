"""Proposals of settings to try next, by Optuna: of classes and labels they know one number for each trial."""

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from promptad.errors import not_installed
from promptad.results.search import Range

RANDOM_TRIALS = 5  # before the estimator has enough to go by; of any number of trials, so that more may follow

Space = Mapping[str, Range | Sequence[Any]]


def check_optuna() -> None:
    """Check that Optuna is installed.

    Raises:
        InputError: it is not.
    """
    if find_spec("optuna") is None:
        raise not_installed("Optuna", '"promptad[optuna]"')


class Proposals:
    """Proposes values, each time by all that was told before.

    The same seed, space and told numbers give the same proposals: so a search is taken up again by telling it what its
    finished trials have on disk. Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011
    (the tree-structured Parzen estimator).

    Args:
        space: the range or the values of each setting that varies.
        first: the values that are proposed first.
        seed: of the random draws.
        lower_is_better: of the numbers that are told.
    """

    def __init__(self, space: Space, first: Mapping[str, Any], seed: int, *, lower_is_better: bool) -> None:
        import optuna  # noqa: PLC0415 it comes with the extra, and takes half a second

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self._first = space, dict(first)
        self._failed = optuna.trial.TrialState.FAIL
        self._distributions = {name: _distribution(optuna, values) for name, values in space.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what some versions call experimental
            sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
        self._study = optuna.create_study(sampler=sampler, direction="minimize" if lower_is_better else "maximize")
        self._study.enqueue_trial({name: _as_told(space[name], value) for name, value in first.items()})
        self._trial: Any = None

    def ask(self) -> dict[str, Any]:
        """Return the next values to try."""
        self._trial = self._study.ask(self._distributions)
        if self._trial.number == 0:
            return self._first  # as it was given, not rounded
        return {name: _as_used(self.space[name], value) for name, value in self._trial.params.items()}

    def tell(self, objective: float | None) -> None:
        """Take what the values that were asked for last have reached; None if they could not be tried."""
        if objective is None:
            self._study.tell(self._trial, state=self._failed)
        else:
            self._study.tell(self._trial, objective)


def _distribution(optuna: Any, values: Range | Sequence[Any]) -> Any:
    if not isinstance(values, Range):
        return optuna.distributions.CategoricalDistribution(range(len(values)))  # of which any value may be
    if isinstance(values.low, int):
        return optuna.distributions.IntDistribution(values.low, values.high, log=values.log)
    return optuna.distributions.FloatDistribution(values.low, values.high, log=values.log)


def _as_told(values: Range | Sequence[Any], value: Any) -> Any:
    return value if isinstance(values, Range) else values.index(value)


def _as_used(values: Range | Sequence[Any], told: Any) -> Any:
    return values.rounded(told) if isinstance(values, Range) else values[told]
