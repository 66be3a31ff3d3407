"""Have the pictures changed? Light, camera or part, told from the lines of their predictions, in the order they came.

A line of parts has some defective ones, which change no median. So what is looked at is the last pictures together: how
many are rejected, how far they are from the support images, how light and how sharp they are.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb, log
from statistics import median

from promptad.runtime.predictions import PredictionRecord
from promptad.structures import Look

WINDOW, LEAST = 50, 20  # the last pictures that are looked at; with fewer than these nothing is said
USUAL_SHARE = 0.25  # of rejected pictures, which a line of parts may have on bad days
LEVEL = 1e-5  # of the test whether more are rejected
FAR = 1.0  # the farthest distance of a new good image
FROM_SUPPORT, FROM_FIRST = 1.3, 1.15  # times as light or sharp as any support image, or the first pictures, is a change
ENDED = 0.7  # of a limit: a change has ended when a whole window of pictures was below it
LOOKS = (("brightness", "lighter", "darker"), ("sharpness", "sharper", "less sharp"))
CURE = (
    "look at light, camera and part; if all is as it should be, learn from new good pictures, or set another threshold"
)


@dataclass(frozen=True)
class Change:
    """What the last pictures have too much of."""

    excess: float  # above 1 they have changed
    words: str


class Drift:
    """Follows pictures and tells, once for each change, that they have changed.

    Args:
        looks: of the support images, as far as they are known.

    Attributes:
        rejected: the share of the last pictures that is rejected; None as long as they are too few.
        distance: the median distance of the last pictures, if it is known.
        brightness: the median brightness of the last pictures, if it is known.
    """

    def __init__(self, looks: Sequence[Look] = ()) -> None:
        self._looks = looks
        self._window: deque[PredictionRecord] = deque(maxlen=WINDOW)
        self._first: list[Look] = []  # of the first pictures
        self._before, self._rejected_before = 0, 0  # pictures that have left the window
        self._told: dict[str, int] = {}  # kinds of change that last: how many pictures they have not been seen for
        self._since_told = WINDOW
        self.rejected: float | None = None
        self.distance: float | None = None
        self.brightness: float | None = None

    def add(self, record: PredictionRecord) -> str | None:
        """Follow the next picture; return a line for the user if they have changed. Unreadable ones are no pictures."""
        if record.error:
            return None
        if len(self._window) == WINDOW:
            self._before += 1
            self._rejected_before += self._window[0].is_anomalous
        self._window.append(record)
        self._since_told += 1
        if record.look is not None and len(self._first) < WINDOW:
            self._first.append(record.look)
        if len(self._window) < LEAST:
            return None
        return self._news({kind: change for kind, change in self._measured() if change is not None}, record)

    def _news(self, changes: dict[str, Change], record: PredictionRecord) -> str | None:
        """Return the line of changes that are new; what comes right after another line belongs to the same change."""
        new = [kind for kind, change in changes.items() if change.excess > 1 and kind not in self._told]
        for kind in list(self._told):
            lasts = kind in changes and changes[kind].excess > ENDED
            self._told[kind] = 0 if lasts else self._told[kind] + 1
            if self._told[kind] == WINDOW:
                del self._told[kind]
        self._told |= dict.fromkeys(new, 0)
        if not new or self._since_told < WINDOW:
            return None
        self._since_told = 0
        seen = "; ".join(changes[kind].words for kind in new)
        return f"the pictures have changed, as seen at {record.path}: {seen}: {CURE}"

    def _measured(self) -> Iterable[tuple[str, Change | None]]:
        yield "rejected", self._of_rejected()
        yield "distance", self._of_distance()
        for name, above, below in LOOKS:
            values = [getattr(own.look, name) for own in self._window if own.look is not None]
            if len(values) < LEAST:
                continue
            if name == "brightness":
                self.brightness = median(values)
            learned = [getattr(look, name) for look in self._looks]
            if learned:
                yield f"{name} learned", _moved(values, learned, FROM_SUPPORT, above, below, "those learned from")
            if len(self._first) == WINDOW:
                first = [median(getattr(look, name) for look in self._first)]
                yield f"{name} first", _moved(values, first, FROM_FIRST, above, below, f"the first {WINDOW}")

    def _of_rejected(self) -> Change:
        total, count = len(self._window), sum(record.is_anomalous for record in self._window)
        self.rejected = count / total
        usual = max(USUAL_SHARE, self._rejected_before / max(self._before, 1))
        words = f"{count} of the last {total} are rejected, which is right only if they are defective"
        return Change(count / most_usual(total, usual), words)

    def _of_distance(self) -> Change | None:
        known = [record.distance for record in self._window if record.distance is not None]
        if len(known) < LEAST:
            return None
        self.distance = median(known)
        words = f"they are {self.distance:.1f} times as far from those learned from as good ones may be"
        return Change(self.distance / FAR, words)


def follow(drift: Drift, records: Iterable[PredictionRecord]) -> list[str]:
    """Return the lines that a drift tells of records."""
    return [line for record in records if (line := drift.add(record)) is not None]


def most_usual(total: int, share: float) -> int:
    """Return how many of `total` pictures may be rejected where a share usually is: more are hardly by chance.

    >>> most_usual(20, 0.25), most_usual(50, 0.25)
    (14, 27)
    """
    beyond = 0.0
    for count in range(total, 0, -1):
        beyond += comb(total, count) * share**count * (1 - share) ** (total - count)
        if beyond > LEVEL:
            return count
    return 0


def _moved(
    values: Sequence[float], known: Sequence[float], limit: float, above: str, below: str, whose: str
) -> Change | None:
    """Return how much more or less the median of values is than any known one, of what it may be (by logarithms)."""
    now = median(values)
    if min(known) <= 0 or now <= 0:  # black, or of one colour
        return None
    more, less = now / max(known), min(known) / now
    if more >= less:
        return Change(log(more) / log(limit), f"they are {above} than {whose} ({more:.2f} times)")
    return Change(log(less) / log(limit), f"they are {below} than {whose} ({1 / less:.2f} times)")
