"""The gallery: the pictures that a detector judged worst, scored again from its checkpoint to show their maps."""

import base64
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

from promptad.data.geometry import square_picture
from promptad.data.pictures import read_picture
from promptad.detection import AnomalyDetector
from promptad.errors import InputError
from promptad.evaluation import true_mask
from promptad.progress import add_task, progress_bar
from promptad.report.findings import THRESHOLD, Findings
from promptad.saved_scores import ScoredPicture
from promptad.systems import load_detector

SIDE = 224  # pixels of a picture in the gallery
MOST = 4  # pictures of a kind
QUALITY = 80  # of JPEG: at this one a picture takes some 10 kB
HEAT = 0.6  # how much of a map lies over its picture
SAME_SCORE = 0.01  # a larger difference is told
DEFECT_LINE, MAP_LINE = (0, 255, 255), (255, 255, 255)


@dataclass(frozen=True)
class Shown:
    """A picture of the gallery; both images are data addresses, empty where the picture cannot be read any more."""

    name: str
    path: Path
    score: float  # as it was saved
    peak: float  # the highest point of its map, as it was saved
    words: str = ""  # what else is said of it
    picture: str = ""  # with the outline of the true defect, where it is known
    heat: str = ""  # with the map over it, and its line at the threshold
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """The worst pictures of one class, and the settings of the detector that judged them."""

    seed: int | None = None  # None where no detector could be asked
    misses: tuple[Shown, ...] = ()
    false_alarms: tuple[Shown, ...] = ()
    settings: Mapping[str, Any] | None = None
    why_empty: str = ""


def make_galleries(findings: Findings, device: torch.device, console: Console) -> dict[str, Gallery]:
    """Show the worst pictures of each class, of the first seed with scores; the backbone is loaded once."""
    galleries, backbone = {}, None
    with progress_bar(console) as progress:
        task = add_task(progress, "pictures", len(findings.classes))
        for found in findings.classes:
            progress.update(task, note=found.name)
            seed = next(iter(found.scored or found.folders))
            path = found.folders[seed].checkpoint(found.name)
            try:
                detector = load_detector(path, device, findings.system, backbone=backbone)
            except InputError as error:
                galleries[found.name] = Gallery(why_empty=str(error))
            else:
                backbone = detector.backbone
                galleries[found.name] = judged(detector, found.scored.get(seed, ()), seed, decides=findings.decides)
            progress.advance(task)
    return galleries


def judged(detector: AnomalyDetector, scored: Sequence[ScoredPicture], seed: int, *, decides: bool) -> Gallery:
    """Show the worst of scored pictures of one seed."""
    misses = tuple(show_tested(detector, one) for one in worst_misses(scored, decides=decides))
    false_alarms = tuple(show_tested(detector, one) for one in worst_false_alarms(scored, decides=decides))
    return Gallery(seed, misses, false_alarms, detector.settings.to_dict())


def worst_misses(scored: Sequence[ScoredPicture], *, decides: bool) -> list[ScoredPicture]:
    """Return the defective pictures with the lowest scores, of those that the threshold misses if there is one."""
    missed = [one for one in scored if one.picture.is_anomalous and not (decides and one.score > THRESHOLD)]
    return sorted(missed, key=lambda one: one.score)[:MOST]


def worst_false_alarms(scored: Sequence[ScoredPicture], *, decides: bool) -> list[ScoredPicture]:
    """Return the good pictures with the highest scores, of those that the threshold rejects if there is one."""
    alarms = [one for one in scored if not one.picture.is_anomalous and not (decides and one.score <= THRESHOLD)]
    return sorted(alarms, key=lambda one: -one.score)[:MOST]


def show_tested(detector: AnomalyDetector, scored: ScoredPicture) -> Shown:
    """Show a labelled picture, called by its kind and its file, with the outline of its true defect."""
    place = scored.picture
    shown = Shown(f"{place.defect}/{place.path.name}", place.path, scored.score, scored.peak)
    return show(detector, shown, partial(true_mask, detector.backbone, place, SIDE) if place.mask_path else None)


def show(detector: AnomalyDetector, shown: Shown, mask: Callable[[], np.ndarray] | None = None) -> Shown:
    """Score a picture again and draw it beside its map; one that cannot be read any more is said to be so.

    `mask` reads where it is defective [SIDE, SIDE] bool, if that is known.
    """
    try:
        picture = read_picture(shown.path)
        defect = None if mask is None else mask()
    except InputError as error:
        return replace(shown, note=str(error))
    prediction = detector.predict([picture])
    change = abs(float(prediction.score[0]) - shown.score)
    note = f"scores {prediction.score[0]:.2f} now: picture or checkpoint have changed since" * (change > SAME_SCORE)
    square = np.asarray(square_picture(picture, *detector.backbone.square_of(SIDE)))
    heat = cv2.resize(prediction.map[0], (SIDE, SIDE))
    plain = square if defect is None else outlined(square, defect, DEFECT_LINE)
    lined = outlined(heated(square, heat), heat > THRESHOLD, MAP_LINE)
    return replace(shown, picture=data_address(plain), heat=data_address(lined), note=note)


def heated(square: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay a map [S, S] in [0, 1] over a picture [S, S, 3] uint8 in grey; the colours mean the same everywhere."""
    grey = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY)[..., None] / 255
    colours = colormaps["inferno"](heat)[..., :3]
    return np.asarray(255 * ((1 - HEAT) * grey + HEAT * colours) + 0.5, np.uint8)


def outlined(square: np.ndarray, region: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Draw the outline of a region [S, S] bool into a copy of a picture [S, S, 3] uint8; it is seen on every ground."""
    lines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = cv2.drawContours(square.copy(), lines, -1, (0, 0, 0), 3, cv2.LINE_AA)
    return np.asarray(cv2.drawContours(drawn, lines, -1, colour, 1, cv2.LINE_AA))


def data_address(picture: np.ndarray) -> str:
    """Return a picture [H, W, 3] uint8 as an address that holds it as a JPEG."""
    written = BytesIO()
    Image.fromarray(picture).save(written, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"
