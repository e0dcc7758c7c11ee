# SPDX-License-Identifier: Apache-2.0
"""Stage 1, accumulate: the scans of some seconds of a bag in the map frame, accumulated in voxels, sorted by tile."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...datasets.bag import BagReader
from ...datasets.trajectory import Trajectory
from ...lhmap.atomic import replacing
from ..cloud import VOXEL, VoxelCloud
from ..config import BuildConfig
from ..intensity import IntensityRanks
from ..moving import KeyframeSelector, RangeImage
from ..scans import ScanSource
from .store import load, save


@dataclass(frozen=True)
class AccumulateJob:
    """Writes `out` (tiles and range images) and beside it OUT.voxels, the voxels tile after tile."""

    bag: Path
    start_ns: int
    stop_ns: int | None
    trajectory: Path
    """Poses of the LiDAR in the map frame."""
    intensity: IntensityRanks
    config: BuildConfig
    out: Path

    def run(self) -> None:
        drive = load(self.trajectory)
        trajectory = Trajectory(drive["stamps"], drive["poses"])
        cloud, images, keyframes = VoxelCloud(self.config.edge_m), [], KeyframeSelector()
        placed = left_out = 0
        with BagReader(self.bag, self.config.point_times) as reader:
            for scan in ScanSource(reader, self.config, trajectory, self.start_ns, self.stop_ns):
                if scan is None:
                    left_out += 1
                    continue
                placed += 1
                cloud.add(scan.points, self.intensity(scan.intensity))
                if self.config.remove_moving and keyframes.is_keyframe(scan):
                    images.append(RangeImage.of(scan))
            unusable = reader.left_out.counts
        write_chunk(self.out, cloud.voxels(), images, placed, self.config, left_out, unusable)


def write_chunk(
    out: Path, voxels: np.ndarray, images: list[RangeImage], scans: int, config: BuildConfig, left_out: int = 0,
    unusable: dict[str, int] | None = None,
) -> None:  # fmt: skip
    """Writes a chunk of a bag: its voxels tile after tile beside `out`, and then `out`.

    `scans` is the number of accumulated scans, `left_out` that of other scans, `unusable` counts messages by reason.
    """
    tiles = np.floor((voxels["grid"][:, :2] + 0.5) * (config.edge_m / config.tile_m)).astype(np.int32)
    order = np.lexsort((tiles[:, 0], tiles[:, 1]))
    voxels, tiles = voxels[order], tiles[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(tiles, axis=0) != 0).any(1)]) if len(tiles) else np.zeros(0, int)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(voxels_of(out)) as file:
        file.write(voxels.tobytes())
    save(
        out,
        tiles=tiles[starts],
        spans=np.column_stack([starts, np.r_[starts[1:], len(voxels)]]) if len(starts) else np.zeros((0, 2), int),
        poses=np.array([image.T_map_lidar for image in images]).reshape(-1, 4, 4),
        first_rows=np.array([image.first_row for image in images], np.int64),
        rows=np.array([len(image.nearest) for image in images], np.int64),
        ranges=np.concatenate([image.nearest for image in images]) if images else np.zeros((0, 0), np.float32),
        scans=np.array([scans, left_out]),
        unusable=np.array(json.dumps(unusable or {})),
    )


def voxels_of(out: Path) -> Path:
    """The file of voxels beside a chunk."""
    return out.with_suffix(".voxels")


def read_voxels(out: Path, start: int, end: int) -> np.ndarray:
    """Voxels `start` to `end` of a chunk, (end - start,) of VOXEL."""
    return np.fromfile(voxels_of(out), VOXEL, count=end - start, offset=start * VOXEL.itemsize)


def read_images(out: Path, center: np.ndarray, radius: float) -> list[RangeImage]:
    """The range images of a chunk taken within `radius` metres of `center` (2,)."""
    data = load(out)
    ends = np.cumsum(data["rows"])
    near = np.hypot(*(data["poses"][:, :2, 3] - center).T) <= radius
    return [
        RangeImage(data["poses"][k], int(data["first_rows"][k]), data["ranges"][ends[k] - data["rows"][k] : ends[k]])
        for k in np.flatnonzero(near)
    ]
