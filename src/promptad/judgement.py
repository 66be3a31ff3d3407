"""Judgements: predictions beside the pictures that they are of, to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from matplotlib.figure import Figure

from promptad.data.pictures import ImageLike, read_picture
from promptad.overlays import Overlay, draw_overlays
from promptad.records import ANOMALY, Prediction, Region
from promptad.regions import find_regions

MOST_SHOWN = 8  # pictures of a notebook's picture


@dataclass(frozen=True)
class Judgement(Prediction):
    """A prediction that can be plotted and that names regions."""

    pictures: Sequence[ImageLike] = ()  # as they were given; they are read again when they are drawn
    whole: int = 0  # pixels a side of the square whose central part a map shows

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.score)

    def regions(self, number: int) -> tuple[Region, ...]:
        """Return where picture `number`, counted from 0, is anomalous, the highest peak first."""
        return find_regions(self.map[number], self.whole, *read_picture(self.pictures[number]).size)

    def plot(self, numbers: Sequence[int] | int | None = None) -> Figure:
        """Draw pictures, counted from 0, with their maps, regions and scores; by default the first eight."""
        if numbers is None:
            numbers = range(min(len(self), MOST_SHOWN))
        return draw_overlays([self._overlay(number) for number in ([numbers] if isinstance(numbers, int) else numbers)])

    def _overlay(self, number: int) -> Overlay:
        picture = read_picture(self.pictures[number])
        regions = find_regions(self.map[number], self.whole, *picture.size)
        return Overlay(picture, self.map[number], self.whole, regions, title_of(self, number))

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows."""
        png = BytesIO()
        self.plot().savefig(png, format="png")
        return png.getvalue()

    def __repr__(self) -> str:
        """Return it in one line: maps in full would fill screens."""
        scores = ", ".join(f"{score:.2f}" for score in self.score[:MOST_SHOWN])
        more = ", …" if len(self) > MOST_SHOWN else ""
        threshold = "no threshold" if self.threshold is None else f"{self.decision.count(ANOMALY)} rejected"
        return f"Judgement({len(self)} pictures, {threshold}; scores {scores}{more})"


def title_of(prediction: Prediction, number: int) -> str:
    """Return what is written over a picture: its decision, its score and, if it is rejected, what it is like."""
    score = f"score {prediction.score[number]:.2f}, highest in the map {prediction.map[number].max():.2f}"
    if prediction.threshold is None:
        return score
    if prediction.decision[number] != ANOMALY:
        return f"good, {score}"
    return f"anomaly, {score}\nmost like: {', '.join(prediction.explanations[number].most_like)}"
