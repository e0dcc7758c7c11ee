# SPDX-License-Identifier: Apache-2.0
"""Tiles: their corners, the sampling blocks of their voxels, and several tiles as one cloud."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..moving import RADIUS_M
from ..quantization import unique_rows
from .store import load


def tile_corner(tile: tuple[int, int], tile_m: float) -> np.ndarray:
    """The corner (3,) of a tile, metres in the map frame."""
    return np.array([tile[0] * tile_m, tile[1] * tile_m, 0.0])


def observation_reach(tile_m: float) -> float:
    """Distance from the middle of a tile within which range images are compared with its points, metres."""
    return RADIUS_M + tile_m * 0.5**0.5


SAMPLING_BLOCK_VOXELS = 2
"""Edge of a sampling block, in voxels: its points are kept or dropped together (docs/map-format.md says why)."""


def sampling_blocks(voxels: np.ndarray) -> dict[str, np.ndarray]:
    """The sampling blocks of voxels (N,), as arrays to save.

    `sampling_block` (N,) is the number of each voxel's block in `sampling_priority` (B,): pseudo-random numbers in
    [0, 1) that depend on the block's place in the map alone, so that every build draws the same sample.
    """
    blocks, block = unique_rows(voxels["grid"].astype(np.int64) // SAMPLING_BLOCK_VOXELS)
    x = np.zeros(len(blocks), np.uint64)
    for axis in range(3):
        x = (x ^ blocks[:, axis].astype(np.uint32)) * np.uint64(0x9E3779B97F4A7C15)
        x ^= x >> np.uint64(29)
        x *= np.uint64(0xBF58476D1CE4E5B9)
    priority = (x >> np.uint64(40)).astype(np.float64) / 2**24
    return {"sampling_block": block.astype(np.uint32), "sampling_priority": priority}


@dataclass(frozen=True)
class TileCloud:
    """Some tiles as one cloud."""

    tiles: tuple[tuple[int, int], ...]
    origin: np.ndarray
    """(3,) float64, of the points, metres in the map frame."""
    points: np.ndarray
    """(N, 3) float32."""
    intensity: np.ndarray
    """(N,) float32."""
    sampling_block: np.ndarray
    """(N,) number of each point's sampling block."""
    sampling_priority: np.ndarray
    """(B,) in [0, 1), of each sampling block."""
    ends: np.ndarray
    """(T,) end of each tile's points."""

    @classmethod
    def of(cls, tiles: tuple[tuple[tuple[int, int], Path], ...], tile_m: float) -> TileCloud:
        """Loads the results of tile jobs."""
        places, data = tuple(tile for tile, _ in tiles), [load(path) for _, path in tiles]
        origin = tile_corner(places[0], tile_m) if places else np.zeros(3)
        points = [
            d["points"] + (tile_corner(tile, tile_m) - origin).astype(np.float32)
            for tile, d in zip(places, data, strict=True)
        ]

        def column(name: str, dtype: type[np.generic]) -> np.ndarray:
            return np.concatenate([d[name] for d in data]) if data else np.zeros(0, dtype)

        firsts = np.cumsum([0, *(len(d["sampling_priority"]) for d in data)])[:-1]
        block = [d["sampling_block"] + first for d, first in zip(data, firsts, strict=True)]
        return cls(
            places, origin, np.concatenate(points) if points else np.zeros((0, 3), np.float32),
            column("intensity", np.float32), np.concatenate(block) if block else np.zeros(0, np.int64),
            column("sampling_priority", np.float64), np.cumsum([len(p) for p in points]),
        )  # fmt: skip

    def by_tile(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Indices of points (M,), ascending, as arrays to save: `index` within each of `tiles`, and their `ends`."""
        ends = np.searchsorted(index, self.ends)
        starts = np.r_[0, self.ends][: len(ends)]
        within = index - np.repeat(starts, np.diff(np.r_[0, ends]))
        return {"tiles": np.array(self.tiles, np.int32).reshape(-1, 2), "ends": ends, "index": within.astype(np.uint32)}


def tile_slice(data: dict[str, np.ndarray], tile: tuple[int, int]) -> slice:
    """The slice of a tile's points in arrays made by `TileCloud.by_tile`."""
    (number,) = np.flatnonzero((data["tiles"] == tile).all(axis=1))
    return slice(data["ends"][number - 1] if number else 0, data["ends"][number])
