"""Selection: which epoch of a training is kept. Only the test oracle, asked for by name, may look at test labels."""

import math
from collections.abc import Callable

from promptad.detection import AnomalyDetector
from promptad.errors import InputError
from promptad.settings import TEST_ORACLE, TrainingSettings
from promptad.systems import Step

LEAST_LOSS = "train-loss"

Oracle = Callable[[AnomalyDetector], float]  # how good a detector is on the test split


class Selection:
    """Keeps one of the epochs that it is offered: the last, that of the least training loss, or the oracle's best.

    The start, epoch 0, is kept only where there is no other. Of equal epochs the first is kept, as the ancestor does.
    """

    def __init__(self, training: TrainingSettings, oracle: Oracle | None = None) -> None:
        """Take the rule from the settings.

        Raises:
            InputError: the rule is the test oracle's, and there is none.
        """
        if training.select == TEST_ORACLE and oracle is None:
            raise InputError(
                f"--select {TEST_ORACLE} needs a test split with good and defective pictures: choose another --select"
            )
        self.select = training.select
        self.oracle = oracle if training.select == TEST_ORACLE else None
        self.best = -math.inf
        self.kept: Step | None = None

    def offer(self, step: Step) -> None:
        """Keep this epoch in the place of the one kept before, if it is the better one."""
        if self.oracle is not None:
            figure = self.oracle(step.detector)
        else:
            figure = -step.loss if self.select == LEAST_LOSS else step.number
        if self.kept is None or self.kept.number == 0 or figure > self.best:
            self.best, self.kept = figure, step

    def detector(self) -> AnomalyDetector:
        """Return the detector of the kept epoch, with the thresholds of its decision."""
        assert self.kept is not None
        return self.kept.kept()

    def in_words(self) -> str:
        """Say which epoch is kept, and why."""
        assert self.kept is not None
        if self.oracle is not None:
            return f"kept epoch {self.kept.number}, the best ON THE TEST LABELS ({self.best:.4f})"
        return f"kept epoch {self.kept.number}, training loss {self.kept.loss:.4f}"
