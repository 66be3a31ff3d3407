"""Metrics of anomaly maps, in [0, 1], exact: each is a sum over anomalous pixels, whose ranks one sort gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptad.evaluation.metrics import Labels, Scores, check_labelled

Reals = NDArray[np.float64]
Counts = NDArray[np.int64]
Ascending = NDArray[np.float32]

TOUCHING = np.ones((3, 3), dtype=bool)  # 8-connectivity: pixels that meet at a corner belong to one region
USUAL_LIMIT, STRICT_LIMIT = 0.3, 0.05  # false-positive rates that the AUPRO is taken up to
PIMO_RANGE = (1e-5, 1e-4)  # false-positive rates on normal images that the AUPIMO is taken between
NO_PIXEL = 1e-9  # in the place of no false positive at all, of which there is no logarithm


@dataclass(frozen=True)
class PixelMetrics:
    """The metrics of the maps of a test split."""

    auroc: float  # area under the ROC curve of all pixels
    ap: float  # average precision of them
    f1_max: float  # best F1 over all thresholds
    aupro: float  # up to 30 % false positives
    aupro_05: float  # up to 5 %
    aupimo: float | None  # mean over anomalous images; None without a normal one


class RankedPixels(NamedTuple):
    """The scores of a test split's pixels, by which a pixel's rank is looked up; as float32."""

    normal: Ascending
    anomalous: Ascending
    highest_good: Ascending  # of normal images: all down to the first one beyond PIMO_RANGE
    good_count: int  # pixels of normal images


class ImageSums(NamedTuple):
    """What the anomalous pixels of one image add to the metrics."""

    pixels: int
    regions: int
    roc_area: float
    pro_area: float
    pro_area_05: float
    precision: float  # summed over the thresholds at its pixels' scores
    f1_max: float  # at the best of these thresholds
    overlap: float  # AUPIMO of the image


def pixel_metrics(maps: Scores, masks: Labels, good: Labels | None = None) -> PixelMetrics:
    """Return the metrics of `maps [N, H, W]` for `masks [N, H, W]`.

    - Pixel AUROC, average precision and best F1 are of all pixels together. The threshold of the best F1 is chosen on
      these very masks: an upper bound.
    - AUPRO is the area under the per-region overlap, up to a false-positive rate, divided by that rate. A region is a
      connected component of a mask (8-connectivity) and counts the same whatever its size. Source: Bergmann et al.,
      "The MVTec Anomaly Detection Dataset", IJCV 2021.
    - AUPIMO is an image's mean recall over logarithmic false-positive rates on normal images alone, from 1e-5 to 1e-4.
      Source: Bertoldo et al., "AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed and Low
      Tolerance", BMVC 2024. `good [N]` tells which images are normal; if not given, those with an empty mask.

    Ties are interpolated: a curve rises linearly where pixels have one score, that of the AUPIMO along its logarithmic
    axis, on which nothing is known below the first rate.

    Memory: one float32 copy of the pixels and one mask, 5 bytes a pixel: for MVTec AD's 1,725 maps of 256 x 256,
    0.56 GB beside the maps (0.45 GB) and masks (0.11 GB) themselves, as measured.

    Raises:
        InputError: as `check_labelled`.
    """
    check_labelled(maps, masks, axes=3)
    defective: Labels = np.asarray(masks.any((1, 2)))
    ranked = rank_pixels(maps, masks, ~defective if good is None else good)
    sums = [image_sums(ranked, maps[number], masks[number]) for number in np.flatnonzero(defective)]
    pixels, regions, roc, pro, pro_05, precision, _, overlap = np.sum(sums, axis=0).tolist()
    return PixelMetrics(
        auroc=share_of(roc, pixels),
        ap=share_of(precision, pixels),
        f1_max=max(own.f1_max for own in sums),
        aupro=share_of(pro, regions * USUAL_LIMIT),
        aupro_05=share_of(pro_05, regions * STRICT_LIMIT),
        aupimo=share_of(overlap, len(sums)) if ranked.good_count else None,
    )


def share_of(total: float, whole: float) -> float:
    """Return a share in [0, 1], from which rounding may lead."""
    return float(min(1.0, max(0.0, total / whole)))


def segmentation_f1(maps: Scores, masks: Labels, threshold: float) -> float:
    """F1 of all pixels of `maps [N, H, W]` above a threshold, which is not chosen on these masks.

    Source: Heckler-Kram et al., "The MVTec AD 2 Dataset", 2025 (SegF1).

    Raises:
        InputError: as `check_labelled`.
    """
    check_labelled(maps, masks, axes=3)
    found = wrong = 0  # pixels; counted map by map, without a boolean copy of all
    for anomaly_map, mask in zip(maps, masks, strict=True):
        above = anomaly_map > threshold
        found += int(np.count_nonzero(above & mask))
        wrong += int(np.count_nonzero(above ^ mask))
    return 2 * found / (2 * found + wrong)


def rank_pixels(maps: Scores, masks: Labels, good: Labels) -> RankedPixels:
    """Sort the scores of a test split's pixels; `good [N]` are its normal images."""
    good_count = int(np.count_nonzero(good)) * maps[0].size
    good_maps = [anomaly_map for anomaly_map, is_good in zip(maps, good, strict=True) if is_good]  # views
    return RankedPixels(
        ascending(maps[~masks]),
        ascending(maps[masks]),
        highest(good_maps, int(PIMO_RANGE[1] * good_count) + 1),
        good_count,
    )


def ascending(scores: Scores) -> Ascending:
    """Sort scores, which are a copy, in place."""
    copy = scores.astype(np.float32, copy=False)
    copy.sort()
    return copy


def highest(maps: Sequence[Scores], count: int) -> Ascending:
    """Return the `count` highest scores of some maps and all that are as high as the last, without a copy of all."""
    kept = np.empty(0, np.float32)
    for anomaly_map in maps:
        kept = np.concatenate([kept, _as_row(anomaly_map)])
        if len(kept) > count:
            kept = np.partition(kept, -count)[-count:]
    if not len(kept):
        return kept
    least = kept.min()
    return ascending(np.concatenate([flat[flat >= least] for flat in map(_as_row, maps)]))


def _as_row(anomaly_map: Scores) -> NDArray[np.float32]:
    return anomaly_map.astype(np.float32, copy=False).ravel()


def image_sums(ranked: RankedPixels, anomaly_map: Scores, mask: Labels) -> ImageSums:
    """Return what an anomalous image adds to the metrics, by its map and mask [H, W]."""
    scores = anomaly_map[mask]
    false_above, false_at = counts_above(ranked.normal, scores)
    _, true_at = counts_above(ranked.anomalous, scores)
    lower, upper = (count / len(ranked.normal) for count in (false_above, false_at))
    sizes, regions = region_sizes(mask)
    return ImageSums(
        pixels=len(scores),
        regions=regions,
        roc_area=weighted_partial_area(lower, upper, np.ones_like(lower), 1.0),
        pro_area=weighted_partial_area(lower, upper, 1 / sizes, USUAL_LIMIT),
        pro_area_05=weighted_partial_area(lower, upper, 1 / sizes, STRICT_LIMIT),
        precision=float(np.sum(true_at / (true_at + false_at))),
        f1_max=float(np.max(2 * true_at / (true_at + false_at + len(ranked.anomalous)))),
        overlap=per_image_overlap(ranked, scores),
    )


def per_image_overlap(ranked: RankedPixels, scores: Scores) -> float:
    """Return the AUPIMO of an image by the scores of its anomalous pixels [P]; 0 without a normal image.

    A pixel is found from the false-positive rate of its own score on, which is counted from the lower end of the range
    on the logarithmic axis here.
    """
    if not ranked.good_count:
        return 0.0
    above, at_or_above = counts_above(ranked.highest_good, scores)
    reached = np.maximum(at_or_above, NO_PIXEL)
    upper = np.log(reached / ranked.good_count / PIMO_RANGE[0])
    lower = np.where(above > 0, np.log(np.maximum(above, NO_PIXEL) / ranked.good_count / PIMO_RANGE[0]), upper)
    length, each = float(np.log(PIMO_RANGE[1] / PIMO_RANGE[0])), np.full(len(scores), 1 / len(scores))
    below_end, below_start = (weighted_partial_area(lower, upper, each, limit) for limit in (length, 0.0))
    return (below_end - below_start) / length


def counts_above(ranked: Ascending, scores: Scores) -> tuple[Counts, Counts]:
    """For every score, how many of the ranked ones are strictly above it, and at or above it: they differ by ties."""
    # In the type of the ranked scores, which would all be converted otherwise; and in ascending order: many times
    # faster than scattered look-ups in an array larger than the processor's cache.
    values, place = np.unique(scores.astype(np.float32, copy=False), return_inverse=True)
    above = len(ranked) - np.searchsorted(ranked, values, side="right")  # [distinct score]
    at_or_above = len(ranked) - np.searchsorted(ranked, values, side="left")
    return above[place], at_or_above[place]


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


def region_sizes(mask: Labels) -> tuple[Counts, int]:
    """For every anomalous pixel of `mask [H, W]`, row by row, its region's size in pixels; and how many regions."""
    region_map, regions = ndimage.label(mask, structure=TOUCHING)  # type: ignore[attr-defined]  # [H, W], 0 is normal
    return np.bincount(region_map.ravel())[region_map[mask]], regions
