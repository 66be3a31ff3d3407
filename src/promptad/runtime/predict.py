"""Predict unlabelled images, batch by batch, into records."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol, Self, TypeAlias, TypeVar, cast

import numpy as np
from PIL import Image as Pillow

from promptad.data.batches import read_batches
from promptad.data.images import ImageLike, is_large, read_image, read_image_bytes
from promptad.data.reading import Reading
from promptad.data.region_of_interest import RegionOfInterest
from promptad.data.squares import packed, square_image
from promptad.errors import InputError
from promptad.runtime.look import look_of, mean_look
from promptad.runtime.metadata import Metadata
from promptad.runtime.postprocess import Outputs, to_prediction
from promptad.runtime.records import PredictionRecord
from promptad.runtime.regions import find_regions
from promptad.settings import BATCH_SIZE, OWN_REGION, PictureSettings
from promptad.structures import ANOMALY, Look, Prediction

Advance: TypeAlias = Callable[[int], None]
Item = TypeVar("Item")
_one_large = Lock()  # a large image is not decoded beside another one


class Predictor(Protocol):
    """What predicts: a detector of a checkpoint, or an exported one."""

    @property
    def metadata(self) -> Metadata:
        """What is known of it."""

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU, beside which processors read the next images."""

    def with_picture(self, picture: PictureSettings) -> Self:
        """Return it looking at another region of pictures."""

    def run(self, squares: np.ndarray) -> Outputs:
        """Return the outputs of `runtime.postprocess` for RGB squares [N, S, S, 3] uint8.

        For a second image encoder, each is packed with its square [M, M, 3]: [N, S² + M², 3].
        """


class StoredImage(Protocol):
    """An image whose file is read by whoever has it: in an object store, or in a table."""

    @property
    def name(self) -> str:
        """What its record calls it."""

    def content(self) -> bytes:
        """Return the bytes of its file.

        Raises:
            InputError: they cannot be read.
        """


class Loaded(NamedTuple):
    """An image that could be read."""

    size: tuple[int, int]  # width and height of the upright original
    squares: np.ndarray  # [tiles, S, S, 3] uint8, which the backbone is given, or packed [tiles, S² + M², 3]
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

    An image that cannot be read has its error in its record, and no map. One batch is in memory at a time,
    beside a GPU two: the next is read meanwhile.

    Args:
        predictor: the detector.
        paths: the images.
        batch_size: squares that are predicted together; a tiled image is several.
        masks: the folder of the images' regions, where each has its own.
        advance: called with how many squares more are done.
    """
    load = partial(load_image, known=predictor.metadata, masks=masks)
    for batch, loaded in _read_batches(predictor, load, paths, batch_size):
        yield from predict_loaded(predictor, [str(path) for path in batch], loaded, batch_size, advance)


def predict_stored(
    predictor: Predictor, images: Sequence[StoredImage], batch_size: int = BATCH_SIZE
) -> Iterator[tuple[PredictionRecord, np.ndarray | None]]:
    """Predict images as `predict` does, in the same batches, from the bytes of their files."""
    load = partial(_load_stored, known=predictor.metadata)
    for batch, loaded in _read_batches(predictor, load, images, batch_size):
        yield from predict_loaded(predictor, [image.name for image in batch], loaded, batch_size)


def together(known: Metadata, batch_size: int) -> int:
    """Return how many images make a batch: so many that their squares fill it, but one at least."""
    return max(1, batch_size // known.settings.tile_count)


def _read_batches(
    predictor: Predictor, load: Callable[[Item], Loaded | InputError], images: Sequence[Item], batch_size: int
) -> Iterator[tuple[Sequence[Item], list[Loaded | InputError]]]:
    """Yield images batch by batch, and as they were read; beside a GPU the next batch is read meanwhile."""
    with ThreadPoolExecutor() as pool:
        yield from read_batches(pool, load, images, together(predictor.metadata, batch_size), ahead=predictor.on_gpu)


def load_image(image: ImageLike, known: Metadata, masks: Path | None = None) -> Loaded | InputError:
    """Read an image as the squares that a detector is given; return the error if it cannot be read."""
    try:
        return _loaded(read_image(image, known.settings.bit_depth), image, known, masks)
    except InputError as error:
        return error


def _load_stored(image: StoredImage, known: Metadata) -> Loaded | InputError:
    try:
        content = image.content()
        with _one_large if is_large(content) else nullcontext():
            return _loaded(read_image_bytes(content, image.name, known.settings.bit_depth), image.name, known, None)
    except InputError as error:
        return error


def _loaded(picture: Pillow.Image, image: ImageLike, known: Metadata, masks: Path | None) -> Loaded:
    """Return a picture, which was read from an image, as the squares that a detector is given.

    Raises:
        InputError: it does not fit its region.
    """
    reading = Reading.of(known.settings, masks)
    region = reading.region_of(image)
    windows = reading.windows_of(picture, image, region)
    own = region if known.settings.picture.region == OWN_REGION else None
    # of RGB, the lowest and highest value of each band
    bands = [cast(tuple[tuple[int, int], ...], window.getextrema()) for window in windows]
    is_blank = all(low == high for of_window in bands for low, high in of_window)
    canvases = [square_image(window, known.resize, known.resize) for window in windows]
    squares = np.stack([_square(window, canvas, known) for window, canvas in zip(windows, canvases, strict=True)])
    return Loaded(picture.size, squares, is_blank, mean_look(list(map(look_of, canvases))), own)


def _square(window: Pillow.Image, canvas: Pillow.Image, known: Metadata) -> np.ndarray:
    """Return the square that a detector is given of a window, of which the backbone sees the centre of a canvas."""
    squares = [square_image(canvas, known.resize, known.image_size)]
    if (memory := known.memory) is not None:
        squares.append(square_image(window, memory.resize, memory.image_size, memory.interpolation))
    return packed(squares)


def predict_images(
    predictor: Predictor, images: Sequence[ImageLike], batch_size: int, masks: Path | None = None
) -> Prediction:
    """Predict N images, whose squares go through the detector `batch_size` at a time.

    `masks` is the folder of the images' regions, where each has its own.

    Raises:
        InputError: one cannot be read.
    """
    found: list[Outputs] = []
    load = partial(load_image, known=predictor.metadata, masks=masks)
    for _, loaded in _read_batches(predictor, load, images, batch_size):
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
