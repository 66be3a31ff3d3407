"""Predictions together with their images, for display."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

from matplotlib.figure import Figure
from PIL import Image

from promptad.data.images import ImageLike, read_image
from promptad.data.reading import Reading
from promptad.runtime.overlay import faded
from promptad.runtime.regions import find_regions
from promptad.structures import ANOMALY, GOOD, WHOLE, Frame, Prediction, Region
from promptad.visualization.overlays import Overlay, draw_overlays

MAX_SHOWN = 8  # images in the figure of a notebook


@dataclass(frozen=True)
class ImagePrediction(Prediction):
    """A prediction with its images: it finds regions and draws itself."""

    images: Sequence[ImageLike] = ()  # as they were given; they are read again when they are drawn
    frame: Frame = WHOLE  # where a map lies on its image
    reading: Reading = field(default_factory=Reading)  # how the images are read

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.score)

    def regions(self, number: int) -> tuple[Region, ...]:
        """Return where image `number`, counted from 0, is anomalous, highest maximum first."""
        return find_regions(self.anomaly_map[number], self.frame, *self._image(number).size)

    def plot(self, numbers: Sequence[int] | int | None = None) -> Figure:
        """Draw images, counted from 0, with their maps, regions and scores; by default the first eight."""
        if numbers is None:
            numbers = range(min(len(self), MAX_SHOWN))
        return draw_overlays([self._overlay(number) for number in ([numbers] if isinstance(numbers, int) else numbers)])

    def _image(self, number: int) -> Image.Image:
        return read_image(self.images[number], self.reading.bit_depth)

    def _overlay(self, number: int) -> Overlay:
        image = self._image(number)
        score, anomaly_map = float(self.score[number]), self.anomaly_map[number]
        regions = find_regions(anomaly_map, self.frame, *image.size)
        explained = () if self.threshold is None else (self.label[number], self.explanations[number].reason)
        title = overlay_title(score, float(anomaly_map.max()), *explained)
        image = faded(image, self.reading.region_of(self.images[number]))
        return Overlay(image, anomaly_map, self.frame, regions, title)

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows."""
        png = BytesIO()
        self.plot().savefig(png, format="png")
        return png.getvalue()

    def __repr__(self) -> str:
        """Return a one-line summary, since printed maps would be long."""
        scores = ", ".join(f"{score:.2f}" for score in self.score[:MAX_SHOWN])
        more = ", …" if len(self) > MAX_SHOWN else ""
        threshold = "no threshold" if self.threshold is None else f"{self.label.count(ANOMALY)} rejected"
        return f"Prediction({len(self)} pictures, {threshold}; scores {scores}{more})"


def overlay_title(score: float, max_score: float, label: str = "", reason: str = "") -> str:
    """Return the title of an image: its label, if it has one, its score and, unless it is good, the reason."""
    numbers = f"score {score:.2f}, highest in the map {max_score:.2f}"
    if not label:
        return numbers
    return f"{label}, {numbers}" + f"\n{reason}" * (label != GOOD)
