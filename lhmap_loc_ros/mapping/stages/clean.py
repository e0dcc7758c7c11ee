# SPDX-License-Identifier: Apache-2.0
"""Stage 2, clean: one tile of the map, the points of all bags in it, without moving objects and noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cleaning import find_static
from ..cloud import merge_voxels
from ..config import BuildConfig
from .accumulate import read_images, read_voxels
from .store import save
from .tiles import observation_reach, sampling_blocks, tile_corner


@dataclass(frozen=True)
class CleanJob:
    """Writes the points of a tile relative to its corner, their intensity and their sampling blocks."""

    tile: tuple[int, int]
    parts: tuple[tuple[Path, int, int], ...]
    """Chunks with voxels in this tile, and the first and last of these."""
    observing_chunks: tuple[Path, ...]
    """Chunks with range images of keyframes near the tile."""
    config: BuildConfig
    out: Path

    def run(self) -> None:
        config = self.config
        voxels = merge_voxels([read_voxels(*part) for part in self.parts])
        corner = tile_corner(self.tile, config.tile_m)
        hits = voxels["hits"][:, None]
        points = (voxels["grid"] * config.voxel_m - corner + config.voxel_m * voxels["sum"] / hits).astype(np.float32)
        middle, reach = corner[:2] + config.tile_m / 2, observation_reach(config.tile_m)
        # one chunk at a time: after a long standstill there are many images
        images = (image for path in self.observing_chunks for image in read_images(path, middle, reach))
        keep = find_static(points, corner, images, config.remove_moving)
        voxels, points = voxels[keep], points[keep]
        intensity = voxels["intensity"] / np.maximum(voxels["hits"], 1)
        save(self.out, points=points, intensity=intensity.astype(np.float32), **sampling_blocks(voxels))
