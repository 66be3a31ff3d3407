"""Every metric against a reference implementation written with loops, on random and on tied data."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from promptad.errors import InputError
from promptad.evaluation import metrics

Array = NDArray[Any]
IMAGE_METRICS = (metrics.image_auroc, metrics.average_precision, metrics.f1_max)
CLOSE = 1e-9


def reference_auroc(scores: Array, labels: Array) -> float:
    """The share of (anomalous, normal) pairs in the right order; a tie is half a pair."""
    right = pairs = 0.0
    for anomalous in scores[labels]:
        for normal in scores[~labels]:
            right += 1.0 if anomalous > normal else 0.5 if anomalous == normal else 0.0
            pairs += 1
    return right / pairs


def reference_average_precision(scores: Array, labels: Array) -> float:
    """Step down through the thresholds and add precision times gained recall."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        found = sum(1 for score, label in zip(scores, labels, strict=True) if score >= threshold and label)
        flagged = sum(1 for score in scores if score >= threshold)
        total += found / flagged * (found / labels.sum() - recall)
        recall = found / labels.sum()
    return total


def reference_f1_max(scores: Array, labels: Array) -> float:
    """Try every score as the threshold."""
    best = 0.0
    for threshold in scores:
        found = missed = false_alarms = 0
        for score, label in zip(scores, labels, strict=True):
            found += int(label and score >= threshold)
            missed += int(label and score < threshold)
            false_alarms += int(not label and score >= threshold)
        best = max(best, 2 * found / (2 * found + missed + false_alarms))
    return best


def reference_regions(masks: Array) -> list[list[tuple[int, int, int]]]:
    """The pixels of each connected component, by flood fill; corners connect."""
    waiting = {(int(image), int(y), int(x)) for image, y, x in np.argwhere(masks)}
    regions = []
    while waiting:
        region, border = [], [waiting.pop()]
        while border:
            image, y, x = border.pop()
            region.append((image, y, x))
            for neighbour in [(image, y + down, x + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]:
                if neighbour in waiting:
                    waiting.remove(neighbour)
                    border.append(neighbour)
        regions.append(region)
    return regions


def reference_aupro(maps: Array, masks: Array, max_fpr: float) -> float:
    """Sweep the threshold, draw the curve and add trapezoids up to the limit."""
    regions = reference_regions(masks)
    normal = maps[~masks]
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        rate = sum(1 for score in normal if score >= threshold) / len(normal)
        overlaps = [sum(1 for pixel in region if maps[pixel] >= threshold) / len(region) for region in regions]
        curve.append((rate, sum(overlaps) / len(regions)))
    area = 0.0
    for (left, low), (right, high) in pairwise(curve):
        if left >= max_fpr or left == right:
            continue
        end = min(right, max_fpr)
        at_end = low + (high - low) * (end - left) / (right - left)
        area += (end - left) * (low + at_end) / 2
    return area / max_fpr


def draw_images(seed: int, levels: int | None) -> tuple[Array, Array]:
    """Random scores and labels of 40 images; `levels` is the number of distinct scores, None for no ties."""
    random = np.random.default_rng(seed)
    labels = random.random(40) < 0.4
    labels[:2] = True, False
    scores = random.random(40) + 0.3 * labels
    return (scores if levels is None else np.floor(scores * levels / 1.3)), labels


def draw_maps(seed: int, levels: int | None) -> tuple[Array, Array]:
    """Random maps and masks of 3 images of 9 x 8, the first one normal; regions of many sizes."""
    random = np.random.default_rng(seed)
    masks = random.random((3, 9, 8)) < 0.25
    masks[0] = False
    masks[1, 2:6, 1:5] = True
    maps = (random.random(masks.shape) + 0.4 * masks).astype(np.float32)
    return (maps if levels is None else np.floor(maps * levels / 1.4)), masks


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


@pytest.mark.parametrize("levels", [None, 2, 5, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_pixel_auroc_equals_its_reference(seed: int, levels: int | None) -> None:
    maps, masks = draw_maps(seed, levels)
    assert metrics.pixel_auroc(maps, masks) == pytest.approx(reference_auroc(maps.ravel(), masks.ravel()), abs=CLOSE)


@pytest.mark.parametrize("levels", [None, 2, 5, 1])
@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_aupro_equals_its_reference(seed: int, max_fpr: float, levels: int | None) -> None:
    maps, masks = draw_maps(seed, levels)
    assert metrics.aupro(maps, masks, max_fpr) == pytest.approx(reference_aupro(maps, masks, max_fpr), abs=CLOSE)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    masks = np.zeros((1, 6, 6), dtype=bool)
    masks[0, 0, 0] = masks[0, 1, 1] = True  # one region of two pixels, of which one is found
    masks[0, 4, 4] = True  # a second region, found
    maps = np.zeros((1, 6, 6), dtype=np.float32)
    maps[0, 1, 1] = maps[0, 4, 4] = 1.0
    missed = 0.25  # half of one of two regions; it is tied with all normal pixels, a ramp over the whole x axis
    assert metrics.aupro(maps, masks, 1.0) == pytest.approx(1 - missed / 2, abs=CLOSE)
    assert metrics.aupro(maps, masks, 1.0) == pytest.approx(reference_aupro(maps, masks, 1.0), abs=CLOSE)


def test_a_small_region_counts_as_much_as_a_large_one() -> None:
    masks = np.zeros((2, 10, 10), dtype=bool)
    masks[0, :5] = True
    masks[1, 0, 0] = True
    maps = np.where(masks, [[[1.0]], [[-1.0]]], 0.0)  # the large region is found, the small one below all normal pixels
    assert metrics.aupro(maps, masks) == pytest.approx(0.5, abs=CLOSE)
    assert metrics.pixel_auroc(maps, masks) == pytest.approx(50 / 51, abs=CLOSE)


def test_ends_of_the_scale() -> None:
    masks = draw_maps(0, None)[1]
    assert metrics.pixel_metrics(masks.astype(np.float32), masks) == pytest.approx((1.0, 1.0), abs=CLOSE)
    assert metrics.pixel_metrics(1 - masks.astype(np.float32), masks) == pytest.approx((0.0, 0.0), abs=CLOSE)
    assert metrics.pixel_metrics(np.zeros(masks.shape), masks) == pytest.approx((0.5, 0.15), abs=CLOSE)


@pytest.mark.parametrize("metric", IMAGE_METRICS)
def test_image_metric_depends_on_order_only(metric: Callable[[Array, Array], float]) -> None:
    scores, labels = draw_images(3, 6)
    value = metric(scores, labels)
    shuffle = np.random.default_rng(0).permutation(len(scores))
    assert metric(np.exp(scores / 2), labels) == pytest.approx(value, abs=CLOSE)
    assert metric(scores[shuffle], labels[shuffle]) == pytest.approx(value, abs=CLOSE)
    assert metric(np.tile(scores, 3), np.tile(labels, 3)) == pytest.approx(value, abs=CLOSE)


def test_pixel_metrics_depend_on_order_only() -> None:
    maps, masks = draw_maps(3, 6)
    value = metrics.pixel_metrics(maps, masks)
    assert metrics.pixel_metrics(np.exp(maps / 2), masks) == pytest.approx(value, abs=CLOSE)
    assert metrics.pixel_metrics(maps[::-1], masks[::-1]) == pytest.approx(value, abs=CLOSE)
    assert metrics.pixel_metrics(maps.swapaxes(1, 2), masks.swapaxes(1, 2)) == pytest.approx(value, abs=CLOSE)
    assert metrics.pixel_metrics(np.tile(maps, (3, 1, 1)), np.tile(masks, (3, 1, 1))) == pytest.approx(value, abs=CLOSE)


@pytest.mark.parametrize("precision", [np.float16, np.float32, np.float64])
def test_pixel_metrics_leave_the_maps_as_they_are(precision: type[np.floating[Any]]) -> None:
    maps, masks = draw_maps(4, None)
    maps = maps.astype(precision)
    before = maps.copy(), masks.copy()
    metrics.pixel_metrics(maps, masks)
    assert np.array_equal(maps, before[0])
    assert np.array_equal(masks, before[1])


def test_pixel_metrics_are_pixel_auroc_and_aupro() -> None:
    maps, masks = draw_maps(5, None)
    both = metrics.pixel_metrics(maps, masks, 0.2)
    assert both == (metrics.pixel_auroc(maps, masks), metrics.aupro(maps, masks, 0.2))


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


@pytest.mark.parametrize("metric", [metrics.pixel_auroc, metrics.aupro, metrics.pixel_metrics])
def test_pixel_metric_refuses_in_one_line(metric: Callable[[Array, Array], object]) -> None:
    maps, masks = draw_maps(6, None)
    with_nan = maps.copy()
    with_nan[0, 0, 0] = np.nan
    refused = {
        "all are normal": (maps, np.zeros_like(masks)),
        "all are anomalous": (maps, np.ones_like(masks)),
        "NaN": (with_nan, masks),
        "do not fit": (maps[:, :-1], masks),
        "not boolean": (maps, 255 * masks.astype(np.uint8)),
    }
    for problem, (wrong_maps, wrong_masks) in refused.items():
        with pytest.raises(InputError, match=problem) as refusal:
            metric(wrong_maps, wrong_masks)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("max_fpr", [0.0, -0.1, 1.1, float("nan")])
def test_aupro_refuses_a_limit_that_is_no_rate(max_fpr: float) -> None:
    with pytest.raises(InputError, match="max_fpr"):
        metrics.aupro(*draw_maps(7, None), max_fpr)
