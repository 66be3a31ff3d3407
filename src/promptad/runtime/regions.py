"""Regions: where an anomaly map is above its threshold, as boxes on the original image."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from promptad.structures import SCORE_THRESHOLD, Frame, Region

SLACK = 1e-6  # pixels: a sum of shares may miss a whole number by a little


class Run(NamedTuple):
    """Neighbouring pixels of one row, from `start` to before `stop`."""

    row: int
    start: int
    stop: int


def find_regions(anomaly_map: np.ndarray, frame: Frame, width: int, height: int) -> tuple[Region, ...]:
    """Return the connected parts of a map [H, W] in [0, 1] above the threshold, highest maximum first.

    The map lies in a frame of an image of `width` x `height` pixels. Parts that touch at a corner are one.
    """
    left, top, right, bottom = frame.on(width, height)
    across, down = (right - left) / anomaly_map.shape[1], (bottom - top) / anomaly_map.shape[0]

    def inside(place: float) -> int:
        return math.floor(place + SLACK)

    regions = []
    for runs in connected_runs(anomaly_map > SCORE_THRESHOLD):
        peaks = [run.start + int(anomaly_map[run.row, run.start : run.stop].argmax()) for run in runs]
        heights = [float(anomaly_map[run.row, x]) for run, x in zip(runs, peaks, strict=True)]
        highest = int(np.argmax(heights))
        regions.append(
            Region(
                left=inside(left + min(run.start for run in runs) * across),
                top=inside(top + runs[0].row * down),
                right=math.ceil(left + max(run.stop for run in runs) * across - SLACK),
                bottom=math.ceil(top + (runs[-1].row + 1) * down - SLACK),
                max_score=heights[highest],
                x=inside(left + (peaks[highest] + 0.5) * across),
                y=inside(top + (runs[highest].row + 0.5) * down),
            )
        )
    return tuple(sorted(regions, key=lambda region: -region.max_score))


def connected_runs(mask: np.ndarray) -> list[list[Run]]:
    """Return the connected parts of a mask [H, W] as their runs, row by row; parts that touch at a corner are one.

    Runs of neighbouring rows that touch are of one part (Rosenfeld and Pfaltz, 1966), found by union-find.
    """
    runs = list(_runs(mask))
    parent = list(range(len(runs)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first = 0  # of the row above, that may touch this run
    for number, run in enumerate(runs):
        while (runs[first].row, runs[first].stop) < (run.row - 1, run.start):
            first += 1
        touching = first
        while runs[touching].row == run.row - 1 and runs[touching].start <= run.stop:
            one, other = sorted((root(touching), root(number)))
            parent[other] = one
            touching += 1
    parts: dict[int, list[Run]] = {}
    for number, run in enumerate(runs):
        parts.setdefault(root(number), []).append(run)
    return list(parts.values())


def _runs(mask: np.ndarray) -> Iterator[Run]:
    """Yield the runs of a mask [H, W], row by row."""
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))))
    starts, stops = np.argwhere(steps > 0), np.argwhere(steps < 0)
    for (row, start), (_, stop) in zip(starts.tolist(), stops.tolist(), strict=True):
        yield Run(row, start, stop)
