# SPDX-License-Identifier: Apache-2.0
"""Stage 5: the points worth keeping along some stretches of the path; stage 6: a tile as it lies in the file."""

from __future__ import annotations

from collections.abc import Sequence
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
class Packed:
    """A tile as it lies in the file, and what of it the header tells."""

    data: bytes
    encoding: int
    z_base: int
    points: np.ndarray
    """(M, 3) where the points lie now, metres from the tile's corner."""
    heat: np.ndarray
    """(M,) in [0, 1]."""

    @classmethod
    def of(
        cls, points: np.ndarray, heat: np.ndarray, intensity: np.ndarray, tile: tuple[int, int], config: BuildConfig
    ) -> Packed:
        """Packs points (N, 3), metres from the tile's corner, with heat and intensity (N,)."""
        if config.resolution_m is None:
            points, heat, intensity = settle(points, heat, intensity, config.voxel_m)
        heat, intensity = _in_levels(heat, config.heat_levels), _in_levels(intensity, config.intensity_levels)
        return cls(*pack_tile(points, heat, intensity, tile, config.step_m), points, heat)


@dataclass(frozen=True)
class ChooseJob:
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
            # those that draw a lot together are as hot as they are in the mean, so that all stay or none does
            mean = np.bincount(near.lot, heat) / np.bincount(near.lot)
            worth = (mean * self._thrift(near))[near.lot]
        kept = select_points(
            near.points, worth, near.luck[near.lot], self.stations - near.origin, self.budgets, self.config.fair_share,
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
        packed = Packed.of(data["points"][keep], heat[keep], data["intensity"][keep], self.tile, self.config)
        points, corner = packed.points, corner_of(self.tile, self.config.tile_m)
        save(
            self.out,
            data=np.frombuffer(packed.data, np.uint8),
            record=np.array([len(points), packed.z_base, packed.encoding], np.int64),
            histogram=np.histogram(packed.heat, HEAT_BINS, (0, 1))[0],
            bounds=np.array([points.min(axis=0), points.max(axis=0)]) + corner if len(points) else np.zeros((0, 3)),
        )


def _in_levels(values: np.ndarray, levels: int) -> np.ndarray:
    """Values in [0, 1] rounded to so many different ones."""
    return np.round(values * (levels - 1)) / (levels - 1)
