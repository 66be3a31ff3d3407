"""Tiles: pieces of a large or long picture, which a backbone looks at one by one, and their maps as one."""

from dataclasses import dataclass

import numpy as np

from promptad.data.region_of_interest import PixelBox

LARGEST_SIDE = 4  # times the backbone's own side: larger tiles lose what is small


@dataclass(frozen=True)
class Tiles:
    """Rows and columns of tiles of the same size; neighbours overlap by a share of their sides."""

    rows: int = 1
    columns: int = 1
    overlap: float = 0.0

    @property
    def count(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    def boxes(self, width: int, height: int) -> list[PixelBox]:
        """Return the tiles of a picture as boxes in its pixels, row by row.

        >>> Tiles(1, 2, 0.5).boxes(30, 10)
        [(0, 0, 20, 10), (10, 0, 30, 10)]
        """
        columns, rows = (self._spans(*pair) for pair in ((self.columns, width), (self.rows, height)))
        return [(left, top, right, bottom) for top, bottom in rows for left, right in columns]

    def map_shape(self, side: int) -> tuple[int, int]:
        """Return height and width of the map of a whole picture, where that of a tile has `side` pixels a side."""
        step = self._step(side)
        return (self.rows - 1) * step + side, (self.columns - 1) * step + side

    def joined(self, maps: np.ndarray) -> np.ndarray:
        """Return the maps [N, H, W] of N pictures, from those of their tiles in turn [N * tiles, S, S].

        Where tiles overlap, each counts for less the nearer its edge is: so there are no seams.
        """
        if self.count == 1:
            return maps
        side = maps.shape[1]
        down, across = (self._weights(count, side) for count in (self.rows, self.columns))  # [count, S]
        whole = np.zeros((len(maps) // self.count, *self.map_shape(side)), np.float32)
        step = self._step(side)
        for number in range(self.count):
            row, column = divmod(number, self.columns)
            weights = down[row][:, None] * across[column]
            place = np.s_[:, row * step : row * step + side, column * step : column * step + side]
            whole[place] += weights * maps[number :: self.count]
        return whole

    def _step(self, side: int) -> int:
        return round((1 - self.overlap) * side)

    def _spans(self, count: int, length: int) -> list[tuple[int, int]]:
        """Return start and end of each tile along a side."""
        step = 1 - self.overlap  # in tiles
        own = length / ((count - 1) * step + 1)
        return [(round(number * step * own), round((number * step + 1) * own)) for number in range(count)]

    def _weights(self, count: int, side: int) -> np.ndarray:
        """Return what each pixel of each tile along a side counts for [count, side]."""
        weights, shared = np.ones((count, side), np.float32), side - self._step(side)
        if shared:
            rising = (np.arange(shared, dtype=np.float32) + 0.5) / shared
            weights[1:, :shared] = rising
            weights[:-1, side - shared :] = rising[::-1]
        return weights


def tiles_for(width: int, height: int, side: int, overlap: float) -> tuple[int, int]:
    """Return how many rows and columns of nearly square tiles suit pictures of this size and a backbone of `side`.

    A tile is as long as the shorter side, but at most four times the backbone's.

    >>> tiles_for(500, 1240, 240, 0.1), tiles_for(1024, 1024, 240, 0.1), tiles_for(10_000, 10_000, 240, 0.1)
    ((3, 1), (1, 1), (11, 11))
    """
    own = min(width, height, LARGEST_SIDE * side)
    rows, columns = (max(1, round((length / own - overlap) / (1 - overlap))) for length in (height, width))
    return rows, columns
