"""Predict unlabelled images, batch by batch, into records."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from PIL import Image

from promptad.data.images import read_each, read_image
from promptad.data.transforms import square_image
from promptad.errors import InputError
from promptad.models.base import BATCH_SIZE, AnomalyDetector
from promptad.results.predictions import PredictionRecord
from promptad.runtime.regions import find_regions
from promptad.structures import ANOMALY, Prediction


class Loaded(NamedTuple):
    """An image that could be read."""

    size: tuple[int, int]  # width and height of the upright original
    square: Image.Image  # the backbone's
    is_blank: bool  # of one colour throughout


def predict(
    detector: AnomalyDetector, paths: Sequence[Path], batch_size: int = BATCH_SIZE
) -> Iterator[tuple[PredictionRecord, np.ndarray | None]]:
    """Yield the record of each image, in their order, with its anomaly map [resolution, resolution].

    An image that cannot be read has its error in its record, and no map. One batch is in memory at a time.
    """
    load = partial(_load, side=detector.backbone.resize, bit_depth=detector.settings.bit_depth)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), batch_size):
            batch = paths[start : start + batch_size]
            loaded = list(read_each(pool, load, batch))
            squares = [read.square for read in loaded if isinstance(read, Loaded)]
            prediction = detector.predict(squares, batch_size) if squares else None
            rows = iter(range(len(squares)))
            for path, read in zip(batch, loaded, strict=True):
                if isinstance(read, InputError) or prediction is None:
                    yield PredictionRecord(str(path), error=str(read)), None
                elif np.isfinite(prediction.raw_score[row := next(rows)]):
                    yield _record(detector, path, read, prediction, row), prediction.anomaly_map[row]
                else:
                    error = "its score is not a number: the detector or the backbone's weights are damaged"
                    yield PredictionRecord(str(path), error=error), None


def _load(path: Path, side: int, bit_depth: int | None) -> Loaded | InputError:
    try:
        image = read_image(path, bit_depth)
    except InputError as error:
        return error
    bands = cast(tuple[tuple[int, int], ...], image.getextrema())  # of RGB: lowest and highest value of each
    return Loaded(image.size, square_image(image, side, side), all(low == high for low, high in bands))


def _record(detector: AnomalyDetector, path: Path, image: Loaded, prediction: Prediction, row: int) -> PredictionRecord:
    anomaly_map = prediction.anomaly_map[row]
    canvas_size, _ = detector.backbone.square_of(detector.settings.scoring.resolution)
    return PredictionRecord(
        path=str(path),
        label=ANOMALY if image.is_blank else prediction.label[row],
        score=float(prediction.score[row]),
        raw_score=float(prediction.raw_score[row]),
        threshold=prediction.threshold,
        max_score=float(anomaly_map.max()),
        regions=find_regions(anomaly_map, canvas_size, *image.size),
        explanation=prediction.explanations[row],
        is_blank=image.is_blank,
    )
