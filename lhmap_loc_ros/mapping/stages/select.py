# SPDX-License-Identifier: Apache-2.0
"""Stage 5, select: the points to keep along some segments of the path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import BuildConfig
from ..selection import ANGULAR_UNIFORM_FRACTION, HEAT_POWER, occupancy_density, select_points
from .pack import Packed
from .store import load, save
from .tiles import SAMPLING_BLOCK_VOXELS, TileCloud, tile_corner


@dataclass(frozen=True)
class SelectJob:
    """Writes which points of some tiles are kept by some segments of the path."""

    centers: np.ndarray
    """(S, 3), of these segments and of all others around, metres in the map frame."""
    budgets: np.ndarray
    """(S,) bytes for each segment; 0 for the others around."""
    reach_m: float
    tiles: tuple[tuple[tuple[int, int], Path], ...]
    heats: tuple[Path, ...]
    """The heat of each tile's points; none: all the same."""
    config: BuildConfig
    out: Path

    def run(self) -> None:
        near = TileCloud.of(self.tiles, self.config.tile_m)
        heat = weight = np.ones(len(near.points), np.float32)
        if self.heats:
            heat = np.concatenate([load(path)["heat"] for path in self.heats])
            # one value for each sampling block, so that its points are kept or dropped together
            mean = np.bincount(near.sampling_block, heat) / np.bincount(near.sampling_block)
            weight = (mean * self._density_factor(near))[near.sampling_block]
        priority = near.sampling_priority[near.sampling_block]
        kept = select_points(
            near.points, weight, priority, self.centers - near.origin, self.budgets, ANGULAR_UNIFORM_FRACTION,
            HEAT_POWER, self.reach_m, lambda kept: self._bytes(kept, near, heat),
        )  # fmt: skip
        save(self.out, **near.by_tile(kept))

    def _bytes(self, kept: Sequence[np.ndarray], near: TileCloud, heat: np.ndarray) -> np.ndarray:
        """Bytes (S,) of the points that each segment keeps, tile by tile, coded by themselves.

        So a segment's selection does not depend on what other segments keep. Coding them apart costs some 4 %, about
        as much as what is not counted: index and header.
        """
        size = np.zeros(len(kept))
        for number, index in enumerate(map(np.sort, kept)):
            by_tile = np.split(index, np.searchsorted(index, near.ends[:-1]))
            for tile, here in zip(near.tiles, by_tile, strict=True):
                if len(here):
                    points = near.points[here] + (near.origin - tile_corner(tile, self.config.tile_m))
                    packed = Packed.of(points, heat[here], near.intensity[here], tile, self.config)
                    size[number] += len(packed.data)
        return size

    def _density_factor(self, near: TileCloud) -> np.ndarray:
        """A factor (B,) on the heat of each sampling block: less where its surroundings are sparse."""
        c, first = self.config, np.zeros(len(near.sampling_priority), np.int64)
        first[near.sampling_block] = np.arange(len(near.sampling_block))
        blocks = np.floor((near.points[first] + near.origin) / (SAMPLING_BLOCK_VOXELS * c.edge_m)).astype(np.int64)
        return occupancy_density(blocks)
