# SPDX-License-Identifier: Apache-2.0
"""Stage 5: the points worth keeping along some stretches of the path; stage 6: a tile as it lies in the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...lhmap.writer import HEAT_BINS, pack_tile
from ..config import BuildConfig
from ..selection import company, select_points
from ..settling import settle
from .store import load, save
from .tiles import LOT_VOXELS, Neighbourhood, corner_of, part_of


@dataclass(frozen=True)
class ChooseJob:
    """Writes which points of some tiles belong to some stretches and are kept by them."""

    stations: np.ndarray
    """(S, 3) middles of these stretches and of all others around, metres in the map frame."""
    budgets: np.ndarray
    """(S,) points each may keep; 0 for the others around."""
    reach_m: float
    tiles: tuple[tuple[tuple[int, int], Path], ...]
    heats: tuple[Path, ...]
    """The heat of each tile's points; none: all the same."""
    config: BuildConfig
    out: Path

    def run(self) -> None:
        near = Neighbourhood.of(self.tiles, self.config.tile_m)
        heat = np.ones(len(near.points))
        if self.heats:
            # those that draw a lot together are as hot as they are in the mean, so that all stay or none does
            each, members = np.concatenate([load(path)["heat"] for path in self.heats]), np.bincount(near.lot)
            heat = (np.bincount(near.lot, each) / members * self._thrift(near))[near.lot]
        kept = select_points(
            near.points, heat, near.luck[near.lot], self.stations - near.origin, self.budgets, self.config.fair_share,
            self.config.heat_power, self.reach_m,
        )  # fmt: skip
        save(self.out, **near.by_tile(kept))

    def _thrift(self, near: Neighbourhood) -> np.ndarray:
        """A factor (C,) on the heat of those that draw a lot together: less where they take more bytes a point."""
        c, first = self.config, np.zeros(len(near.luck), np.int64)
        first[near.lot] = np.arange(len(near.lot))
        cubes = np.floor((near.points[first] + near.origin) / (LOT_VOXELS * c.voxel_m)).astype(np.int64)
        return company(cubes) ** c.company_power


@dataclass(frozen=True)
class PackJob:
    """Writes a tile's bytes and what the index says of it."""

    tile: tuple[int, int]
    points: Path
    heat: Path | None
    choices: tuple[Path, ...] | None
    """What the stretches around keep of it; None: everything."""
    config: BuildConfig
    out: Path

    def run(self) -> None:
        data = load(self.points)
        count = len(data["points"])
        heat = np.ones(count, np.float32) if self.heat is None else load(self.heat)["heat"]
        keep = np.full(count, self.choices is None)
        for path in self.choices or ():
            choice = load(path)
            keep[choice["index"][part_of(choice, self.tile)]] = True
        points, heat, intensity, c = data["points"][keep], heat[keep], data["intensity"][keep], self.config
        if c.resolution_m is None:
            points, heat, intensity = settle(points, heat, intensity, c.voxel_m)
        heat, intensity = _in_levels(heat, c.heat_levels), _in_levels(intensity, c.intensity_levels)
        packed, encoding, z_base = pack_tile(points, heat, intensity, self.tile, c.step_m)
        corner = corner_of(self.tile, c.tile_m)
        save(
            self.out,
            data=np.frombuffer(packed, np.uint8),
            record=np.array([len(points), z_base, encoding], np.int64),
            histogram=np.histogram(heat, HEAT_BINS, (0, 1))[0],
            bounds=np.array([points.min(axis=0), points.max(axis=0)]) + corner if len(points) else np.zeros((0, 3)),
        )


def _in_levels(values: np.ndarray, levels: int) -> np.ndarray:
    """Values in [0, 1] rounded to so many different ones."""
    return np.round(values * (levels - 1)) / (levels - 1)
