# SPDX-License-Identifier: Apache-2.0
"""Stage 5, select: the points worth keeping along some stretches of the path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import BuildConfig
from ..selection import company, select_points
from .pack import Packed
from .store import load, save
from .tiles import SAMPLING_BLOCK_VOXELS, Neighbourhood, corner_of


@dataclass(frozen=True)
class SelectJob:
    """Writes which points of some tiles belong to some stretches and are kept by them."""

    stations: np.ndarray
    """(S, 3) middles of these stretches and of all others around, metres in the map frame."""
    budgets: np.ndarray
    """(S,) bytes each may keep; 0 for the others around."""
    reach_m: float
    tiles: tuple[tuple[tuple[int, int], Path], ...]
    heats: tuple[Path, ...]
    """The heat of each tile's points; none: all the same."""
    config: BuildConfig
    out: Path

    def run(self) -> None:
        near = Neighbourhood.of(self.tiles, self.config.tile_m)
        heat = worth = np.ones(len(near.points), np.float32)
        if self.heats:
            heat = np.concatenate([load(path)["heat"] for path in self.heats])
            # one value for each sampling block, so that its points are kept or dropped together
            mean = np.bincount(near.sampling_block, heat) / np.bincount(near.sampling_block)
            worth = (mean * self._density_factor(near))[near.sampling_block]
        priority = near.sampling_priority[near.sampling_block]
        kept = select_points(
            near.points, worth, priority, self.stations - near.origin, self.budgets, self.config.fair_share,
            self.config.heat_power, self.reach_m, lambda kept: self._bytes(kept, near, heat),
        )  # fmt: skip
        save(self.out, **near.by_tile(kept))

    def _bytes(self, kept: Sequence[np.ndarray], near: Neighbourhood, heat: np.ndarray) -> np.ndarray:
        """What the points that each stretch keeps take (S,), tile by tile, as if nothing else were there.

        So nothing that others keep changes what a stretch can pay for. The odds that a tile learns anew for each of
        its stretches cost some 4 %, about as much as what is not counted: index and header.
        """
        paid = np.zeros(len(kept))
        for number, index in enumerate(map(np.sort, kept)):
            by_tile = np.split(index, np.searchsorted(index, near.ends[:-1]))
            for tile, here in zip(near.tiles, by_tile, strict=True):
                if len(here):
                    points = near.points[here] + (near.origin - corner_of(tile, self.config.tile_m))
                    packed = Packed.of(points, heat[here], near.intensity[here], tile, self.config)
                    paid[number] += len(packed.data)
        return paid

    def _density_factor(self, near: Neighbourhood) -> np.ndarray:
        """A factor (B,) on the heat of each sampling block: less where its surroundings are sparse."""
        c, first = self.config, np.zeros(len(near.sampling_priority), np.int64)
        first[near.sampling_block] = np.arange(len(near.sampling_block))
        blocks = np.floor((near.points[first] + near.origin) / (SAMPLING_BLOCK_VOXELS * c.voxel_m)).astype(np.int64)
        return company(blocks) ** c.company_power
