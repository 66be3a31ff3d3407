"""Evaluation: the one room that reads test labels, to measure a detector and for nothing else."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from promptad.backbone.clip import Backbone
from promptad.data.geometry import central_part
from promptad.data.pictures import read_mask, read_picture
from promptad.detection import AnomalyDetector
from promptad.errors import InputError
from promptad.metrics import average_precision, f1_max, image_auroc, pixel_metrics
from promptad.records import Evaluation, ImageFeatures, Prediction, TestPicture


@dataclass(frozen=True)
class TestSplit:
    """A test split as features, with what is true of it."""

    __test__ = False  # keeps pytest from collecting the class for its name

    pictures: tuple[TestPicture, ...]
    features: ImageFeatures
    labels: np.ndarray  # [N] bool, anomalous
    masks: np.ndarray | None  # [N, resolution, resolution] bool; None where a defective picture has no mask
    sha256: str  # of the files


def read_test_split(
    backbone: Backbone,
    pictures: Sequence[TestPicture],
    resolution: int,
    batch_size: int,
    advance: Callable[[int], None] = lambda _: None,
    taps: bool = False,
) -> TestSplit:
    """Encode N test pictures once, with `taps` if a memory bank will be asked, and read their labels and masks.

    Raises:
        InputError: a picture or mask cannot be read, or a map of this resolution could show no defect.
    """
    features = backbone.encode_pictures([p.path for p in pictures], batch_size, read_picture, advance, taps)
    labels = np.array([picture.is_anomalous for picture in pictures])
    masked = all(picture.mask_path for picture in pictures if picture.is_anomalous)
    masks = None
    if masked:
        with ThreadPoolExecutor() as pool:
            masks = np.stack(list(pool.map(lambda picture: true_mask(backbone, picture, resolution), pictures)))
    if masks is not None and labels.any() and not masks.any():
        raise InputError(f"--resolution {resolution}: too small to show any of the defects; make it larger")
    return TestSplit(tuple(pictures), features, labels, masks, files_sha256(pictures))


def files_sha256(pictures: Sequence[TestPicture]) -> str:
    """Return the SHA-256 of the files of a test split, pictures and masks: it tells apart splits of one name.

    Raises:
        InputError: a file cannot be read.
    """
    files = [file for picture in pictures for file in (picture.path, picture.mask_path) if file]
    try:
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    except OSError as error:
        raise InputError(f"cannot open picture {error.filename}: {error.strerror}; check the path") from error
    labels = [picture.defect for picture in pictures]
    return hashlib.sha256("\n".join([*labels, *digests]).encode()).hexdigest()


def true_mask(backbone: Backbone, picture: TestPicture, resolution: int) -> np.ndarray:
    """Return where a test picture is defective [resolution, resolution], on the square that the backbone sees."""
    if picture.mask_path is None:
        return np.zeros((resolution, resolution), dtype=bool)
    whole, central = backbone.square_of(resolution)
    return central_part(read_mask(picture.mask_path, whole, picture.path), central)


def evaluate(detector: AnomalyDetector, split: TestSplit) -> tuple[Evaluation, Prediction]:
    """Measure a detector on a test split.

    Raises:
        InputError: the split has good pictures only, or defective ones only.
    """
    prediction = detector.to_prediction(detector.score(split.features))
    pixel_auroc, aupro = (None, None) if split.masks is None else pixel_metrics(prediction.map, split.masks)
    evaluation = Evaluation(
        image_auroc=image_auroc(prediction.score, split.labels),
        image_ap=average_precision(prediction.score, split.labels),
        image_f1_max=f1_max(prediction.score, split.labels),
        pixel_auroc=pixel_auroc,
        aupro=aupro,
    )
    return evaluation, prediction


def oracle_figure(detector: AnomalyDetector, split: TestSplit) -> float:
    """Return what the ancestor chooses an epoch by: the AUROC of test images or, at level pixel, of their pixels.

    Raises:
        InputError: the level is pixel, and the test split has no masks.
    """
    scores = detector.score(split.features)
    if detector.settings.level == "image":
        return image_auroc(scores.image.cpu().numpy(), split.labels)
    if split.masks is None:
        raise InputError(
            "--select test-oracle at level pixel needs masks: add ground_truth/, or choose another --select"
        )
    return pixel_metrics(detector.to_prediction(scores).map, split.masks)[0]
