"""Regions: where an anomaly map is above its threshold, as boxes on the original image."""

import numpy as np
from scipy.ndimage import find_objects, label  # type: ignore[attr-defined]  # it has no type stubs

from promptad.structures import SCORE_THRESHOLD, Region


def find_regions(anomaly_map: np.ndarray, canvas_size: int, width: int, height: int) -> tuple[Region, ...]:
    """Return the connected parts of a map [S, S] in [0, 1] above the threshold, highest maximum first.

    The map shows the central S x S of a square of `canvas_size` pixels a side, which an image of `width` x `height`
    pixels was resized to. Parts that touch at a corner are one.
    """
    labelled, _ = label(anomaly_map > SCORE_THRESHOLD, structure=np.ones((3, 3)))
    regions = []
    for number, (rows, columns) in enumerate(find_objects(labelled), 1):
        inside = np.where(labelled[rows, columns] == number, anomaly_map[rows, columns], 0)
        y, x = np.unravel_index(int(inside.argmax()), inside.shape)
        margin = (canvas_size - len(anomaly_map)) // 2
        across, down = width / canvas_size, height / canvas_size
        regions.append(
            Region(
                left=int((columns.start + margin) * across),
                top=int((rows.start + margin) * down),
                right=int(np.ceil((columns.stop + margin) * across)),
                bottom=int(np.ceil((rows.stop + margin) * down)),
                max_score=float(inside.max()),
                x=int((columns.start + x + margin + 0.5) * across),
                y=int((rows.start + y + margin + 0.5) * down),
            )
        )
    return tuple(sorted(regions, key=lambda region: -region.max_score))
