"""Model selection: which epoch is kept. Only the test oracle, which must be named explicitly, uses test labels."""

import math
from collections.abc import Callable

from promptad.errors import InputError
from promptad.models.base import AnomalyDetector, EpochState
from promptad.settings import TEST_ORACLE, TrainingSettings

LEAST_LOSS = "train-loss"

Oracle = Callable[[AnomalyDetector], float]  # metric of a detector on the test split, higher is better


class ModelSelection:
    """Keeps one epoch: the last, the one with the lowest training loss, or the test oracle's best.

    Epoch 0, the start, is kept only if there is no other. Of equal epochs the first is kept, as in PromptAD's code.
    """

    def __init__(self, training: TrainingSettings, oracle: Oracle | None = None) -> None:
        """Take the rule from the settings.

        Raises:
            InputError: the rule is the test oracle, and none is given.
        """
        if training.select == TEST_ORACLE and oracle is None:
            raise InputError(
                f"`select` {TEST_ORACLE} needs a test split with good and defective pictures: choose another `select`"
            )
        self.select = training.select
        self.oracle = oracle if training.select == TEST_ORACLE else None
        self.best_value = -math.inf
        self.best: EpochState | None = None

    def update(self, state: EpochState) -> None:
        """Keep this epoch if it is better than the best one."""
        if self.oracle is not None:
            value = self.oracle(state.detector)
        else:
            value = -state.loss if self.select == LEAST_LOSS else state.number
        if self.best is None or self.best.number == 0 or value > self.best_value:
            self.best_value, self.best = value, state

    def detector(self) -> AnomalyDetector:
        """Return the detector of the best epoch, with its thresholds."""
        assert self.best is not None
        return self.best.final_detector()

    def in_words(self) -> str:
        """Return which epoch is kept, and why."""
        assert self.best is not None
        if self.oracle is not None:
            return f"kept epoch {self.best.number}, the best ON THE TEST LABELS ({self.best_value:.4f})"
        return f"kept epoch {self.best.number}, training loss {self.best.loss:.4f}"
