"""Image-level and pixel-level metrics of anomaly scores. All results are in [0, 1]."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from promptad.errors import InputError

Scores = NDArray[Any]  # any float type, higher is more anomalous
Labels = NDArray[np.bool_]  # True is anomalous
Reals = NDArray[np.float64]

TOUCHING = np.ones((3, 3), dtype=bool)  # 8-connectivity: pixels that meet at a corner belong to one region


def below_chance(auroc: float) -> list[str]:
    """Return what to say of an image AUROC below one half, or nothing."""
    if auroc >= 0.5:
        return []
    return [
        f"image AUROC {auroc:.2f} is below chance, so good pictures look worse than defective ones: check the folders"
        " of the test pictures, and the name of the part"
    ]


def image_auroc(scores: Scores, labels: Labels) -> float:
    """Area under the ROC curve of `scores [N]` for `labels [N]`; 0.5 is chance."""
    check_labelled(scores, labels, axes=1)
    return float(roc_auc_score(labels, scores))


def average_precision(scores: Scores, labels: Labels) -> float:
    """Average precision of `scores [N]` for `labels [N]`: precision at each gain in recall, weighted by the gain."""
    check_labelled(scores, labels, axes=1)
    return float(average_precision_score(labels, scores))


def f1_max(scores: Scores, labels: Labels) -> float:
    """Best F1 of `scores [N]` for `labels [N]` over all thresholds.

    The threshold is chosen on the labels that it is evaluated on, as is usual: an upper bound, not an estimate.
    """
    check_labelled(scores, labels, axes=1)
    precision, recall, _ = precision_recall_curve(labels, scores)
    total = np.maximum(precision + recall, np.finfo(float).tiny)  # if both are 0, F1 is 0
    return float(np.max(2 * precision * recall / total))


def pixel_auroc(maps: Scores, masks: Labels) -> float:
    """Area under the ROC curve of all pixels of `maps [N, H, W]` for `masks [N, H, W]`."""
    return pixel_metrics(maps, masks)[0]


def aupro(maps: Scores, masks: Labels, max_fpr: float = 0.3) -> float:
    """Area under the per-region-overlap curve of `maps [N, H, W]` for `masks [N, H, W]`, up to `max_fpr`.

    A region is a connected component of a mask (8-connectivity) and counts the same whatever its size. The area is
    divided by `max_fpr`. Source: Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021.
    """
    return pixel_metrics(maps, masks, max_fpr)[1]


def pixel_metrics(maps: Scores, masks: Labels, max_fpr: float = 0.3) -> tuple[float, float]:
    """Pixel AUROC and AUPRO of `maps [N, H, W]` for `masks [N, H, W]`, exact, with one sort for both.

    Both curves have the same false-positive rate along x and grow by a pixel's weight where its score is passed: by
    1 / P for the AUROC of P anomalous pixels, by 1 / (regions * region size) for the AUPRO. So each area is a weighted
    sum over anomalous pixels. Scores are compared as float32.

    Memory: one float32 copy of the normal pixels and one mask, 5 bytes a pixel: for MVTec AD's 1,725 maps of 256 x 256,
    0.55 GB beside the maps (0.45 GB) and masks (0.11 GB) themselves. Measured with 200 maps and scaled.

    Raises:
        InputError: shapes that do not fit, masks that are not boolean or show one class only, scores that are not
            finite, `max_fpr` outside (0, 1].
    """
    check_labelled(maps, masks, axes=3)
    if not 0 < max_fpr <= 1:
        raise InputError(f"max_fpr is {max_fpr}: give a false-positive rate above 0 and up to 1, such as 0.3")
    normal = maps[~masks].astype(np.float32, copy=False)  # [normal pixel]; a copy, so it may be sorted in place
    normal.sort()
    roc_area = pro_area = 0.0
    pixel_count = region_count = 0
    for anomaly_map, mask in zip(maps, masks, strict=True):
        if not mask.any():
            continue
        lower, upper = false_positive_rates(normal, anomaly_map[mask])
        sizes, regions = region_sizes(mask)
        roc_area += weighted_partial_area(lower, upper, np.ones_like(lower), 1.0)
        pro_area += weighted_partial_area(lower, upper, 1 / sizes, max_fpr)
        pixel_count += len(sizes)
        region_count += regions
    return roc_area / pixel_count, pro_area / (region_count * max_fpr)


def false_positive_rates(sorted_normal: NDArray[np.float32], scores: Scores) -> tuple[Reals, Reals]:
    """For every score, the shares of normal pixels strictly above it and at or above it; they differ by its ties."""
    # In the type of the normal scores, which would all be converted otherwise; and in ascending order: many times
    # faster than scattered look-ups in an array larger than the processor's cache.
    values, place = np.unique(scores.astype(np.float32, copy=False), return_inverse=True)
    normal_count = len(sorted_normal)
    above = normal_count - np.searchsorted(sorted_normal, values, side="right")  # [distinct score]
    at_or_above = normal_count - np.searchsorted(sorted_normal, values, side="left")
    return above[place] / normal_count, at_or_above[place] / normal_count


def weighted_partial_area(lower: Reals, upper: Reals, weights: Reals, max_fpr: float) -> float:
    """Area over [0, `max_fpr`] under a curve that rises, for each pixel, by its weight from `lower` to `upper`.

    The rise is a linear ramp, as ties are interpolated. A ramp that ends within the range contributes its weight times
    the distance from its midpoint to the limit, one that the limit cuts a triangle, one beyond the limit nothing.
    """
    behind_middle = max_fpr - (lower + upper) / 2
    reach = np.maximum(max_fpr - lower, 0)
    width = np.maximum(upper - lower, 1e-12)  # smaller than any real width; an untied pixel has width 0
    triangle = reach**2 / (2 * width)
    # Not `weights @ ...`: for so few products the threads of BLAS cost more, in a measurement three times the total.
    return float(np.sum(weights * np.where(upper <= max_fpr, behind_middle, triangle)))


def region_sizes(mask: Labels) -> tuple[NDArray[np.int64], int]:
    """For every anomalous pixel of `mask [H, W]`, row by row, its region's size in pixels; and how many regions."""
    region_map, regions = ndimage.label(mask, structure=TOUCHING)  # type: ignore[attr-defined]  # [H, W], 0 is normal
    return np.bincount(region_map.ravel())[region_map[mask]], regions


def check_labelled(scores: Scores, labels: Labels, axes: int) -> None:
    """Raise InputError for scores or labels that no metric accepts: see `pixel_metrics`."""
    names = "scores [N] and labels [N]" if axes == 1 else "maps [N, H, W] and masks [N, H, W]"
    if scores.ndim != axes or scores.shape != labels.shape:
        raise InputError(f"shapes {scores.shape} and {labels.shape} do not fit: give {names} of the same size")
    if labels.dtype != np.bool_:
        raise InputError(f"{names}: the latter are {labels.dtype}, not boolean; compare them first, as in masks > 0")
    if not labels.any() or labels.all():
        kind = "anomalous" if labels.any() else "normal"
        raise InputError(f"{names}: all are {kind} or there are none; a metric needs normal and anomalous ones")
    if not (np.isfinite(scores.min()) and np.isfinite(scores.max())):  # no boolean copy as large as the scores
        raise InputError(f"{names}: a score is NaN or infinite, which cannot be ranked; score the pictures again")
