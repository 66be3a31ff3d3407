"""Regions: where an anomaly map is above its threshold, as boxes on the original image."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from promptad.structures import SCORE_THRESHOLD, Region


class Run(NamedTuple):
    """Neighbouring pixels of one row, from `start` to before `stop`."""

    row: int
    start: int
    stop: int


def find_regions(anomaly_map: np.ndarray, canvas_size: int, width: int, height: int) -> tuple[Region, ...]:
    """Return the connected parts of a map [S, S] in [0, 1] above the threshold, highest maximum first.

    The map shows the central S x S of a square of `canvas_size` pixels a side, which an image of `width` x `height`
    pixels was resized to. Parts that touch at a corner are one.
    """
    margin = (canvas_size - len(anomaly_map)) // 2
    across, down = width / canvas_size, height / canvas_size
    regions = []
    for runs in connected_runs(anomaly_map > SCORE_THRESHOLD):
        peaks = [run.start + int(anomaly_map[run.row, run.start : run.stop].argmax()) for run in runs]
        heights = [float(anomaly_map[run.row, x]) for run, x in zip(runs, peaks, strict=True)]
        highest = int(np.argmax(heights))
        regions.append(
            Region(
                left=int((min(run.start for run in runs) + margin) * across),
                top=int((runs[0].row + margin) * down),
                right=int(np.ceil((max(run.stop for run in runs) + margin) * across)),
                bottom=int(np.ceil((runs[-1].row + 1 + margin) * down)),
                max_score=heights[highest],
                x=int((peaks[highest] + margin + 0.5) * across),
                y=int((runs[highest].row + margin + 0.5) * down),
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
