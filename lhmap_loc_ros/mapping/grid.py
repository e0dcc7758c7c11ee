# SPDX-License-Identifier: Apache-2.0
"""Points grouped by square tiles, to find those around a position quickly."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


class TileGroups:
    """Local points (N, 3) sorted by horizontal tiles."""

    def __init__(self, points: np.ndarray, size: float = 8.0):
        """`size` is the edge of a tile in the unit of the points."""
        grid = np.floor(points[:, :2] / size).astype(np.int64)
        key = (grid[:, 0] << 32) + grid[:, 1]
        self.order = np.argsort(key, kind="stable")
        """Numbers of the points, tile after tile (N,)."""
        self.points = np.ascontiguousarray(points[self.order], np.float32)
        """The points in this order (N, 3) float32."""
        key = key[self.order]
        first = np.flatnonzero(np.r_[True, key[1:] != key[:-1]]) if len(key) else np.zeros(0, np.int64)
        self.spans = np.column_stack([first, np.r_[first[1:], len(key)]]) if len(key) else np.zeros((0, 2), np.int64)
        """Start and end of each tile in `points` (T, 2)."""
        self._centers = (grid[self.order[first]] + 0.5) * size
        self._reach = size * 0.5**0.5

    def near(self, center: ArrayLike, radius: float) -> np.ndarray:
        """Spans (M, 2) of the tiles that may hold points within `radius` of `center`, horizontally."""
        distance = np.hypot(*(self._centers - np.asarray(center)[:2]).T)
        return self.spans[distance <= radius + self._reach]

    def members(self, center: ArrayLike, radius: float) -> np.ndarray:
        """Numbers of the points in those tiles, in the order the points were given in within each tile."""
        spans = self.near(center, radius)
        if not len(spans):
            return np.zeros(0, np.int64)
        return np.concatenate([self.order[start:end] for start, end in spans])
