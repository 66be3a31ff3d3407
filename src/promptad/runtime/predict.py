"""Predict unlabelled images, batch by batch, into records."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
from PIL import Image

from promptad.data.images import ImageLike, read_each, read_image
from promptad.data.squares import square_image
from promptad.errors import InputError
from promptad.runtime.metadata import Metadata
from promptad.runtime.predictions import PredictionRecord
from promptad.runtime.regions import find_regions
from promptad.settings import BATCH_SIZE
from promptad.structures import ANOMALY, Prediction


class Predictor(Protocol):
    """What predicts: a detector of a checkpoint, or an exported one."""

    @property
    def metadata(self) -> Metadata:
        """What is known of it."""

    def predict(self, images: Sequence[Image.Image], batch_size: int) -> Prediction:
        """Predict images, which may already be the square that its backbone is given."""


class Loaded(NamedTuple):
    """An image that could be read."""

    size: tuple[int, int]  # width and height of the upright original
    square: Image.Image  # the backbone's
    is_blank: bool  # of one colour throughout


def predict(
    predictor: Predictor, paths: Sequence[Path], batch_size: int = BATCH_SIZE
) -> Iterator[tuple[PredictionRecord, np.ndarray | None]]:
    """Yield the record of each image, in their order, with its anomaly map [resolution, resolution].

    An image that cannot be read has its error in its record, and no map. One batch is in memory at a time.
    """
    known = predictor.metadata
    load = partial(load_image, side=known.resize, bit_depth=known.settings.bit_depth)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), batch_size):
            batch = paths[start : start + batch_size]
            loaded = list(read_each(pool, load, batch))
            yield from predict_loaded(predictor, [str(path) for path in batch], loaded)


def load_image(image: ImageLike, side: int, bit_depth: int | None) -> Loaded | InputError:
    """Read an image and resize it to the square of `side` pixels; return the error if it cannot be read."""
    try:
        read = read_image(image, bit_depth)
    except InputError as error:
        return error
    bands = cast(tuple[tuple[int, int], ...], read.getextrema())  # of RGB: lowest and highest value of each
    return Loaded(read.size, square_image(read, side, side), all(low == high for low, high in bands))


def predict_loaded(
    predictor: Predictor, names: Sequence[str], loaded: Sequence[Loaded | InputError]
) -> Iterator[tuple[PredictionRecord, np.ndarray | None]]:
    """Predict images together, those that could be read, and yield the record of each with its map."""
    known, squares = predictor.metadata, [read.square for read in loaded if isinstance(read, Loaded)]
    prediction = predictor.predict(squares, len(squares)) if squares else None
    rows = iter(range(len(squares)))
    for name, read in zip(names, loaded, strict=True):
        if isinstance(read, InputError) or prediction is None:
            yield PredictionRecord(name, error=str(read)), None
        elif np.isfinite(prediction.raw_score[row := next(rows)]):
            yield _record(known, name, read, prediction, row), prediction.anomaly_map[row]
        else:
            error = "its score is not a number: the detector or the backbone's weights are damaged"
            yield PredictionRecord(name, error=error), None


def _record(known: Metadata, name: str, image: Loaded, prediction: Prediction, row: int) -> PredictionRecord:
    anomaly_map = prediction.anomaly_map[row]
    return PredictionRecord(
        path=name,
        label=ANOMALY if image.is_blank else prediction.label[row],
        score=float(prediction.score[row]),
        raw_score=float(prediction.raw_score[row]),
        threshold=prediction.threshold,
        max_score=float(anomaly_map.max()),
        regions=find_regions(anomaly_map, known.canvas_size, *image.size),
        explanation=prediction.explanations[row],
        is_blank=image.is_blank,
    )
