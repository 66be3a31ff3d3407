"""The gallery: the worst images of a detector, scored again from its checkpoint to show their anomaly maps."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from rich.console import Console

from promptad.data.images import read_image
from promptad.data.reading import Reading, tiles_of
from promptad.errors import InputError
from promptad.evaluation.evaluator import true_mask
from promptad.models.base import AnomalyDetector
from promptad.models.registry import load_detector
from promptad.reports.run_summary import RunSummary
from promptad.results.scores import ScoredImage
from promptad.runtime.metadata import Metadata
from promptad.runtime.overlay import HEATMAP_ALPHA, faded, framed, highest_place
from promptad.runtime.predict import Predictor, predict_images
from promptad.settings import BATCH_SIZE
from promptad.structures import SCORE_THRESHOLD
from promptad.utils.progress import add_task, progress_bar

SIDE = 224  # pixels of an image in the gallery
MAX_ITEMS = 4  # images of a kind
QUALITY = 80  # of JPEG: at this one an image takes some 10 kB
SAME_SCORE = 0.01  # a larger difference is reported
DEFECT_LINE, MAP_LINE = (0, 255, 255), (255, 255, 255)


@dataclass(frozen=True)
class GalleryItem:
    """An image of the gallery; both drawings are data URLs, empty if the image can no longer be read."""

    name: str
    path: Path
    score: float  # as it was saved
    max_score: float  # the highest value of its map, as it was saved
    words: str = ""  # further notes on it
    image: str = ""  # with the outline of the true defect, if it is known
    anomaly_map: str = ""  # with the map over it, and the contour at the threshold
    note: str = ""
    marks_highest: bool = False  # whether a ring goes round the highest place of the map


@dataclass(frozen=True)
class Gallery:
    """The worst images of one class, and the settings of their detector."""

    seed: int | None = None  # None if no detector could be loaded
    misses: tuple[GalleryItem, ...] = ()
    false_alarms: tuple[GalleryItem, ...] = ()
    settings: Mapping[str, Any] | None = None
    why_empty: str = ""


def make_galleries(summary: RunSummary, device: torch.device, console: Console) -> dict[str, Gallery]:
    """Show the worst images of each class, of the first seed with scores; the backbone is loaded once."""
    galleries, backbone = {}, None
    with progress_bar(console) as progress:
        task = add_task(progress, "pictures", len(summary.classes))
        for found in summary.classes:
            progress.update(task, note=found.name)
            seed = next(iter(found.scored or found.folders))
            path = found.folders[seed].checkpoint(found.name)
            try:
                detector = load_detector(path, device, summary.system, backbone=backbone)
            except InputError as error:
                galleries[found.name] = Gallery(why_empty=str(error))
            else:
                backbone = detector.backbone
                galleries[found.name] = class_gallery(
                    detector, found.scored.get(seed, ()), seed, decides=summary.decides
                )
            progress.advance(task)
    return galleries


def class_gallery(detector: AnomalyDetector, scored: Sequence[ScoredImage], seed: int, *, decides: bool) -> Gallery:
    """Show the worst of scored images of one seed."""
    misses = tuple(render_test_item(detector, one) for one in worst_misses(scored, decides=decides))
    false_alarms = tuple(render_test_item(detector, one) for one in worst_false_alarms(scored, decides=decides))
    return Gallery(seed, misses, false_alarms, detector.settings.to_dict())


def worst_misses(scored: Sequence[ScoredImage], *, decides: bool) -> list[ScoredImage]:
    """Return the anomalous images with the lowest scores; if there is a threshold, only those that it misses."""
    missed = [one for one in scored if one.image.is_anomalous and not (decides and one.score > SCORE_THRESHOLD)]
    return sorted(missed, key=lambda one: one.score)[:MAX_ITEMS]


def worst_false_alarms(scored: Sequence[ScoredImage], *, decides: bool) -> list[ScoredImage]:
    """Return the normal images with the highest scores; if there is a threshold, only those that it rejects."""
    alarms = [one for one in scored if not one.image.is_anomalous and not (decides and one.score <= SCORE_THRESHOLD)]
    return sorted(alarms, key=lambda one: -one.score)[:MAX_ITEMS]


def render_test_item(detector: AnomalyDetector, scored: ScoredImage) -> GalleryItem:
    """Show a labelled image, named by its kind and its file, with the outline of its true defect."""
    place = scored.image
    shown = GalleryItem(f"{place.defect}/{place.path.name}", place.path, scored.score, scored.max_score)
    mask = partial(true_mask, detector.backbone, Reading.of(detector.settings), place) if place.mask_path else None
    return render_item(detector, shown, mask)


def render_item(
    predictor: Predictor,
    shown: GalleryItem,
    mask: Callable[[tuple[int, int]], np.ndarray] | None = None,
    masks: Path | None = None,
) -> GalleryItem:
    """Score an image again and draw it beside its map; one that can no longer be read has a note.

    `mask` reads its true mask [H, W] bool at a height and width, if it has one; `masks` is the folder of the images'
    regions, where each has its own.
    """
    known = predictor.metadata
    reading, shape = Reading.of(known.settings, masks), gallery_shape(known)
    try:
        image = faded(read_image(shown.path, reading.bit_depth), reading.region_of(shown.path))
        defect = None if mask is None else mask(shape)
        prediction = predict_images(predictor, [shown.path], BATCH_SIZE, masks)
    except InputError as error:
        return replace(shown, note=str(error))
    change = abs(float(prediction.score[0]) - shown.score)
    note = f"scores {prediction.score[0]:.2f} now: picture or checkpoint have changed since" * (change > SAME_SCORE)
    plain = np.asarray(framed(image, known.frame, *shape))
    anomaly_map = cv2.resize(prediction.anomaly_map[0], shape[::-1])
    place = highest_place(anomaly_map) if shown.marks_highest else anomaly_map > SCORE_THRESHOLD
    lined = outlined(heatmap(plain, anomaly_map), place, MAP_LINE)
    plain = outlined(plain, place, MAP_LINE) if shown.marks_highest else plain
    plain = plain if defect is None else outlined(plain, defect, DEFECT_LINE)
    return replace(shown, image=data_address(plain), anomaly_map=data_address(lined), note=note)


def gallery_shape(known: Metadata) -> tuple[int, int]:
    """Return height and width of images in the gallery, in the shape of maps: as large as a square of `SIDE` pixels."""
    height, width = tiles_of(known.settings.picture).map_shape(known.settings.scoring.resolution)
    longer = math.sqrt(height / width)
    return round(SIDE * longer), round(SIDE / longer)


def heatmap(picture: np.ndarray, anomaly_map: np.ndarray) -> np.ndarray:
    """Blend a map [H, W] in [0, 1] over an image [H, W, 3] uint8 in grey, always with the same colour scale."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None] / 255
    colours = colormaps["inferno"](anomaly_map)[..., :3]
    return np.asarray(255 * ((1 - HEATMAP_ALPHA) * grey + HEATMAP_ALPHA * colours) + 0.5, np.uint8)


def outlined(square: np.ndarray, region: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Draw the outline of a region [S, S] bool into a copy of an image [S, S, 3] uint8, visible on any background."""
    lines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = cv2.drawContours(square.copy(), lines, -1, (0, 0, 0), 3, cv2.LINE_AA)
    return np.asarray(cv2.drawContours(drawn, lines, -1, colour, 1, cv2.LINE_AA))


def data_address(image: np.ndarray) -> str:
    """Return an image [H, W, 3] uint8 as a data URL of a JPEG."""
    written = BytesIO()
    Image.fromarray(image).save(written, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"
