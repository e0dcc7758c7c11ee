# SPDX-License-Identifier: Apache-2.0
"""What building a map costs, by the length of the drive."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ..datasets.bag import BagReader
from ..datasets.bag_writer import BagWriter
from ..errors import LhmapError
from ..geometry import inverse
from ..lhmap import LHMap
from ..mapping.builder import build_map
from ..mapping.config import BuildConfig
from ..mapping.poses import find_poses
from ..mapping.scans import lidar_extrinsics


def repeat_drive(source: Path, out: Path, times: int) -> None:
    """Writes a bag in which a drive goes on where it ended, its scans seen again, as often as asked.

    Poses are in the bag's TF. Raises BagError or InputError for a bag that cannot be mapped.
    """
    config = BuildConfig()
    with BagReader(source) as reader, BagWriter(out) as writer:
        T_base_lidar = lidar_extrinsics(reader, config)
        drive, _ = find_poses(reader, config, T_base_lidar)
        first, last = reader.span_ns
        # as long again as between two scans
        period = last - first + (last - first) // max(reader.count(config.points_topic) - 1, 1)
        onward = drive.poses[-1] @ inverse(drive.poses[0])
        shift = np.eye(4)
        for k in range(times):
            if k == 0:
                writer.tf_static(first, {(config.base_frame, "lidar"): T_base_lidar})
            for stamp, pose in zip(drive.stamps_ns.tolist(), drive.poses, strict=True):
                writer.tf(stamp + k * period, {(config.map_frame, config.base_frame): shift @ pose})
            for scan in reader.messages([config.points_topic]):
                seconds = None if scan.offsets_ns is None else scan.offsets_ns / 1e9
                writer.points(
                    config.points_topic, scan.stamp_ns + k * period, "lidar", scan.points, scan.intensity, time=seconds
                )
            shift = onward @ shift


def bench_build(source: Path, times: list[int], config: Path | None = None, report=None) -> list[dict]:
    """One row for each length: `times`, `scans`, `km`, `seconds`, `scans_per_s`, `peak_mb`, `map_mb`.

    Each build is a process of its own, `peak_mb` the most memory it has ever held.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for done, count in enumerate(times):
            if report:
                report("build", done, len(times))
            bag, out = Path(folder) / f"drive{count}", Path(folder) / f"{count}.lhmap"
            repeat_drive(source, bag, count)
            command = [sys.executable, "-m", __name__, str(bag), str(out), *([str(config)] if config else [])]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                raise LhmapError(f"{count} times {source}: {run.stderr.strip().splitlines()[-1]}")
            rows.append({"times": count, **json.loads(run.stdout)})
    if report:
        report("build", len(times), len(times))
    return rows


def measure(bag: Path, out: Path, config: BuildConfig) -> dict:
    """Builds a map and says what it took."""
    with BagReader(bag) as reader:
        scans = reader.count(config.points_topic)
    began = time.perf_counter()
    build_map(bag, out, config).close()
    seconds = time.perf_counter() - began
    with LHMap.open(out) as lhmap:
        km = lhmap.metadata.path_length_m / 1000
    return {
        "scans": scans,
        "km": round(km, 4),
        "seconds": round(seconds, 1),
        "scans_per_s": round(scans / seconds, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "map_mb": round(out.stat().st_size / 1e6, 2),
    }


if __name__ == "__main__":
    from ..configuration import load

    settings = load(BuildConfig, Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]), settings)))
