"""Every metric of images against a reference implementation written with loops, on random and on tied data."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import reference_auroc, reference_average_precision, reference_f1_max
from numpy.typing import NDArray

from promptad.errors import InputError
from promptad.evaluation import metrics

Array = NDArray[Any]
IMAGE_METRICS = (metrics.image_auroc, metrics.average_precision, metrics.f1_max)
CLOSE = 1e-9


def draw_images(seed: int, levels: int | None) -> tuple[Array, Array]:
    """Random scores and labels of 40 images; `levels` is the number of distinct scores, None for no ties."""
    random = np.random.default_rng(seed)
    labels = random.random(40) < 0.4
    labels[:2] = True, False
    scores = random.random(40) + 0.3 * labels
    return (scores if levels is None else np.floor(scores * levels / 1.3)), labels


@pytest.mark.parametrize("levels", [None, 2, 5, 1])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("metric", "reference"),
    list(zip(IMAGE_METRICS, (reference_auroc, reference_average_precision, reference_f1_max), strict=True)),
)
def test_image_metric_equals_its_reference(
    metric: Callable[[Array, Array], float], reference: Callable[[Array, Array], float], seed: int, levels: int | None
) -> None:
    scores, labels = draw_images(seed, levels)
    assert metric(scores, labels) == pytest.approx(reference(scores, labels), abs=CLOSE)


@pytest.mark.parametrize("metric", IMAGE_METRICS)
def test_image_metric_depends_on_order_only(metric: Callable[[Array, Array], float]) -> None:
    scores, labels = draw_images(3, 6)
    value = metric(scores, labels)
    shuffle = np.random.default_rng(0).permutation(len(scores))
    assert metric(np.exp(scores / 2), labels) == pytest.approx(value, abs=CLOSE)
    assert metric(scores[shuffle], labels[shuffle]) == pytest.approx(value, abs=CLOSE)
    assert metric(np.tile(scores, 3), np.tile(labels, 3)) == pytest.approx(value, abs=CLOSE)


@pytest.mark.parametrize("metric", IMAGE_METRICS)
@pytest.mark.parametrize(
    ("scores", "labels", "problem"),
    [
        ([0.1, 0.2], [True, True], "all are anomalous"),
        ([0.1, 0.2], [False, False], "all are normal"),
        ([], [], "none"),
        ([0.1, np.nan], [True, False], "NaN"),
        ([0.1, np.inf], [True, False], "infinite"),
        ([0.1, 0.2, 0.3], [True, False], "do not fit"),
        ([[0.1, 0.2]], [[True, False]], "do not fit"),
        ([0.1, 0.2], [0, 1], "not boolean"),
    ],
)
def test_image_metric_refuses_in_one_line(
    metric: Callable[[Array, Array], float], scores: list[Any], labels: list[Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem) as refusal:
        metric(np.array(scores), np.array(labels, dtype=None if labels else bool))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("threshold", [-1.0, 0.4, 2.0, 5.0])
@pytest.mark.parametrize("levels", [None, 4])
def test_recall_and_false_alarms_are_counted(levels: int | None, threshold: float) -> None:
    scores, labels = draw_images(4, levels)
    found = false_alarms = 0
    for score, label in zip(scores, labels, strict=True):
        found += int(label and score > threshold)
        false_alarms += int(not label and score > threshold)
    expected = found / labels.sum(), false_alarms / (~labels).sum()
    assert metrics.rejected_shares(scores, labels, threshold) == pytest.approx(expected, abs=CLOSE)
