"""The log of a training: losses, image AUROC and usage, and their trends in words."""

from statistics import fmean

from promptad.evaluation.metrics import below_chance
from promptad.settings import HEALTHY_USAGE

WINDOW = 10  # epochs between two full reports, and of the trend of the loss
STEADY_AUROC = 0.005  # a smaller change of image AUROC is no trend
STEADY_LOSS = 0.01  # relative
WORSE = 0.02  # of image AUROC: what is lost by less is noise of a few test images


class TrainingLog:
    """The history of a training, and its reports."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.losses: list[float] = []
        self.aurocs: list[float] = []
        self.usage: list[float] | None = None

    def add(self, loss: float) -> None:
        """Add an epoch by its loss."""
        self.losses.append(loss)

    def measure(self, usage: list[float] | None, auroc: float | None) -> None:
        """Add usage [K] of the normal prototypes, if any, and image AUROC, if known, of an epoch that is due."""
        self.usage = usage
        if auroc is not None:
            self.aurocs.append(auroc)

    @property
    def epoch(self) -> int:
        """The number of the last epoch; 0 is the start."""
        return len(self.losses) - 1

    def is_due(self) -> bool:
        """Whether this epoch is reported in full."""
        return self.epoch % WINDOW == 0 or self.epoch == self.epochs

    def line(self) -> str:
        """Return a short report of the epoch, for a progress bar."""
        auroc = f"i_roc {self.aurocs[-1]:.2f} " if self.aurocs else ""
        return f"{auroc}loss {self.losses[-1]:.3f}"

    def findings(self, *, from_words: bool) -> tuple[str, ...]:
        """Return what the image AUROC of labelled images says of the training, in words, if it was measured.

        `from_words` says whether prompts started from words, and the last epoch is kept: the two are compared.
        """
        if not self.aurocs:
            return ()
        first, last = self.aurocs[0], self.aurocs[-1]
        found = below_chance(last)
        if from_words and last < first - WORSE:
            found.append(
                f"what was learned ranks these pictures worse (i_roc {last:.2f}) than the starting words ({first:.2f}):"
                " fewer epochs or a larger trust keep to the words"
            )
        return tuple(found)

    def report(self) -> str:
        """Return the full report of the epoch."""
        lines = [f"Epoch {self.epoch}/{self.epochs}:"]
        if self.aurocs:
            trend = auroc_trend(self.aurocs)
            lines.append(f"  i_roc: {self.aurocs[-1]:.2f} ({trend})")
        if self.usage is not None:
            lines.append(f"  Normal proto usage: {usage_words(self.usage)}")
        lines.append(f"  Loss: {loss_trend(self.losses)}")
        return "\n".join(lines)


def auroc_trend(values: list[float]) -> str:
    """Return how the image AUROC has changed since it was last measured.

    >>> auroc_trend([0.90]), auroc_trend([0.90, 0.93]), auroc_trend([0.93, 0.931]), auroc_trend([0.93, 0.90])
    ('start', 'improving', 'steady', 'falling')
    """
    if len(values) == 1:
        return "start"
    change = values[-1] - values[-2]
    if abs(change) < STEADY_AUROC:
        return "steady"
    return "improving" if change > 0 else "falling"


def loss_trend(values: list[float]) -> str:
    """Return the trend of the loss: the mean of the last five epochs against that of the five before.

    >>> loss_trend([2.0]), loss_trend([2.0, 1.9]), loss_trend([1.0, 1.0]), loss_trend([1.0, 1.2])
    ('start', 'converging', 'converged', 'rising')
    """
    if len(values) == 1:
        return "start"
    half = min(WINDOW // 2, len(values) // 2)
    before, now = fmean(values[-2 * half : -half]), fmean(values[-half:])
    if abs(now - before) <= STEADY_LOSS * abs(before):
        return "converged"
    return "converging" if now < before else "rising"


def usage_words(usage: list[float]) -> str:
    """Return whether the normal prototypes share the patches evenly and, if not, which one has most or least.

    >>> usage_words([0.3, 0.3, 0.4]), usage_words([0.8, 0.1, 0.1])
    ('balanced', 'one-sided (prototype 1 has 80%)')
    """
    fair = 1 / len(usage)
    worst = max(range(len(usage)), key=lambda i: abs(usage[i] - fair))
    if abs(usage[worst] - fair) <= HEALTHY_USAGE * fair:
        return "balanced"
    return f"one-sided (prototype {worst + 1} has {usage[worst]:.0%})"
