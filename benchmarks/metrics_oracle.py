"""Our metrics beside anomalib's, on the same maps: the same numbers, and in what time?

PYTHONPATH=src .anomalib/bin/python benchmarks/metrics_oracle.py [--json FILE]

anomalib is no dependency: it lives in an environment of its own, and benchmarks/README.md says how that is made. The
maps are drawn: smooth noise, in which ellipses stand out more or less.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anomalib
import cv2
import numpy as np
import torch
from anomalib.metrics.aupr import _AUPR
from anomalib.metrics.aupro import _AUPRO
from anomalib.metrics.auroc import _AUROC
from anomalib.metrics.f1_score import _F1Max
from anomalib.metrics.pimo.functional import aupimo_scores
from rich.console import Console
from rich.table import Table
from torchmetrics.classification import BinaryF1Score

from promptad.evaluation.metrics import average_precision, f1_max, image_auroc
from promptad.evaluation.pixel_metrics import pixel_metrics, segmentation_f1
from promptad.utils.files import whole_file

THRESHOLD = 1.5  # of the drawn maps, for SegF1
NUMBERS = {  # ours by name, and what anomalib has in its place
    "I-AUROC": "AUROC",
    "I-AP": "AUPR",
    "I-F1": "F1Max",
    "P-AUROC": "AUROC",
    "P-AP": "AUPR",
    "P-F1": "F1Max",
    "AUPRO": "AUPRO, fpr_limit 0.3",
    "AUPRO @5%": "AUPRO, fpr_limit 0.05",
    "SegF1": "F1Score",
    "AUPIMO": "aupimo_scores",
}


def main() -> None:
    """Measure the same maps with both, print both and, if requested, write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=40, help="maps, of which half show defects")
    parser.add_argument("--side", type=int, default=256, help="pixels a side of a map")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    options = parser.parse_args()
    maps, masks = draw_maps(options.images, options.side)
    scores, labels = maps.max((1, 2)), np.asarray(masks.any((1, 2)))
    ours, seconds = timed(lambda: our_metrics(maps, masks, scores, labels))
    theirs, their_seconds = timed(lambda: anomalib_metrics(maps, masks, scores, labels))
    console = Console(highlight=False)
    console.print(metrics_table(ours, theirs, options))
    console.print(f"ours {seconds:.1f} s, anomalib {their_seconds:.1f} s: {their_seconds / seconds:.0f} times as long")
    if options.json:
        found = {"ours": ours, "anomalib": theirs, "seconds": seconds, "anomalib_seconds": their_seconds}
        with whole_file(options.json) as temporary:
            temporary.write_text(json.dumps(found | {"anomalib_version": anomalib.__version__}, indent=2) + "\n")


def draw_maps(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw maps and masks [count, side, side]: the latter half shows one to three ellipses that stand out."""
    chance = np.random.default_rng(0)
    maps = np.stack([cv2.GaussianBlur(noise, (0, 0), 4) for noise in chance.normal(size=(count, side, side))])
    maps = (maps / maps.std()).astype(np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    rows, columns = np.mgrid[:side, :side] / side
    for number in range(count // 2, count):
        for _ in range(chance.integers(1, 4)):
            left, top = chance.uniform(0.1, 0.9, 2)
            wide, high = chance.uniform(0.02, 0.12, 2)
            ellipse = ((columns - left) / wide) ** 2 + ((rows - top) / high) ** 2 < 1
            maps[number] += np.float32(chance.uniform(0.5, 5)) * ellipse
            masks[number] |= ellipse
    return maps, masks


def our_metrics(maps: np.ndarray, masks: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Measure with this package."""
    pixels = pixel_metrics(maps, masks)
    assert pixels.aupimo is not None
    found = (image_auroc(scores, labels), average_precision(scores, labels), f1_max(scores, labels))
    of_pixels = (pixels.auroc, pixels.ap, pixels.f1_max, pixels.aupro, pixels.aupro_05)
    return dict(zip(NUMBERS, (*found, *of_pixels, segmentation_f1(maps, masks, THRESHOLD), pixels.aupimo), strict=True))


def anomalib_metrics(maps: np.ndarray, masks: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Measure with anomalib."""
    images = torch.from_numpy(scores), torch.from_numpy(labels).int()
    pixels = torch.from_numpy(maps).flatten(), torch.from_numpy(masks).int().flatten()
    squares = torch.from_numpy(maps), torch.from_numpy(masks).int()
    ranked = [float(metric()(*given)) for given in (images, pixels) for metric in (_AUROC, _AUPR, _F1Max)]
    pro = [float(_AUPRO(fpr_limit=limit)(*squares)) for limit in (0.3, 0.05)]
    segmented = float(BinaryF1Score()((pixels[0] > THRESHOLD).int(), pixels[1]))
    *_, classes, overlaps, _ = aupimo_scores(*squares)
    overlap = float(overlaps[classes == 1].mean())
    return dict(zip(NUMBERS, (*ranked, *pro, segmented, overlap), strict=True))


def timed(measure: Callable[[], dict[str, float]]) -> tuple[dict[str, float], float]:
    """Return what is measured, and in how many seconds."""
    started = time.perf_counter()
    return measure(), time.perf_counter() - started


def metrics_table(ours: dict[str, float], theirs: dict[str, float], options: Any) -> Table:
    """Both by metric, with their differences."""
    title = f"{options.images} maps of {options.side} x {options.side} pixels, in %; anomalib {anomalib.__version__}"
    table = Table("metric", title=title)
    for head in ("ours", "anomalib", "difference"):
        table.add_column(head, justify="right")
    table.add_column("anomalib's")
    for name, words in NUMBERS.items():
        both = 100 * ours[name], 100 * theirs[name]
        table.add_row(name, *(f"{value:.4f}" for value in both), f"{both[0] - both[1]:+.4f}", words)
    return table


if __name__ == "__main__":
    main()
