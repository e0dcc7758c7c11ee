# SPDX-License-Identifier: Apache-2.0
"""Points moved to where the cells of the map format can hold them."""

from __future__ import annotations

import numpy as np

from ..lhmap.cells import BLOCK_CELLS, CELL_STEPS


def quantize(
    points: np.ndarray, heat: np.ndarray, intensity: np.ndarray, cell_m: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (N, 3), metres from a corner of the grid of blocks, heat and intensity (N,), as cells can hold them.

    Each block gets the offset of points from the corners of their cells that moves its points least, so that a wall
    stays where it was, even one along the border of two rows of cells. Points that meet in a cell become one (M, 3)
    float64; those of a block are as hot as they are in the mean.
    """
    places = np.asarray(points, np.float64) / cell_m
    blocks, block = unique_rows(np.floor(places / BLOCK_CELLS).astype(np.int64))
    # within the block
    places -= blocks[block] * BLOCK_CELLS
    offsets = np.arange(CELL_STEPS) / CELL_STEPS
    moved = [_means((_nearest(places, offset) + offset - places) ** 2, block) for offset in offsets]
    offset = offsets[np.argmin(moved, axis=0)][block]
    cells, owner = unique_rows(blocks[block] * BLOCK_CELLS + _nearest(places, offset))
    columns = _means(np.column_stack([heat, intensity, block, offset]), owner)
    block = columns[:, 2].astype(np.int64)
    return (cells + columns[:, 3:]) * cell_m, _means(columns[:, :1], block)[block, 0], columns[:, 1]


def _nearest(places: np.ndarray, offset) -> np.ndarray:
    """The cells of a block (N, 3) whose places at `offset` are nearest to `places` (N, 3), both in cells."""
    return np.clip(np.round(places - offset), 0, BLOCK_CELLS - 1).astype(np.int64)


def unique_rows(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different ones of some places (N, 3) int64, and which of them each is (N,)."""
    if not len(places):
        return places, np.zeros(0, np.int64)
    low = places.min(axis=0)
    shape = places.max(axis=0) - low + 1
    keys, number = np.unique(np.ravel_multi_index((places - low).T, shape), return_inverse=True)
    return np.column_stack(np.unravel_index(keys, shape)) + low, number


def _means(columns: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The means of columns (N, K) over each group, by the number of the group of each row (N,)."""
    counts = np.bincount(group)
    return np.column_stack([np.bincount(group, values) / counts for values in columns.T])
