"""Metrics of the anomaly scores of images, in [0, 1]; those of maps are in `pixel_metrics`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from promptad.errors import InputError

Scores = NDArray[Any]  # any float type, higher is more anomalous
Labels = NDArray[np.bool_]  # True is anomalous


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


def rejected_shares(scores: Scores, labels: Labels, threshold: float) -> tuple[float, float]:
    """Recall and false-alarm rate of a threshold: the shares of anomalous and of normal `scores [N]` above it.

    `labels [N]` tell which are anomalous.
    """
    check_labelled(scores, labels, axes=1)
    rejected = scores > threshold
    return float(rejected[labels].mean()), float(rejected[~labels].mean())


def check_labelled(scores: Scores, labels: Labels, axes: int) -> None:
    """Check that a metric can be computed of scores and labels [N], or of maps and masks [N, H, W].

    Raises:
        InputError: shapes that do not fit, labels that are not boolean or show one class only, scores that are not
            finite.
    """
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
