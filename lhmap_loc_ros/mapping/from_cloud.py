# SPDX-License-Identifier: Apache-2.0
"""An LHMap of a point cloud that somebody else has made, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..datasets.clouds import Cloud, read_cloud, write_cloud, write_tiles
from ..datasets.trajectory import Trajectory
from ..errors import ConfigError, InputError
from ..lhmap import LHMap, MapPoints
from .builder import Report, value_and_write
from .cloud import VoxelCloud
from .config import BuildConfig
from .heat import load_heat_model
from .noise import find_isolated


def map_from_cloud(
    source, out, config: BuildConfig, drive: Trajectory | None = None, report: Report | None = None
) -> LHMap:
    """Makes an LHMap of a cloud file or a folder of tiles, writes it to `out` and opens it.

    With the path of a `drive` in the cloud's frame, heat and selection are those of `build_map`. Without, there are no
    places to look from: the points keep the heat of the file, or all get the same, and none is left out. A cloud with
    heat was an LHMap already and is not merged into voxels again. Raises InputError for a cloud that cannot be used.
    """
    report = report or (lambda stage, done, total: None)
    model = load_heat_model(config.heat_views.model) if drive is not None and config.heat == "network" else None
    report("read", 0, 1)
    found = read_cloud(source)
    report("read", 1, 1)
    if not len(found):
        raise InputError(f"{source}: no points found, expected a map")
    cloud = _as_points(found) if found.heat is not None else _merged(found, config)
    return value_and_write(cloud, [] if drive is None else [drive], [source], model, config, out, report)


def _as_points(cloud: Cloud) -> MapPoints:
    origin = np.floor(cloud.xyz.min(axis=0))
    intensity = np.zeros(len(cloud), np.float32) if cloud.intensity is None else cloud.intensity
    return MapPoints(cloud.xyz - origin, intensity, cloud.heat, origin)


def _merged(cloud: Cloud, config: BuildConfig) -> MapPoints:
    voxels = VoxelCloud(config.voxel_m)
    voxels.add(cloud.xyz, 0.0 if cloud.intensity is None else cloud.intensity)
    points = voxels.to_points()
    if config.min_neighbours > 1:
        points = points.select(~find_isolated(points.points, config.isolation_m, config.min_neighbours))
    return points


def cloud_from_map(lhmap: LHMap, out, around_origin: bool = False) -> None:
    """Writes the points of a map as PLY, PCD, LAS or LAZ, or, to a name without a suffix, as a folder of PCD tiles.

    Coordinates are those of the map frame, or with `around_origin` relative to `lhmap.metadata.origin`. Raises
    InputError for names and coordinates that the format does not allow.
    """
    out = Path(out)
    shift = np.array(lhmap.metadata.origin) if around_origin else np.zeros(3)
    if out.suffix:
        points = lhmap.all_points()
        write_cloud(out, Cloud(points.points + (points.origin - shift), points.intensity, points.heat))
        return
    if out.exists():
        raise ConfigError(f"{out}: exists already, expected a new folder for the tiles")
    write_tiles(out, _tiles(lhmap, shift), lhmap.metadata.tile_m)


def _tiles(lhmap: LHMap, shift: np.ndarray) -> Iterator[tuple[tuple[float, float], Cloud]]:
    for number in range(len(lhmap.index)):
        tile = lhmap.tile(number)
        corner = tile.corner - shift
        yield (float(corner[0]), float(corner[1])), Cloud(tile.points + corner, tile.intensity, tile.heat)
