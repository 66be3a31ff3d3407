"""Regions: where a map is above its threshold, as boxes on the original picture."""

import numpy as np
from scipy.ndimage import find_objects, label  # type: ignore[attr-defined]  # it has no type stubs

from promptad.records import Region

THRESHOLD = 0.5  # of maps, where the decision's threshold lies


def find_regions(heat: np.ndarray, whole: int, width: int, height: int) -> tuple[Region, ...]:
    """Return the connected parts of a map [S, S] in [0, 1] above the threshold, the one with the highest peak first.

    The map shows the central S x S of a square of `whole` pixels a side, which a picture of `width` x `height` pixels
    was resized to. Parts that touch at a corner are one.
    """
    labelled, _ = label(heat > THRESHOLD, structure=np.ones((3, 3)))
    regions = []
    for number, (rows, columns) in enumerate(find_objects(labelled), 1):
        inside = np.where(labelled[rows, columns] == number, heat[rows, columns], 0)
        y, x = np.unravel_index(int(inside.argmax()), inside.shape)
        margin = (whole - len(heat)) // 2
        across, down = width / whole, height / whole
        regions.append(
            Region(
                left=int((columns.start + margin) * across),
                top=int((rows.start + margin) * down),
                right=int(np.ceil((columns.stop + margin) * across)),
                bottom=int(np.ceil((rows.stop + margin) * down)),
                peak=float(inside.max()),
                x=int((columns.start + x + margin + 0.5) * across),
                y=int((rows.start + y + margin + 0.5) * down),
            )
        )
    return tuple(sorted(regions, key=lambda region: -region.peak))
