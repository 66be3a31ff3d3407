"""Every metric of maps against a reference implementation written with loops, on random and on tied data."""

from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from helpers import reference_auroc, reference_average_precision, reference_f1_max
from numpy.typing import NDArray

from promptad.errors import InputError
from promptad.evaluation import pixel_metrics as metrics
from promptad.evaluation.pixel_metrics import pixel_metrics, segmentation_f1

Array = NDArray[Any]
CLOSE = 1e-9


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


def reference_aupimo(maps: Array, masks: Array, good: Array, limits: tuple[float, float]) -> float:
    """Sweep every threshold; join the points of each image's curve over the logarithm of the rate on normal images.

    Left of the first point with a false positive, the recall is that without any.
    """
    normal = [score for number in np.flatnonzero(good) for score in maps[number].ravel().tolist()]
    images = [number for number in range(len(maps)) if masks[number].any()]
    total = 0.0
    for number in images:
        marked = maps[number][masks[number]].tolist()
        curve = [(-50.0, 0.0)]  # a rate far below any
        for threshold in sorted({*normal, *marked}, reverse=True):
            rate = sum(1 for score in normal if score >= threshold) / len(normal)
            recall = sum(1 for score in marked if score >= threshold) / len(marked)
            if rate > 0 and curve[-1][0] == -50:
                curve.append((float(np.log(rate)), curve[-1][1]))
            curve.append((float(np.log(rate)) if rate > 0 else -50.0, recall))
        for start, end in pairwise(curve):
            total += _area_between(start, end, *np.log(limits)) / len(images)
    return total / float(np.log(limits[1]) - np.log(limits[0]))


def _area_between(start: tuple[float, float], end: tuple[float, float], least: float, most: float) -> float:
    """The area under a line between two points, from `least` to `most`."""
    (left, low), (right, high) = start, end
    first, last = max(left, least), min(right, most)
    if last <= first:
        return 0.0
    at_first, at_last = (low + (high - low) * (place - left) / (right - left) for place in (first, last))
    return (last - first) * (at_first + at_last) / 2


def swept_aupimo(maps: Array, masks: Array, good: Array, limits: tuple[float, float]) -> float:
    """The published way: recalls at many thresholds, trapezoids over the logarithm of the rates on normal images."""
    normal = np.sort(maps[good].ravel())
    curve = []
    for threshold in np.unique(np.concatenate([normal, normal + 1e-9]))[::-1]:
        rate = (normal >= threshold).mean()
        recalls = [(maps[n][masks[n]] >= threshold).mean() for n in range(len(maps)) if masks[n].any()]
        if limits[0] <= rate <= limits[1]:
            curve.append((np.log(rate), np.mean(recalls)))
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(curve))
    return float(area / (np.log(limits[1]) - np.log(limits[0])))


def reference_segmentation_f1(maps: Array, masks: Array, threshold: float) -> float:
    found = missed = wrong = 0
    for score, marked in zip(maps.ravel(), masks.ravel(), strict=True):
        found += int(marked and score > threshold)
        missed += int(marked and score <= threshold)
        wrong += int(not marked and score > threshold)
    return found / (found + (missed + wrong) / 2)


def draw_maps(seed: int, levels: int | None) -> tuple[Array, Array]:
    """Random maps and masks of 3 images of 9 x 8, the first one normal; regions of many sizes."""
    random = np.random.default_rng(seed)
    masks = random.random((3, 9, 8)) < 0.25
    masks[0] = False
    masks[1, 2:6, 1:5] = True
    maps = (random.random(masks.shape) + 0.4 * masks).astype(np.float32)
    return (maps if levels is None else np.floor(maps * levels / 1.4)), masks


def every_metric(maps: Array, masks: Array) -> dict[str, float]:
    return asdict(pixel_metrics(maps, masks))


@pytest.mark.parametrize("levels", [None, 2, 5, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_metrics_of_all_pixels_equal_their_references(seed: int, levels: int | None) -> None:
    maps, masks = draw_maps(seed, levels)
    pixels, marked, found = maps.ravel(), masks.ravel(), pixel_metrics(maps, masks)
    assert found.auroc == pytest.approx(reference_auroc(pixels, marked), abs=CLOSE)
    assert found.ap == pytest.approx(reference_average_precision(pixels, marked), abs=CLOSE)
    assert found.f1_max == pytest.approx(reference_f1_max(pixels, marked), abs=CLOSE)


@pytest.mark.parametrize("levels", [None, 2, 5, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_aupro_equals_its_reference(seed: int, levels: int | None) -> None:
    maps, masks = draw_maps(seed, levels)
    found = pixel_metrics(maps, masks)
    assert found.aupro == pytest.approx(reference_aupro(maps, masks, 0.3), abs=CLOSE)
    assert found.aupro_05 == pytest.approx(reference_aupro(maps, masks, 0.05), abs=CLOSE)


@pytest.mark.parametrize("levels", [None, 2, 5, 1])
@pytest.mark.parametrize("limits", [(0.02, 0.2), (0.1, 0.5), metrics.PIMO_RANGE])
@pytest.mark.parametrize("seed", [0, 1])
def test_aupimo_equals_its_reference(
    monkeypatch: pytest.MonkeyPatch, seed: int, limits: tuple[float, float], levels: int | None
) -> None:
    monkeypatch.setattr(metrics, "PIMO_RANGE", limits)
    maps, masks = draw_maps(seed, levels)
    good = np.array([True, False, False])
    expected = reference_aupimo(maps, masks, good, limits)
    assert pixel_metrics(maps, masks, good).aupimo == pytest.approx(expected, abs=CLOSE)


def test_aupimo_is_what_a_fine_sweep_of_thresholds_integrates(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    masks = np.zeros((6, 40, 40), dtype=bool)
    masks[4, 5:20, 5:20] = masks[5, 20:30, 10:35] = True
    maps = random.normal(size=masks.shape) + 2.5 * masks
    good: Array = np.asarray(~masks.any((1, 2)))
    monkeypatch.setattr(metrics, "PIMO_RANGE", (0.01, 0.1))  # 64 and 640 of 6,400 pixels
    swept = swept_aupimo(maps, masks, good, (0.01, 0.1))
    assert 0.3 < swept < 0.9
    assert pixel_metrics(maps.astype(np.float32), masks).aupimo == pytest.approx(swept, abs=2e-3)


def test_aupimo_of_a_constant_map_is_nothing() -> None:
    masks = draw_maps(0, None)[1]
    assert pixel_metrics(np.ones(masks.shape), masks).aupimo == 0


def test_aupimo_looks_at_good_images_alone() -> None:
    maps, masks = draw_maps(2, None)
    found = pixel_metrics(maps, masks)
    masks[2, 0, 0], maps[2, 0, 0] = False, 100.0  # a false positive, on a defective image
    assert pixel_metrics(maps, masks).aupimo == pytest.approx(
        reference_aupimo(maps, masks, np.array([True, False, False]), metrics.PIMO_RANGE), abs=CLOSE
    )
    assert found.aupimo is not None
    maps[0, 0, 0] = 100.0  # one on a good image
    assert pixel_metrics(maps, masks).aupimo == 0


def test_an_image_is_good_by_its_label_not_by_its_mask() -> None:
    maps, masks = draw_maps(2, None)
    maps[0] += 100
    by_label = pixel_metrics(maps, masks, np.zeros(3, dtype=bool))
    assert by_label.aupimo is None
    assert pixel_metrics(maps, masks).aupimo == 0


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("threshold", [-1.0, 0.5, 1.0, 9.0])
def test_segmentation_f1_equals_its_reference(levels: int | None, threshold: float) -> None:
    maps, masks = draw_maps(3, levels)
    expected = reference_segmentation_f1(maps, masks, threshold)
    assert segmentation_f1(maps, masks, threshold) == pytest.approx(expected, abs=CLOSE)
    assert segmentation_f1(maps, masks, threshold) <= pixel_metrics(maps, masks).f1_max + CLOSE


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    masks = np.zeros((1, 6, 6), dtype=bool)
    masks[0, 0, 0] = masks[0, 1, 1] = True  # one region of two pixels, of which one is found
    masks[0, 4, 4] = True  # a second region, found
    maps = np.zeros((1, 6, 6), dtype=np.float32)
    maps[0, 1, 1] = maps[0, 4, 4] = 1.0
    ramp = 0.3 / 2 * 0.25  # the missed quarter is tied with all normal pixels: a ramp over the whole x axis
    assert pixel_metrics(maps, masks).aupro == pytest.approx(0.75 + ramp, abs=CLOSE)
    assert pixel_metrics(maps, masks).aupro == pytest.approx(reference_aupro(maps, masks, 0.3), abs=CLOSE)


def test_a_small_region_counts_as_much_as_a_large_one() -> None:
    masks = np.zeros((2, 10, 10), dtype=bool)
    masks[0, :5] = True
    masks[1, 0, 0] = True
    maps = np.where(masks, [[[1.0]], [[-1.0]]], 0.0)  # the large region is found, the small one below all normal pixels
    assert pixel_metrics(maps, masks).aupro == pytest.approx(0.5, abs=CLOSE)
    assert pixel_metrics(maps, masks).auroc == pytest.approx(50 / 51, abs=CLOSE)


def test_ends_of_the_scale() -> None:
    masks = draw_maps(0, None)[1]
    share = masks.mean()
    best, worst = (every_metric(maps, masks) for maps in (masks.astype(np.float32), 1 - masks.astype(np.float32)))
    assert list(best.values()) == pytest.approx([1.0] * 6, abs=CLOSE)
    assert worst | {"ap": 0, "f1_max": 0} == pytest.approx(dict.fromkeys(worst, 0.0), abs=CLOSE)
    flat = pixel_metrics(np.zeros(masks.shape), masks)
    assert (flat.auroc, flat.aupro, flat.aupro_05) == pytest.approx((0.5, 0.15, 0.025), abs=CLOSE)
    assert (flat.ap, flat.f1_max) == pytest.approx((share, 2 * share / (1 + share)), abs=CLOSE)


def test_pixel_metrics_depend_on_order_only() -> None:
    maps, masks = draw_maps(3, 6)
    value = every_metric(maps, masks)
    assert every_metric(np.exp(maps / 2), masks) == pytest.approx(value, abs=CLOSE)
    assert every_metric(maps[::-1], masks[::-1]) == pytest.approx(value, abs=CLOSE)
    assert every_metric(maps.swapaxes(1, 2), masks.swapaxes(1, 2)) == pytest.approx(value, abs=CLOSE)
    assert every_metric(np.tile(maps, (3, 1, 1)), np.tile(masks, (3, 1, 1))) == pytest.approx(value, abs=CLOSE)


@pytest.mark.parametrize("precision", [np.float16, np.float32, np.float64])
def test_pixel_metrics_leave_the_maps_as_they_are(precision: type[np.floating[Any]]) -> None:
    maps, masks = draw_maps(4, None)
    maps = maps.astype(precision)
    before = maps.copy(), masks.copy()
    pixel_metrics(maps, masks)
    segmentation_f1(maps, masks, 0.5)
    assert np.array_equal(maps, before[0])
    assert np.array_equal(masks, before[1])


def test_pixel_metrics_refuse_in_one_line() -> None:
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
            pixel_metrics(wrong_maps, wrong_masks)
        with pytest.raises(InputError, match=problem):
            segmentation_f1(wrong_maps, wrong_masks, 0.5)
        assert "\n" not in str(refusal.value)
