"""Predict unlabelled images, batch by batch, into records."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, Self, TypeAlias, TypeVar, cast

import numpy as np

from promptad.data.images import ImageLike, read_each, read_image
from promptad.data.reading import Reading
from promptad.data.region_of_interest import RegionOfInterest
from promptad.data.squares import square_image
from promptad.errors import InputError
from promptad.runtime.look import look_of, mean_look
from promptad.runtime.metadata import Metadata
from promptad.runtime.postprocess import Outputs, to_prediction
from promptad.runtime.predictions import PredictionRecord
from promptad.runtime.regions import find_regions
from promptad.settings import BATCH_SIZE, OWN_REGION, PictureSettings
from promptad.structures import ANOMALY, Look, Prediction

Advance: TypeAlias = Callable[[int], None]
Image = TypeVar("Image", bound=ImageLike)


class Predictor(Protocol):
    """What predicts: a detector of a checkpoint, or an exported one."""

    @property
    def metadata(self) -> Metadata:
        """What is known of it."""

    def with_picture(self, picture: PictureSettings) -> Self:
        """Return it looking at another region of pictures."""

    def run(self, squares: np.ndarray) -> Outputs:
        """Return the outputs of `runtime.postprocess` for RGB squares [N, S, S, 3] uint8."""


class Loaded(NamedTuple):
    """An image that could be read."""

    size: tuple[int, int]  # width and height of the upright original
    squares: np.ndarray  # [tiles, S, S, 3] uint8, which the backbone is given
    is_blank: bool  # of one colour throughout, as far as it counts
    look: Look
    counts: RegionOfInterest | None = None  # its own region


def predict(
    predictor: Predictor,
    paths: Sequence[Path],
    batch_size: int = BATCH_SIZE,
    masks: Path | None = None,
    advance: Advance = lambda _: None,
) -> Iterator[tuple[PredictionRecord, np.ndarray | None]]:
    """Yield the record of each image, in their order, with its anomaly map [H, W].

    An image that cannot be read has its error in its record, and no map. One batch is in memory at a time.

    Args:
        predictor: the detector.
        paths: the images.
        batch_size: squares that are predicted together; a tiled image is several.
        masks: the folder of the images' regions, where each has its own.
        advance: called with how many squares more are done.
    """
    for batch, loaded in _read_batches(predictor.metadata, paths, batch_size, masks):
        yield from predict_loaded(predictor, [str(path) for path in batch], loaded, batch_size, advance)


def _read_batches(
    known: Metadata, images: Sequence[Image], batch_size: int, masks: Path | None
) -> Iterator[tuple[Sequence[Image], list[Loaded | InputError]]]:
    """Yield images batch by batch, so many that their squares fill a batch, and as they were read."""
    load = partial(load_image, known=known, masks=masks)
    together = max(1, batch_size // known.settings.tile_count)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), together):
            batch = images[start : start + together]
            yield batch, list(read_each(pool, load, batch))


def load_image(image: ImageLike, known: Metadata, masks: Path | None = None) -> Loaded | InputError:
    """Read an image as the squares that a detector is given; return the error if it cannot be read."""
    reading = Reading.of(known.settings, masks)
    try:
        picture = read_image(image, reading.bit_depth)
        region = reading.region_of(image)
        windows = reading.windows_of(picture, image, region)
    except InputError as error:
        return error
    own = region if known.settings.picture.region == OWN_REGION else None
    # of RGB, the lowest and highest value of each band
    bands = [cast(tuple[tuple[int, int], ...], window.getextrema()) for window in windows]
    is_blank = all(low == high for of_window in bands for low, high in of_window)
    canvases = [square_image(window, known.resize, known.resize) for window in windows]
    squares = np.stack([np.asarray(square_image(canvas, known.resize, known.image_size)) for canvas in canvases])
    return Loaded(picture.size, squares, is_blank, mean_look(list(map(look_of, canvases))), own)


def predict_images(
    predictor: Predictor, images: Sequence[ImageLike], batch_size: int, masks: Path | None = None
) -> Prediction:
    """Predict N images, whose squares go through the detector `batch_size` at a time.

    `masks` is the folder of the images' regions, where each has its own.

    Raises:
        InputError: one cannot be read.
    """
    found: list[Outputs] = []
    for _, loaded in _read_batches(predictor.metadata, images, batch_size, masks):
        for read in loaded:
            if isinstance(read, InputError):
                raise read
        squares = np.concatenate([read.squares for read in loaded if isinstance(read, Loaded)])
        found += _run(predictor, squares, batch_size)
    predicted = to_prediction(_joined(found), predictor.metadata)
    reading = Reading.of(predictor.metadata.settings, masks)
    return replace(predicted, anomaly_map=reading.counted(predicted.anomaly_map, images))


def predict_loaded(
    predictor: Predictor,
    names: Sequence[str],
    loaded: Sequence[Loaded | InputError],
    batch_size: int = BATCH_SIZE,
    advance: Advance = lambda _: None,
) -> Iterator[tuple[PredictionRecord, np.ndarray | None]]:
    """Predict images together, those that could be read, and yield the record of each with its map."""
    known, squares = predictor.metadata, [read.squares for read in loaded if isinstance(read, Loaded)]
    prediction = None
    if squares:
        found = list(_run(predictor, np.concatenate(squares), batch_size, advance))
        prediction = to_prediction(_joined(found), known)
    rows = iter(range(len(squares)))
    for name, read in zip(names, loaded, strict=True):
        if isinstance(read, InputError) or prediction is None:
            advance(known.settings.tile_count)
            yield PredictionRecord(name, error=str(read)), None
        elif np.isfinite(prediction.raw_score[row := next(rows)]):
            anomaly_map = prediction.anomaly_map[row]
            if read.counts is not None:
                anomaly_map = anomaly_map * read.counts.at(known.frame, anomaly_map.shape)
            yield _record(known, name, read, prediction, row, anomaly_map), anomaly_map
        else:
            error = "its score is not a number: the detector or the backbone's weights are damaged"
            yield PredictionRecord(name, error=error), None


def _run(
    predictor: Predictor, squares: np.ndarray, batch_size: int, advance: Advance = lambda _: None
) -> Iterator[Outputs]:
    """Yield the outputs for squares [N * tiles, S, S, 3], `batch_size` of them at a time."""
    for start in range(0, len(squares), batch_size):
        batch = squares[start : start + batch_size]
        yield predictor.run(batch)
        advance(len(batch))


def _joined(found: Sequence[Outputs]) -> Outputs:
    return {name: np.concatenate([own[name] for own in found]) for name in found[0]}


def _record(
    known: Metadata, name: str, image: Loaded, prediction: Prediction, row: int, anomaly_map: np.ndarray
) -> PredictionRecord:
    return PredictionRecord(
        path=name,
        label=ANOMALY if image.is_blank else prediction.label[row],
        score=float(prediction.score[row]),
        raw_score=float(prediction.raw_score[row]),
        threshold=prediction.threshold,
        max_score=float(anomaly_map.max()),
        regions=find_regions(anomaly_map, known.frame, *image.size),
        explanation=prediction.explanations[row],
        is_blank=image.is_blank,
        look=image.look,
    )
