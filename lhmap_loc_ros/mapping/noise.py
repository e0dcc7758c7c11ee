# SPDX-License-Identifier: Apache-2.0
"""Removal of points that stand alone."""

from __future__ import annotations

import numpy as np

from .cloud import VoxelCloud


def find_isolated(points: np.ndarray, cell_m: float, least: int) -> np.ndarray:
    """Which points (N, 3) share a cell of edge `cell_m` with fewer than `least` points, themselves counted.

    A point on a cell's border must be alone in two grids, the second shifted by half a cell: (N,) bool.
    """
    alone = np.ones(len(points), bool)
    for shift in (0.0, cell_m / 2):
        cells = VoxelCloud(cell_m)
        member = cells.add(points + shift)
        alone &= cells.hits[member] < least if len(cells) else False
    return alone
