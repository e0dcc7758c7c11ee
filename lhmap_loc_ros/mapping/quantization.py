# SPDX-License-Identifier: Apache-2.0
"""Quantization of points to the cells of the map format."""

from __future__ import annotations

import numpy as np

from ..lhmap.cells import BLOCK_CELLS, CELL_STEPS


def quantize(
    points: np.ndarray, heat: np.ndarray, intensity: np.ndarray, cell_m: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (M, 3) float64 in cells, their heat and intensity (M,), from points (N, 3), heat and intensity (N,).

    Points are in metres from a corner of the grid of blocks. Each block has one offset of its points within their
    cells, along each axis the one with the least mean squared error, so that a wall stays where it was. The points of
    a cell become one, with their mean intensity; the points of a block get their mean heat.
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


def _nearest(places: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The cells of a block (N, 3) whose points at `offset` are nearest to `places` (N, 3), both in cells."""
    return np.clip(np.round(places - offset), 0, BLOCK_CELLS - 1).astype(np.int64)


def unique_rows(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unique rows of `places` (N, 3) int64, and the number of its unique row for each (N,)."""
    if not len(places):
        return places, np.zeros(0, np.int64)
    low = places.min(axis=0)
    shape = places.max(axis=0) - low + 1
    keys, number = np.unique(np.ravel_multi_index((places - low).T, shape), return_inverse=True)
    return np.column_stack(np.unravel_index(keys, shape)) + low, number


def _means(columns: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Means of columns (N, K) over groups, by the number of each row's group (N,)."""
    counts = np.bincount(group)
    return np.column_stack([np.bincount(group, values) / counts for values in columns.T])
