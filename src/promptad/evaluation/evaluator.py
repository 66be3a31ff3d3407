"""A test split with its ground truth, and the evaluation of a detector on it. Training code does not import this."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from promptad.backbones.clip import Backbone
from promptad.data.batches import read_each
from promptad.data.fingerprints import files_sha256
from promptad.data.masks import read_mask
from promptad.data.reading import Reading, tiles_of
from promptad.data.search import joined_names
from promptad.data.squares import central_part
from promptad.errors import InputError
from promptad.evaluation.metrics import average_precision, f1_max, image_auroc, rejected_shares
from promptad.evaluation.pixel_metrics import PixelMetrics, pixel_metrics, segmentation_f1
from promptad.features import ImageFeatures
from promptad.models.anomaly_map import smooth_maps
from promptad.models.base import AnomalyDetector
from promptad.structures import SCORE_THRESHOLD, WHOLE, Evaluation, Prediction, TestImage

ASKED_RATES = {0.01: ("recall_1", "false_alarms_1"), 0.05: ("recall_5", "false_alarms_5")}  # results of each


@dataclass(frozen=True)
class TestSplit:
    """Features of a test split with its ground truth."""

    __test__ = False  # keeps pytest from collecting the class for its name

    images: tuple[TestImage, ...]  # N
    features: ImageFeatures  # of the N images
    labels: np.ndarray  # [N] bool, anomalous
    masks: np.ndarray | None  # [N, H, W] bool, as maps are; None if an anomalous image has no mask
    sha256: str  # of the files
    reading: Reading = field(default_factory=Reading)  # how the images are read
    unmarked: tuple[int, ...] = ()  # anomalous images whose masks are all black: no measure of pixels counts them

    def pixel_metrics(self, anomaly_maps: np.ndarray) -> PixelMetrics:
        """Return the metrics of maps [N, H, W], where there are masks."""
        maps, masks, labels = self.marked(anomaly_maps)
        return pixel_metrics(maps, masks, ~labels)

    def marked(self, anomaly_maps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the maps, masks and labels of the images that pixels are measured on."""
        assert self.masks is not None
        if not self.unmarked:
            return anomaly_maps, self.masks, self.labels
        counted = np.setdiff1d(np.arange(len(self.labels)), self.unmarked)
        return anomaly_maps[counted], self.masks[counted], self.labels[counted]

    def notes(self) -> list[str]:
        """Return a line on what is left out, if anything is."""
        if not self.unmarked:
            return []
        paths = tuple(self.images[number].path for number in self.unmarked)
        return [f"{len(paths)} left out where pixels are measured, as their masks are all black: {joined_names(paths)}"]


def read_test_split(
    backbone: Backbone,
    images: Sequence[TestImage],
    resolution: int,
    batch_size: int,
    reading: Reading | None = None,
    advance: Callable[[int], None] = lambda _: None,
    layers: bool = False,
) -> TestSplit:
    """Encode N test images once, and read their labels and masks.

    Args:
        backbone: what encodes them.
        images: the images.
        resolution: pixels a side of the maps that masks are compared with.
        batch_size: images that are encoded together.
        reading: how images are read; None is each as a whole.
        advance: called with the number of images that are done, for a progress bar.
        layers: whether features for a memory bank are needed.

    Raises:
        InputError: an image or mask cannot be read, or all defects vanish at this resolution.
    """
    reading = reading or Reading()
    features = backbone.encode_images([p.path for p in images], batch_size, reading, advance, layers)
    labels = np.array([image.is_anomalous for image in images])
    masked = all(image.mask_path for image in images if image.is_anomalous)
    masks: np.ndarray | None = None
    unmarked: tuple[int, ...] = ()
    if masked:
        with ThreadPoolExecutor() as pool:
            masking = partial(_mask_and_mark, backbone, reading, shape=reading.tiles.map_shape(resolution))
            read = list(read_each(pool, masking, images, lambda image: image.path))
        masks = np.stack([mask for mask, _ in read])
        unmarked = tuple(number for number, (_, marked) in enumerate(read) if labels[number] and not marked)
    if masks is not None and labels.any() and not masks.any():
        if reading.corruption is None:
            raise _no_defects(images, labels, unmarked, resolution)
        masks, unmarked = None, ()  # all have moved out of sight
    return TestSplit(tuple(images), features, labels, masks, files_sha256(images), reading, unmarked)


def _no_defects(
    images: Sequence[TestImage], labels: np.ndarray, unmarked: Sequence[int], resolution: int
) -> InputError:
    """Return the error of masks that show no defect at all."""
    if len(unmarked) == labels.sum():
        return InputError(f"all masks are black, such as {images[unmarked[0]].mask_path}: mark the defects in them")
    return InputError(f"`resolution` {resolution}: too small to show any of the defects; make it larger")


def true_mask(backbone: Backbone, reading: Reading, image: TestImage, shape: tuple[int, int]) -> np.ndarray:
    """Return the true mask [H, W] bool of a test image, at the height and width of a map and in its frame."""
    return _mask_and_mark(backbone, reading, image, shape)[0]


def _mask_and_mark(
    backbone: Backbone, reading: Reading, image: TestImage, shape: tuple[int, int]
) -> tuple[np.ndarray, bool]:
    """Return the true mask, and whether anything is marked in it or beside the part that the backbone sees."""
    if image.mask_path is None:
        return np.zeros(shape, dtype=bool), False
    height, width = (round(side * backbone.resize / backbone.image_encoder.image_size) for side in shape)
    own, common = reading.region_of(image.path), reading.region
    mask = read_mask(image.mask_path, (height, width), image.path, reading.mask_box(image.path))
    if own is not None:
        frame = WHOLE if common is None else common.frame
        mask &= own.at(frame, mask.shape)
    return central_part(mask, *shape), bool(mask.any())


def evaluate(detector: AnomalyDetector, split: TestSplit) -> tuple[Evaluation, Prediction]:
    """Evaluate a detector on a test split.

    Raises:
        InputError: the split has normal images only, or anomalous ones only.
    """
    prediction = detector.to_prediction(detector.score(split.features))
    evaluation = Evaluation(
        image_auroc=image_auroc(prediction.score, split.labels),
        image_ap=average_precision(prediction.score, split.labels),
        image_f1_max=f1_max(prediction.score, split.labels),
        **_at_asked_rates(prediction, split, dict(detector.metadata.by_rate)),
        **_of_pixels(prediction, split),
    )
    return evaluation, prediction


def _at_asked_rates(prediction: Prediction, split: TestSplit, thresholds: dict[float, float]) -> dict[str, float]:
    """Return recall and false alarms at the detector's thresholds for the rates that may be asked for, by their names.

    These thresholds are from its support images; labels count what they reject.
    """
    found: dict[str, float] = {}
    for rate, results in ASKED_RATES.items():
        if rate in thresholds:
            shares = rejected_shares(prediction.raw_score, split.labels, thresholds[rate])
            found |= zip(results, shares, strict=True)
    return found


def _of_pixels(prediction: Prediction, split: TestSplit) -> dict[str, float | None]:
    """Return the results of maps, by their names; none without masks."""
    if split.masks is None:
        return {}
    maps, masks, labels = split.marked(prediction.anomaly_map)
    found = pixel_metrics(maps, masks, ~labels)
    return {
        "pixel_auroc": found.auroc,
        "pixel_ap": found.ap,
        "pixel_f1_max": found.f1_max,
        "aupro": found.aupro,
        "aupro_05": found.aupro_05,
        "seg_f1": None if prediction.threshold is None else segmentation_f1(maps, masks, SCORE_THRESHOLD),
        "aupimo": found.aupimo,
    }


def oracle_metric(detector: AnomalyDetector, split: TestSplit) -> float:
    """Return PromptAD's metric for the selection of an epoch: image AUROC or, at level pixel, pixel AUROC.

    Raises:
        InputError: the level is pixel, and the test split has no masks.
    """
    scores = detector.score(split.features)
    if detector.settings.level == "image":
        return image_auroc(detector.per_image(scores.image).cpu().numpy(), split.labels)
    if split.masks is None:
        raise InputError(
            "`select` test-oracle at level pixel needs masks: add ground_truth/, or choose another `select`"
        )
    maps = smooth_maps(scores.patches, detector.settings.scoring).cpu().numpy()
    return split.pixel_metrics(tiles_of(detector.settings.picture).joined(maps)).auroc
