# SPDX-License-Identifier: Apache-2.0
"""What a map costs a localizer, by the map's length: opening, cropping, memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ..errors import LhmapError
from ..geometry import Camera, distance_along, make_pose
from ..lhmap import LHMap
from ..memory import give_back_compiler, give_back_large_arrays, resident_mb
from ..processes import last_words
from .repeat import repeat_map

_STEP_M, _OPENINGS = 1.0, 7
_BASE_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def bench_map(source: Path, kilometres: list[float], drive_m: float = 300.0, report=None) -> list[dict]:
    """One row for each length, its map made of the tiles of `source` and used in a process of its own.

    `km`, `tiles`, `bytes_per_km`; `open_ms` (median); `crop_ms_p50`, `crop_ms_p99` and `tiles_waited_for` over a drive
    of `drive_m` with an image a metre; `rss_mb`, the resident memory at its end, networks included.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder, LHMap.open(source) as lhmap:
        for done, km in enumerate(kilometres):
            if report:
                report("measure", done, len(kilometres))
            path = Path(folder) / f"{km:g}km.lhmap"
            repeat_map(lhmap, path, km)
            command = [sys.executable, "-m", __name__, str(path), str(drive_m)]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                raise LhmapError(f"{km:g} km: {last_words(run.stderr, run.returncode)}")
            rows.append({"km": km, **json.loads(run.stdout)})
            path.unlink()
    if report:
        report("measure", len(kilometres), len(kilometres))
    return rows


def measure(path: Path, drive_m: float) -> dict:
    """Opens a map and drives along its path with the localizer's own crop, prefetch and refinement."""
    from ..localization.refine import RefineMode, Refiner, RefinerConfig
    from ..localization.submap_cache import PREFETCH_M, REUSE_M, SUBMAP_RADIUS_M

    refiner = Refiner(RefinerConfig())
    # a crop of every image, as if none served for several
    radius = SUBMAP_RADIUS_M + REUSE_M
    opened = []
    for _ in range(_OPENINGS):
        began = time.perf_counter()
        LHMap.open(path).close()
        opened.append(time.perf_counter() - began)
    camera = Camera(640, 360, 370.0, 370.0, 320.0, 180.0)
    image = np.random.default_rng(0).integers(0, 255, (camera.height, camera.width, 3), np.uint8)
    cropped = []
    with LHMap.open(path) as lhmap:
        poses = _drive(lhmap.metadata.path, drive_m)
        lhmap.crop(poses[0][:3, 3], radius)  # compiles, and reads what `initialpose` has to wait for
        waited = lhmap.tiles_waited_for
        for number, pose in enumerate(poses):
            began = time.perf_counter()
            crop = lhmap.crop(pose[:3, 3], radius)
            cropped.append(time.perf_counter() - began)
            lhmap.prefetch(pose[:3, 3], radius + PREFETCH_M)
            refiner.refine(image, camera, crop, pose, RefineMode.TRACK)
            if number == 0:
                # as the node does when it has warmed up
                give_back_compiler()
        return {
            "tiles": len(lhmap.index),
            "bytes_per_km": round(path.stat().st_size / lhmap.metadata.path_length_m * 1000),
            "open_ms": round(1e3 * float(np.median(opened)), 2),
            "crop_ms_p50": round(1e3 * float(np.percentile(cropped, 50)), 2),
            "crop_ms_p99": round(1e3 * float(np.percentile(cropped, 99)), 2),
            "tiles_waited_for": lhmap.tiles_waited_for - waited,
            "rss_mb": round(resident_mb(), 1),
        }


def _drive(path: np.ndarray, length_m: float) -> list[np.ndarray]:
    """Camera poses T_map_camera (4, 4) a metre apart, from the start of the path; a short path is driven again."""
    along = distance_along(path[:, :2])
    poses = []
    for s in np.arange(0, length_m, _STEP_M) % max(along[-1], _STEP_M):
        x, y, z = (np.interp(s, along, path[:, k]) for k in range(3))
        yaw = path[np.searchsorted(along, s, "right") - 1, 3]
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        poses.append(make_pose(turn @ _BASE_FROM_OPTICAL, [x, y, z + 1.6]))
    return poses


if __name__ == "__main__":
    give_back_large_arrays()
    print(json.dumps(measure(Path(sys.argv[1]), float(sys.argv[2]))))
