"""Have the pictures changed? Light, camera or part, told from the lines of their predictions, in the order they came.

A line of parts has some defective ones, which change no median. So what is looked at is the last pictures together: how
many are rejected, how far they are from the support images, how light and how sharp they are.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import comb, log
from statistics import median

from promptad.runtime.records import PredictionRecord
from promptad.structures import Look

WINDOW, LEAST = 50, 20  # the last pictures that are looked at; with fewer than these nothing is said
RECALLED = 5 * WINDOW  # the last pictures of an earlier run that are looked at again
USUAL_SHARE = 0.25  # of rejected pictures, and of far ones, which a line of parts may have on bad days
LEVEL = 1e-5  # of the test whether they are more
FAR = 1.5  # a distance above it is far: 1 is that of the farthest new good image
FROM_SUPPORT = 1.3  # times as light or sharp as any support image is a change
ENDED = 0.7  # of a limit: a change has ended when a whole window of pictures was below it
FROM_FIRST = {"brightness": 1.2, "sharpness": 1.15}  # times as much as the first pictures is a change
WORDS = {"brightness": ("lighter", "darker"), "sharpness": ("sharper", "less sharp")}
KINDS: dict[str, Callable[[PredictionRecord], bool]] = {  # of pictures, whose share is compared
    "rejected": lambda record: record.is_anomalous,
    "far": lambda record: record.distance is not None and record.distance > FAR,
}
CURE = (
    "look at light, camera and part; if all is as it should be, teach it by promptad confirm, or learn from new good"
    " pictures"
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
        self._left = 0  # pictures that have left the window, and below how many of each kind
        self._before = dict.fromkeys(KINDS, 0)
        self._told: dict[str, int] = {}  # kinds of change that last: how many pictures they have not been seen for
        self._since_told = WINDOW
        self.rejected: float | None = None
        self.distance: float | None = None
        self.brightness: float | None = None

    def add(self, record: PredictionRecord) -> str | None:
        """Follow the next picture; return a line for the user if they have changed. Unreadable ones are no pictures."""
        if record.error:
            return None
        self._follow(record)
        if len(self._window) < LEAST:
            return None
        return self._news({kind: change for kind, change in self._measured() if change is not None}, record)

    def recall(self, records: Iterable[PredictionRecord]) -> None:
        """Follow the pictures of an earlier run, of which all is told; only the last ones are looked at again."""
        last: deque[PredictionRecord] = deque(maxlen=RECALLED)
        for record in (record for record in records if not record.error):
            if len(last) == RECALLED:
                self._follow(last[0])
            last.append(record)
        for record in last:
            self.add(record)

    def _follow(self, record: PredictionRecord) -> None:
        if len(self._window) == WINDOW:
            self._left += 1
            for kind, is_of in KINDS.items():
                self._before[kind] += is_of(self._window[0])
        self._window.append(record)
        self._since_told += 1
        if record.look is not None and len(self._first) < WINDOW:
            self._first.append(record.look)

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
        for name, words in WORDS.items():
            values = [getattr(own.look, name) for own in self._window if own.look is not None]
            if len(values) < LEAST:
                continue
            if name == "brightness":
                self.brightness = median(values)
            learned = [getattr(look, name) for look in self._looks]
            if learned:
                yield f"{name} learned", _moved(values, learned, FROM_SUPPORT, words, "those learned from")
            if len(self._first) == WINDOW:
                first = [median(getattr(look, name) for look in self._first)]
                yield f"{name} first", _moved(values, first, FROM_FIRST[name], words, f"the first {WINDOW}")

    def _of_rejected(self) -> Change:
        excess, count, total = self._compared("rejected")
        self.rejected = count / total
        return Change(excess, f"{count} of the last {total} are rejected, which is right only if they are defective")

    def _of_distance(self) -> Change | None:
        known = [record.distance for record in self._window if record.distance is not None]
        if len(known) < LEAST:
            return None
        self.distance = median(known)
        excess, count, total = self._compared("far")
        words = f"{count} of the last {total} are farther from those learned from than good ones may be"
        return Change(excess, f"{words} ({self.distance:.1f} times)")

    def _compared(self, kind: str) -> tuple[float, int, int]:
        """Return how many of the last pictures are of a kind, behind that as a share of how many usually may be."""
        total, count = len(self._window), sum(KINDS[kind](record) for record in self._window)
        usual = max(USUAL_SHARE, self._before[kind] / max(self._left, 1))
        return count / most_usual(total, usual), count, total


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
    values: Sequence[float], known: Sequence[float], limit: float, words: tuple[str, str], whose: str
) -> Change | None:
    """Return how much more or less the median of values is than any known one, of what it may be (by logarithms)."""
    now = median(values)
    if min(known) <= 0 or now <= 0:  # black, or of one colour
        return None
    more, less = now / max(known), min(known) / now
    if more >= less:
        return Change(log(more) / log(limit), f"they are {words[0]} than {whose} ({more:.2f} times)")
    return Change(log(less) / log(limit), f"they are {words[1]} than {whose} ({1 / less:.2f} times)")
