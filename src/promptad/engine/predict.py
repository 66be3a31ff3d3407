"""Predict unlabelled images, batch by batch, into records."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from promptad.data.images import read_each, read_image
from promptad.data.transforms import square_image
from promptad.errors import InputError
from promptad.models.base import BATCH_SIZE, AnomalyDetector
from promptad.results.predictions import PredictionRecord
from promptad.runtime.regions import find_regions
from promptad.structures import Prediction

Loaded = tuple[tuple[int, int], Image.Image]  # width and height of the upright original, and the backbone's square


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
            squares = [square for read in loaded if isinstance(read, tuple) for square in read[1:]]
            prediction = detector.predict(squares, batch_size) if squares else None
            rows = iter(range(len(squares)))
            for path, read in zip(batch, loaded, strict=True):
                if isinstance(read, InputError) or prediction is None:
                    yield PredictionRecord(str(path), error=str(read)), None
                elif np.isfinite(prediction.raw_score[row := next(rows)]):
                    yield _record(detector, path, read[0], prediction, row), prediction.anomaly_map[row]
                else:
                    error = "its score is not a number: the detector or the backbone's weights are damaged"
                    yield PredictionRecord(str(path), error=error), None


def _load(path: Path, side: int, bit_depth: int | None) -> Loaded | InputError:
    try:
        image = read_image(path, bit_depth)
    except InputError as error:
        return error
    bands = cast(tuple[tuple[int, int], ...], image.getextrema())  # of RGB: lowest and highest value of each
    if all(low == high for low, high in bands):
        return InputError(f"{path} shows one colour throughout: check the camera, or take it out")
    return image.size, square_image(image, side, side)


def _record(
    detector: AnomalyDetector, path: Path, size: tuple[int, int], prediction: Prediction, row: int
) -> PredictionRecord:
    anomaly_map = prediction.anomaly_map[row]
    canvas_size, _ = detector.backbone.square_of(detector.settings.scoring.resolution)
    return PredictionRecord(
        path=str(path),
        label=prediction.label[row],
        score=float(prediction.score[row]),
        raw_score=float(prediction.raw_score[row]),
        threshold=prediction.threshold,
        max_score=float(anomaly_map.max()),
        regions=find_regions(anomaly_map, canvas_size, *size),
        explanation=prediction.explanations[row],
    )
