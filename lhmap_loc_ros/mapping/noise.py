# SPDX-License-Identifier: Apache-2.0
"""Removal of noise: isolated points."""

from __future__ import annotations

import numpy as np

from .cloud import VoxelCloud

_CELL_M, MIN_NEIGHBOURS = 0.5, 3
"""Cells of this edge, metres, with fewer points are noise: in a map of 0.1 m voxels a wall has some 25 in each."""


def find_isolated(points: np.ndarray) -> np.ndarray:
    """Which points (N, 3) are in cells with fewer than MIN_NEIGHBOURS points, themselves included: (N,) bool.

    In two grids, the second shifted by half a cell, so that points near the border of a cell are not mistaken.
    """
    alone = np.ones(len(points), bool)
    for shift in (0.0, _CELL_M / 2):
        cells = VoxelCloud(_CELL_M)
        member = cells.add(points + shift)
        alone &= cells.hits[member] < MIN_NEIGHBOURS if len(cells) else False
    return alone
