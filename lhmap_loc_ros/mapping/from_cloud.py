# SPDX-License-Identifier: Apache-2.0
"""Import of point clouds of other programs as an LHMap, and export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..datasets.clouds import Cloud, read_cloud, write_cloud, write_tiles
from ..datasets.trajectory import Trajectory
from ..errors import ConfigError, InputError
from ..lhmap import LHMap
from ..outputs import check_file
from ..progress import Report, quiet
from .builder import load_describer, map_from_tiles, resolved, working_folder
from .cloud import VOXEL, VoxelCloud
from .config import BuildConfig
from .heat import load_heat_model
from .intensity import IntensityRanks
from .stages.accumulate import write_chunk
from .stages.plan import Plan, Tile, results
from .stages.schedule import Workers, local_workers
from .stages.store import save
from .stages.tiles import sampling_blocks, tile_corner

_MAX_VOXELS = 2**31
"""Bound of grid indices, 32 bits."""
_MIN_POINTS, _MIN_EXTENT_M, _MAX_EXTENT_M, _MAX_HEIGHT_M = 100, 0.5, 100_000.0, 5000.0
"""Plausible extents of a map, from the 1st to the 99th percentile of coordinates; smaller clouds may have any."""


def map_from_cloud(
    source: Path | str, out: Path | str, config: BuildConfig, drive: Trajectory | None = None,
    report: Report | None = None,
) -> LHMap:  # fmt: skip
    """Makes an LHMap of a cloud file or a folder of tiles, writes it to `out` and opens it.

    With the path of a `drive` in the cloud's frame, heat, selection and places are those of `build_map`. Without it
    there are no views: all points have the same heat, and none is dropped. A cloud with heat is an exported LHMap,
    whose points are kept one by one with their heat, unless `config` names a budget. Raises InputError for a cloud that
    cannot be used.
    """
    report = report or quiet
    check_file(out)
    model = None if drive is None or config.heat_model is None else load_heat_model(config.heat_model)
    describer = load_describer(config) if drive is not None else None
    config = resolved(config)
    report("read", 0, 1)
    found = read_cloud(source)
    report("read", 1, 1)
    if not len(found):
        raise InputError(f"{source}: no points found, expected a map")
    reach = float(np.abs(found.xyz).max())
    if reach / config.edge_m >= _MAX_VOXELS:
        raise InputError(f"{source}: coordinates up to {reach:.3g} m found, expected metres; is a point corrupt?")
    _check_size(source, found)
    if drive is not None:
        _check_near(source, found, drive, config)
    drives = [] if drive is None else [drive]
    with working_folder(out, None) as folder, local_workers() as workers:
        settings: dict[str, bool | float | None] = {"remove_moving": False}
        if found.heat is not None:
            # stored by exact coordinates, so that no two points become one
            settings["resolution_m"] = config.step_m
            if "budget_mb_per_km" not in config.model_fields_set:
                settings["budget_mb_per_km"] = None
        plan = Plan(folder, config.model_copy(update=settings))
        if found.heat is None:
            points, heats = _voxelized(source, found, plan, workers, report), None
        else:
            points, heats = _point_by_point(found, found.heat, plan)
        intensity = "none" if found.intensity is None or not found.intensity.any() else "rank"
        model = model if heats is None else None
        return map_from_tiles(plan, points, drives, [source], model, workers, out, report, intensity, heats, describer)


def _check_size(source: Path | str, cloud: Cloud) -> None:
    """Raises InputError for a cloud of an implausible size: its unit is not metres, or it is an object."""
    low, high = np.quantile(cloud.xyz, (0.01, 0.99), axis=0)
    wide, tall = float((high - low)[:2].max()), float((high - low)[2])
    small = len(cloud) >= _MIN_POINTS and max(wide, tall) < _MIN_EXTENT_M
    if small or wide > _MAX_EXTENT_M or tall > _MAX_HEIGHT_M:
        raise InputError(
            f"{source}: a cloud {wide:.3g} wide and {tall:.3g} high found, expected metres "
            f"({_MIN_EXTENT_M:g} to {_MAX_EXTENT_M:g} wide, at most {_MAX_HEIGHT_M:g} high)"
        )


def _check_near(source: Path | str, cloud: Cloud, drive: Trajectory, config: BuildConfig) -> None:
    """Raises InputError for a path farther from the cloud than `max_range_m`: it is in another frame, such as UTM."""
    boxes = [np.array([xy.min(axis=0), xy.max(axis=0)]) for xy in (cloud.xyz[:, :2], drive.poses[:, :2, 3])]
    gap = np.maximum(boxes[0][0] - boxes[1][1], boxes[1][0] - boxes[0][1]).max()
    if gap > config.max_range_m:
        spans = [f"x {low[0]:.1f} to {high[0]:.1f} m and y {low[1]:.1f} to {high[1]:.1f} m" for low, high in boxes]
        raise InputError(
            f"{source}: a cloud of {spans[0]} and a path of {spans[1]} found, expected a path in the frame of the cloud"
        )


def _voxelized(
    source: Path | str, cloud: Cloud, plan: Plan, workers: Workers, report: Report
) -> dict[Tile, Path]:  # fmt: skip
    """Tiles of a cloud of any density, one point a voxel."""
    c = plan.config
    voxels = VoxelCloud(c.edge_m)
    try:
        voxels.add(cloud.xyz, 0.0 if cloud.intensity is None else IntensityRanks.of(cloud.intensity)(cloud.intensity))
    except InputError as error:
        raise InputError(f"{source}: {error}, expected a map without such outliers") from None
    chunk = plan.out("cloud", cloud.xyz, cloud.intensity, c.voxel_m, c.tile_m)
    write_chunk(chunk, voxels.voxels(), [], 1, c)
    tiles = plan.clean([chunk])
    workers.do("clean", list(tiles.values()), report)
    return results(tiles)


def _point_by_point(cloud: Cloud, heat: np.ndarray, plan: Plan) -> tuple[dict[Tile, Path], dict[Tile, Path]]:
    """Tiles of an exported LHMap, each point of the cloud a point of the map, and their heats, of `heat` (N,)."""
    intensity = np.zeros(len(cloud), np.float32) if cloud.intensity is None else cloud.intensity
    tiles = np.floor(cloud.xyz[:, :2] / plan.config.tile_m).astype(np.int64)
    order = np.lexsort((tiles[:, 0], tiles[:, 1]))
    cuts = np.flatnonzero((np.diff(tiles[order], axis=0) != 0).any(axis=1)) + 1
    points, heats = {}, {}
    for members in np.split(order, cuts):
        tile = tuple(tiles[members[0]].tolist())
        local = (cloud.xyz[members] - tile_corner(tile, plan.config.tile_m)).astype(np.float32)
        voxels = np.zeros(len(members), VOXEL)
        voxels["grid"] = np.floor(cloud.xyz[members] / plan.config.edge_m)
        found = {"points": local, "intensity": intensity[members], **sampling_blocks(voxels)}
        points[tile], heats[tile] = plan.out("points", tile, found), plan.out("heat", tile, heat[members])
        save(points[tile], **found)
        save(heats[tile], heat=heat[members])
    return points, heats


def cloud_from_map(lhmap: LHMap, out: Path | str, around_origin: bool = False) -> None:
    """Writes the points of a map as PLY, PCD, LAS or LAZ, or, to a name without suffix, as a folder of PCD tiles.

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
