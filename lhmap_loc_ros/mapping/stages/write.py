# SPDX-License-Identifier: Apache-2.0
"""Stage 7, write: the index of the map, and the packed tiles behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...datasets.bag import in_full
from ...datasets.trajectory import Trajectory
from ...errors import InputError
from ...inference import Model
from ...lhmap import GeodeticDatum, HeatModel, MapMetadata, layout
from ...lhmap.writer import write_tiles
from ...outputs import make_folder_of
from ..config import BuildConfig
from ..heat import sample_path
from ..noise import MIN_NEIGHBOURS
from .plan import Tile
from .store import load

_PATH_STEP_M = 5.0


def write_file(
    path: Path, out: Path | str, packs: dict[Tile, Path], drives: list[Trajectory], model: Model | None,
    config: BuildConfig, sources: Sequence[Path | str], intensity: str, datum: GeodeticDatum | None = None,
) -> None:  # fmt: skip
    """Writes packed tiles, read one by one, as the map `path`; `out` is the name of the map in errors.

    Raises InputError if no point is left.
    """
    start = drives[0].poses[0, :2, 3] if drives else np.array(next(iter(packs), (0, 0))) * config.tile_m
    # tiles are numbered from the first pose, which stays the same when bags are added
    base = np.floor(start / config.tile_m + 1e-9).astype(np.int64)
    records, paths, bounds, histograms = [], [], [], []
    for tile, pack in sorted(packs.items(), key=lambda item: (item[0][1], item[0][0])):
        data = load(pack)
        count, z_base, encoding = data["record"].tolist()
        if count:
            place = (tile[0] - base[0], tile[1] - base[1])
            records.append((*place, 0, len(data["data"]), count, z_base, 0, encoding, 0))
            paths.append(pack)
            bounds.append(data["bounds"])
            histograms.append(data["histogram"])
    if not records:
        raise InputError(
            f"{out}: no point of {', '.join(map(str, sources))} is left to write, expected static "
            f"surfaces of {MIN_NEIGHBOURS} points or more within {config.max_range_m:g} m of the path"
        )
    index = np.array(records, layout.INDEX)
    metadata = MapMetadata(
        frame=config.map_frame,
        datum=datum,
        origin=(*(base * config.tile_m).tolist(), 0.0),
        voxel_m=config.edge_m,
        tile_m=config.tile_m,
        resolution_m=config.step_m,
        points=int(index["count"].sum()),
        bounds=(np.min(bounds, (0, 1)).tolist(), np.max(bounds, (0, 1)).tolist()),
        heat_histogram=tuple(np.sum(histograms, axis=0).tolist()),
        path_length_m=round(sum(drive.length_m for drive in drives), 2),
        path=np.concatenate([np.empty((0, 4)), *map(_path_poses, drives)]),
        heat_model=HeatModel(name=config.heat_model, sha256=model.sha256) if model else None,
        intensity=intensity,
        build=config.model_dump(mode="json"),
        sources=tuple(in_full(source).name for source in sources),
    )
    make_folder_of(path)
    write_tiles(path, metadata, index, (load(pack)["data"].tobytes() for pack in paths))


def _path_poses(drive: Trajectory) -> np.ndarray:
    """x, y, z [m] and yaw [rad] of the vehicle (N, 4) every `_PATH_STEP_M` metres."""
    poses = sample_path(_PATH_STEP_M, drive.poses)
    yaw = np.arctan2(poses[:, 1, 0], poses[:, 0, 0])
    return np.column_stack([poses[:, :3, 3], yaw]).round(2)
