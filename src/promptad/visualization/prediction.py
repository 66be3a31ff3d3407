"""Predictions together with their images: one by one, as a table, and for display."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from promptad.data.images import ImageLike, image_size, read_image
from promptad.data.reading import Reading
from promptad.errors import not_installed
from promptad.runtime.overlay import faded
from promptad.runtime.regions import find_regions
from promptad.structures import ANOMALY, GOOD, WHOLE, Explanation, Frame, Prediction, Region, is_without_place
from promptad.visualization.overlays import Overlay, draw_overlays

MAX_SHOWN = 8  # images in the figure of a notebook

Several: TypeAlias = slice | Sequence[int] | Sequence[bool] | np.ndarray


@dataclass(frozen=True)
class ImagePrediction(Prediction):
    """A prediction of N images, with these: a sequence of `PredictedImage`, which finds regions and draws itself.

    `prediction[0]` is that of one image; a slice, a list of numbers or a mask [N] of booleans gives a prediction of
    these images alone.
    """

    images: Sequence[ImageLike] = ()  # as they were given; they are read again when they are drawn
    frame: Frame = WHOLE  # where a map lies on its image
    reading: Reading = field(default_factory=Reading)  # how the images are read

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.score)

    @overload
    def __getitem__(self, key: int) -> "PredictedImage": ...

    @overload
    def __getitem__(self, key: Several) -> "ImagePrediction": ...

    def __getitem__(self, key: int | Several) -> "PredictedImage | ImagePrediction":
        rows = np.arange(len(self))[key if isinstance(key, slice) else _as_index(key)]
        if rows.ndim == 0:
            return PredictedImage(self._part(rows[None]))
        return self._part(rows)

    def __iter__(self) -> Iterator["PredictedImage"]:
        return (self[number] for number in range(len(self)))

    def _part(self, rows: np.ndarray) -> "ImagePrediction":
        """Return the prediction of some images, by their numbers."""
        kept = {name: getattr(self, name)[rows] for name in ("score", "anomaly_map", "raw_score")}
        images, explained = ([own[row] for row in rows] if own else () for own in (self.images, self.explanations))
        return replace(self, **kept, images=images, explanations=tuple(explained))

    def regions(self, number: int) -> tuple[Region, ...]:
        """Return where image `number`, counted from 0, is anomalous, highest maximum first."""
        image = self.images[number]
        size = image_size(Path(image)) if isinstance(image, str | Path) else self._image(number).size
        return find_regions(self.anomaly_map[number], self.frame, *size)

    def plot(self, numbers: Sequence[int] | int | None = None) -> Figure:
        """Draw images, counted from 0, with their maps, regions and scores; by default the first eight."""
        if numbers is None:
            numbers = range(min(len(self), MAX_SHOWN))
        return draw_overlays([self._overlay(number) for number in ([numbers] if isinstance(numbers, int) else numbers)])

    def to_dict(self) -> dict[str, list[Any]]:
        """Return plain data, which JSON can hold: a list for each name of `PredictedImage.to_dict`."""
        rows = [one.to_dict() for one in self]
        return {name: [row[name] for row in rows] for name in COLUMNS}

    def to_dataframe(self) -> Any:
        """Return a pandas.DataFrame with a row for each image, and the columns of `PredictedImage.to_dict`.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise not_installed("pandas", "pandas") from error
        return pandas.DataFrame(self.to_dict())

    def _image(self, number: int) -> Image.Image:
        return read_image(self.images[number], self.reading.bit_depth)

    def _overlay(self, number: int) -> Overlay:
        image = self._image(number)
        score, anomaly_map = float(self.score[number]), self.anomaly_map[number]
        regions = find_regions(anomaly_map, self.frame, *image.size)
        label, reason = ("", "") if self.threshold is None else (self.label[number], self.explanations[number].reason)
        highest = float(anomaly_map.max())
        title = overlay_title(score, highest, label, reason)
        image = faded(image, self.reading.region_of(self.images[number]))
        return Overlay(image, anomaly_map, self.frame, regions, title, is_without_place(label, highest, reason))

    def _repr_jpeg_(self) -> bytes | None:
        """Return what a notebook shows; None, which is its text, if there are no images."""
        if len(self) == 0:
            return None
        jpeg = BytesIO()  # a fifth of the size of a PNG, since it shows photographs
        self.plot().savefig(jpeg, format="jpeg", pil_kwargs={"quality": 90})
        return jpeg.getvalue()

    def __repr__(self) -> str:
        """Return a one-line summary, since printed maps would be long."""
        scores = ", ".join(f"{score:.2f}" for score in self.score[:MAX_SHOWN])
        more = ", …" if len(self) > MAX_SHOWN else ""
        threshold = "no threshold" if self.threshold is None else f"{self.label.count(ANOMALY)} rejected"
        return f"Prediction({len(self)} pictures, {threshold}; scores {scores}{more})"


@dataclass(frozen=True, repr=False, eq=False)
class PredictedImage:
    """The prediction of one image: what `ImagePrediction` has of many, as single values."""

    of_one: ImagePrediction  # of this image alone

    @property
    def image(self) -> ImageLike:
        """The image as it was given."""
        return self.of_one.images[0]

    @property
    def path(self) -> str | None:
        """Its path; None if it was not given by one."""
        images = self.of_one.images
        return str(images[0]) if images and isinstance(images[0], str | Path) else None

    @property
    def label(self) -> str:
        """Its label, "good", "anomaly" or, between two thresholds, "unsure".

        Raises:
            InputError: the method has no threshold.
        """
        return self.of_one.label[0]

    @property
    def score(self) -> float:
        """Its score in [0, 1]: 0.5 is the threshold, if there is one."""
        return float(self.of_one.score[0])

    @property
    def raw_score(self) -> float:
        """Its score before normalisation, unbounded."""
        return float(self.of_one.raw_score[0])

    @property
    def threshold(self) -> float | None:
        """The threshold of the raw score, if the method has one."""
        return self.of_one.threshold

    @property
    def anomaly_map(self) -> np.ndarray:
        """Its anomaly map [H, W] in [0, 1]."""
        anomaly_map: np.ndarray = self.of_one.anomaly_map[0]
        return anomaly_map

    @property
    def max_score(self) -> float:
        """The highest value of its anomaly map."""
        return float(self.anomaly_map.max())

    @property
    def regions(self) -> tuple[Region, ...]:
        """Where it is anomalous, as boxes in its pixels, highest maximum first."""
        return self.of_one.regions(0)

    @property
    def explanation(self) -> Explanation | None:
        """Why it has its score; None if the method does not explain."""
        return self.of_one.explanations[0] if self.of_one.explanations else None

    @property
    def reason(self) -> str | None:
        """The explanation in words."""
        return None if self.explanation is None else self.explanation.reason

    def plot(self) -> Figure:
        """Draw it with its map, regions and score."""
        return self.of_one.plot()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, which JSON can hold: all but image, map and explanation; None for what is not known."""
        plain = {
            "label": None if self.threshold is None else self.label,
            "regions": [asdict(region) for region in self.regions],
        }
        return {name: plain[name] if name in plain else getattr(self, name) for name in COLUMNS}

    def _repr_jpeg_(self) -> bytes | None:
        """Return what a notebook shows."""
        return self.of_one._repr_jpeg_()

    def __repr__(self) -> str:
        """Return a one-line summary, since a printed map would be long."""
        label = "no threshold" if self.threshold is None else self.label
        path = "" if self.path is None else f", {self.path}"
        return f"PredictedImage({label}, score {self.score:.2f}{path})"


COLUMNS = ("path", "label", "score", "raw_score", "threshold", "max_score", "regions", "reason")


def _as_index(key: Any) -> np.ndarray:
    """Return what one or several images are named by, as an index of rows."""
    index = np.asarray(key)
    if index.size == 0:
        return index.astype(int)
    if index.ndim > 1 or (index.ndim == 0 and index.dtype.kind not in "iu"):
        raise TypeError(f"{key!r} names no images: give a number, a slice, a list of numbers or a mask of booleans")
    return index


def overlay_title(score: float, max_score: float, label: str = "", reason: str = "") -> str:
    """Return the title of an image: its label, if it has one, its score and, unless it is good, the reason."""
    numbers = f"score {score:.2f}, highest in the map {max_score:.2f}"
    if not label:
        return numbers
    if is_without_place(label, max_score, reason):
        numbers = f"score {score:.2f}; no place in its map is above 0.5, the highest is {max_score:.2f} (ring)"
    return f"{label}, {numbers}" + f"\n{reason}" * (label != GOOD)
