# SPDX-License-Identifier: Apache-2.0
"""Stage 6, pack: a tile as it is stored in the file, its points quantized."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...lhmap.writer import HEAT_BINS, pack_tile
from ..config import BuildConfig
from ..quantization import quantize
from .store import load, save
from .tiles import tile_corner, tile_slice

HEAT_LEVELS = INTENSITY_LEVELS = 16
"""Different values in the file: 4 to 256 of either were measured (docs/training.md)."""


@dataclass(frozen=True)
class Packed:
    """A tile as it is stored in the file, and what the header needs of it."""

    data: bytes
    encoding: int
    z_base: int
    points: np.ndarray
    """(M, 3) quantized positions, metres from the tile's corner."""
    heat: np.ndarray
    """(M,) in [0, 1]."""

    @classmethod
    def of(
        cls, points: np.ndarray, heat: np.ndarray, intensity: np.ndarray, tile: tuple[int, int], config: BuildConfig
    ) -> Packed:
        """Packs points (N, 3), metres from the tile's corner, with heat and intensity (N,)."""
        if config.resolution_m is None:
            points, heat, intensity = quantize(points, heat, intensity, config.edge_m)
        heat, intensity = _in_levels(heat, HEAT_LEVELS), _in_levels(intensity, INTENSITY_LEVELS)
        return cls(*pack_tile(points, heat, intensity, tile, config.step_m), points, heat)


@dataclass(frozen=True)
class PackJob:
    """Writes a tile's bytes and its record in the index."""

    tile: tuple[int, int]
    points: Path
    heat: Path | None
    choices: tuple[Path, ...] | None
    """What the segments around keep of it; None: everything."""
    config: BuildConfig
    out: Path

    def run(self) -> None:
        data = load(self.points)
        count = len(data["points"])
        heat = np.ones(count, np.float32) if self.heat is None else load(self.heat)["heat"]
        keep = np.full(count, self.choices is None)
        for path in self.choices or ():
            choice = load(path)
            keep[choice["index"][tile_slice(choice, self.tile)]] = True
        packed = Packed.of(data["points"][keep], heat[keep], data["intensity"][keep], self.tile, self.config)
        points, corner = packed.points, tile_corner(self.tile, self.config.tile_m)
        save(
            self.out,
            data=np.frombuffer(packed.data, np.uint8),
            record=np.array([len(points), packed.z_base, packed.encoding], np.int64),
            histogram=np.histogram(packed.heat, HEAT_BINS, (0, 1))[0],
            bounds=np.array([points.min(axis=0), points.max(axis=0)]) + corner if len(points) else np.zeros((0, 3)),
        )


def _in_levels(values: np.ndarray, levels: int) -> np.ndarray:
    """Values in [0, 1] rounded to evenly spaced levels."""
    return np.round(values * (levels - 1)) / (levels - 1)
