# SPDX-License-Identifier: Apache-2.0
"""From bags to an LHMap, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import numpy as np

from ..datasets.bag import BagReader
from ..datasets.trajectory import Trajectory
from ..errors import BagError, ConfigError
from ..inference import Model
from ..lhmap import HeatModel, LHMap, MapMetadata, MapPoints, write_map
from ..lhmap.layout import BYTES_PER_POINT
from .cloud import VoxelCloud
from .config import BuildConfig
from .heat import compute_heat, load_heat_model
from .moving import RangeImage, Thinner, find_moving
from .noise import find_isolated
from .poses import find_poses
from .scans import ScanSource, ahead, lidar_extrinsics, lidar_trajectory
from .selection import select_points

Report = Callable[[str, int, int], None]
_PATH_STEP_M = 5.0
_PACKED = 0.6
"""Share of its raw size that a point takes once its tile is compressed, with index and header, measured."""


def build_map(
    bag: Path | str | Sequence, out, config: BuildConfig | None = None, report: Report | None = None
) -> LHMap:
    """Builds the map of one bag, or of several whose poses share one map frame, writes it to `out`, opens it.

    `report(stage, done, total)` follows the progress. Raises an InputError for bags, poses, a configuration
    or a heat network that cannot be used; `out` is then left as it was.
    """
    config = config or BuildConfig()
    report = report or (lambda stage, done, total: None)
    bags = [bag] if isinstance(bag, str | Path) else list(bag)
    # a missing network should not show after minutes of work
    model = load_heat_model(config.heat_views.model) if config.heat == "network" else None
    with ExitStack() as stack:
        readers = [stack.enter_context(BagReader(path, config.intensity_scale)) for path in bags]
        drives, sources = _open_drives(readers, config, report)
        cloud, images = merge(sources, config, report)
    cloud = clean(cloud, images, config, report)
    return value_and_write(cloud, drives, bags, model, config, out, report)


def value_and_write(
    cloud: MapPoints, drives: list[Trajectory], sources: Sequence, model: Model | None, config: BuildConfig, out,
    report: Report,
) -> LHMap:  # fmt: skip
    """From a clean cloud to the map: heat along the drives, the points worth keeping, the file."""
    if drives:
        path = np.concatenate([drive.poses for drive in drives])
        if model is not None:
            cloud = cloud.with_heat(compute_heat(cloud, path, model, config.heat_views, report))
        cloud = select(cloud, path, config, report)
    report("write", 0, 1)
    write_map(out, cloud, _metadata(cloud, drives, model, config, sources))
    report("write", 1, 1)
    return LHMap.open(out)


def _open_drives(
    readers: list[BagReader], config: BuildConfig, report: Report
) -> tuple[list[Trajectory], list[ScanSource]]:
    """The vehicle's trajectory in each bag, and its scans."""
    drives, sources = [], []
    for reader in readers:
        reader.require(config.points_topic)
        T_base_lidar = lidar_extrinsics(reader, config)
        trajectory, origin = find_poses(reader, config, T_base_lidar, report)
        if len(readers) > 1 and origin in ("odometry", "icp"):
            raise ConfigError(
                f"poses: {reader.path} has only poses by {origin}, whose frame is its own; "
                "several bags make one map only with poses in one map frame (tf or file)"
            )
        drives.append(trajectory)
        sources.append(ScanSource(reader, config, lidar_trajectory(trajectory, T_base_lidar)))
    return drives, sources


def merge(sources: list[ScanSource], config: BuildConfig, report: Report) -> tuple[MapPoints, list[RangeImage]]:
    """All scans in one voxel cloud, heat 1, and the range images of some; raises BagError if none is placed."""
    cloud, images = VoxelCloud(config.voxel_m), []
    total, done, placed = sum(len(source) for source in sources), 0, 0
    for source in sources:
        thinner = Thinner(config.moving)
        for scan in ahead(source):
            done += 1
            report("merge", done, total)
            if scan is None:
                continue
            cloud.add(scan.points, scan.intensity)
            placed += 1
            if config.moving.enabled and thinner.wants(scan):
                images.append(RangeImage.of(scan))
    if not placed:
        raise BagError(
            f"none of the {total} scans on {config.points_topic} has points in range at a time with a known pose"
        )
    return cloud.to_points(), images


def clean(cloud: MapPoints, images: list[RangeImage], config: BuildConfig, report: Report) -> MapPoints:
    """The cloud without what moved, and without points that stand alone."""
    if config.moving.enabled:
        cloud = cloud.select(~find_moving(cloud.points, cloud.origin, images, config.moving, report))
    if config.min_neighbours > 1:
        cloud = cloud.select(~find_isolated(cloud.points, config.isolation_m, config.min_neighbours))
    return cloud


def select(cloud: MapPoints, path: np.ndarray, config: BuildConfig, report: Report) -> MapPoints:
    """The points worth keeping within the budget; see `selection` for the rule."""
    if config.budget_mb_per_km is None:
        return cloud
    report("select", 0, 1)
    per_m = config.budget_mb_per_km * 1000 / (BYTES_PER_POINT * _PACKED)
    # near the map's origin float32 resolves the path as well as the points
    stations = path[:, :3, 3] - cloud.origin
    kept = select_points(
        cloud.points, cloud.heat, stations, config.stretch_m, per_m, config.fair_share, config.heat_power
    )
    report("select", 1, 1)
    return cloud.select(kept)


def _metadata(
    cloud: MapPoints, drives: list[Trajectory], model: Model | None, config: BuildConfig, sources: Sequence
) -> MapMetadata:
    corner = np.floor(cloud.origin / config.tile_m) * config.tile_m
    return MapMetadata(
        frame=config.map_frame,
        origin=tuple(corner.tolist()),
        voxel_m=config.voxel_m,
        tile_m=config.tile_m,
        resolution_m=config.resolution_m,
        path_length_m=round(sum(drive.length_m for drive in drives), 2),
        path=tuple(chain.from_iterable(_waypoints(drive) for drive in drives)),
        heat_model=None if model is None else HeatModel(name=config.heat_views.model, sha256=model.sha256),
        # where a file lies on this machine says nothing about the map
        build=config.model_dump(mode="json", exclude={"poses_file"}),
        sources=tuple(Path(source).name for source in sources),
    )


def _waypoints(drive: Trajectory) -> list[tuple[float, float, float, float]]:
    """x, y, z and yaw of the vehicle every few metres."""
    along = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(drive.poses[:, :3, 3], axis=0), axis=1))]
    stops = np.unique(np.searchsorted(along, np.arange(0.0, along[-1] + 1e-6, _PATH_STEP_M)))
    poses = drive.poses[stops]
    yaw = np.arctan2(poses[:, 1, 0], poses[:, 0, 0])
    return [tuple(row) for row in np.column_stack([poses[:, :3, 3], yaw]).round(2).tolist()]
