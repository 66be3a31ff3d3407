"""A test split with its ground truth, and the evaluation of a detector on it. Training code does not import this."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from promptad.backbones.clip import Backbone
from promptad.data.fingerprints import files_sha256
from promptad.data.masks import read_mask
from promptad.data.transforms import central_part
from promptad.errors import InputError
from promptad.evaluation.metrics import average_precision, f1_max, image_auroc, pixel_metrics
from promptad.features import ImageFeatures
from promptad.models.anomaly_map import smooth_maps
from promptad.models.base import AnomalyDetector
from promptad.structures import Evaluation, Prediction, TestImage


@dataclass(frozen=True)
class TestSplit:
    """Features of a test split with its ground truth."""

    __test__ = False  # keeps pytest from collecting the class for its name

    images: tuple[TestImage, ...]
    features: ImageFeatures
    labels: np.ndarray  # [N] bool, anomalous
    masks: np.ndarray | None  # [N, resolution, resolution] bool; None if an anomalous image has no mask
    sha256: str  # of the files


def read_test_split(
    backbone: Backbone,
    images: Sequence[TestImage],
    resolution: int,
    batch_size: int,
    bit_depth: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
    layers: bool = False,
) -> TestSplit:
    """Encode N test images once, with `layers` for a memory bank, and read their labels and masks.

    Raises:
        InputError: an image or mask cannot be read, or all defects vanish at this resolution.
    """
    features = backbone.encode_images([p.path for p in images], batch_size, bit_depth, advance, layers)
    labels = np.array([image.is_anomalous for image in images])
    masked = all(image.mask_path for image in images if image.is_anomalous)
    masks = None
    if masked:
        with ThreadPoolExecutor() as pool:
            masks = np.stack(list(pool.map(lambda image: true_mask(backbone, image, resolution), images)))
    if masks is not None and labels.any() and not masks.any():
        raise InputError(f"`resolution` {resolution}: too small to show any of the defects; make it larger")
    return TestSplit(tuple(images), features, labels, masks, files_sha256(images))


def true_mask(backbone: Backbone, image: TestImage, resolution: int) -> np.ndarray:
    """Return the true mask [resolution, resolution] bool of a test image, on the backbone's input square."""
    if image.mask_path is None:
        return np.zeros((resolution, resolution), dtype=bool)
    canvas_size, central = backbone.square_of(resolution)
    return central_part(read_mask(image.mask_path, canvas_size, image.path), central)


def evaluate(detector: AnomalyDetector, split: TestSplit) -> tuple[Evaluation, Prediction]:
    """Evaluate a detector on a test split.

    Raises:
        InputError: the split has normal images only, or anomalous ones only.
    """
    prediction = detector.to_prediction(detector.score(split.features))
    pixel_auroc, aupro = (None, None) if split.masks is None else pixel_metrics(prediction.anomaly_map, split.masks)
    evaluation = Evaluation(
        image_auroc=image_auroc(prediction.score, split.labels),
        image_ap=average_precision(prediction.score, split.labels),
        image_f1_max=f1_max(prediction.score, split.labels),
        pixel_auroc=pixel_auroc,
        aupro=aupro,
    )
    return evaluation, prediction


def oracle_metric(detector: AnomalyDetector, split: TestSplit) -> float:
    """Return PromptAD's metric for the selection of an epoch: image AUROC or, at level pixel, pixel AUROC.

    Raises:
        InputError: the level is pixel, and the test split has no masks.
    """
    scores = detector.score(split.features)
    if detector.settings.level == "image":
        return image_auroc(scores.image.cpu().numpy(), split.labels)
    if split.masks is None:
        raise InputError(
            "`select` test-oracle at level pixel needs masks: add ground_truth/, or choose another `select`"
        )
    return pixel_metrics(smooth_maps(scores.patches, detector.settings.scoring), split.masks)[0]
