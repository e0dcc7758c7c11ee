# SPDX-License-Identifier: Apache-2.0
"""What building a map costs, by the length of the drive."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np

from ..configuration import dump, load
from ..datasets.bag import BagReader
from ..datasets.bag_writer import BagWriter
from ..errors import ConfigError, LhmapError
from ..geometry import inverse
from ..lhmap import LHMap
from ..mapping.builder import build_map
from ..mapping.config import BuildConfig
from ..mapping.poses import find_poses
from ..mapping.scans import lidar_extrinsics
from ..memory import give_back_large_arrays
from ..processes import last_words


def repeat_drive(source: Path, out: Path, times: int, config: BuildConfig) -> BuildConfig:
    """Writes a bag in which a drive goes on where it ended, its scans seen again, as often as asked.

    Returns the settings to map it by: poses are in its TF. Raises BagError or InputError for a bag that cannot be
    mapped.
    """
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
    frames = {"lidar_frame": None, "lidar_in_base": None}
    return config.model_copy(update={"poses": "tf", "tf_topic": "/tf", "tf_static_topic": "/tf_static", **frames})


def bench_build(
    source: Path, times: list[int], config: Path | None = None, dask_workers: Sequence[int] = (), report=None
) -> list[dict]:
    """One row for each length, and for each number of Dask workers after that of this machine's cores.

    `times`, `workers`, `scans`, `km`, `seconds`, `scans_per_s`, `peak_mb`, `map_mb`. Each build is a process of its
    own, `peak_mb` the most memory it, or one of its Dask workers, has ever held.
    """
    rows, builds, settings = [], list(product(times, [0, *dask_workers])), load(BuildConfig, config)
    with tempfile.TemporaryDirectory() as folder:
        for done, (count, workers) in enumerate(builds):
            if report:
                report("build", done, len(builds))
            bag, out = Path(folder) / f"drive{count}", Path(folder) / f"{count}.lhmap"
            if not bag.exists():
                mapped = repeat_drive(source, bag, count, settings)
                (Path(folder) / "settings.yaml").write_text(dump(mapped))
            command = [sys.executable, "-m", __name__, bag, out, workers, Path(folder) / "settings.yaml"]
            run = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            if run.returncode:
                raise LhmapError(f"{count} times {source}: {last_words(run.stderr, run.returncode)}")
            who = f"{workers} of Dask" if workers else f"{os.cpu_count()} cores"
            rows.append({"times": count, "workers": who, **json.loads(run.stdout)})
            out.unlink()
    if report:
        report("build", len(builds), len(builds))
    return rows


@contextmanager
def _scheduler(workers: int) -> Iterator[str | None]:
    """The address of a Dask cluster of so many processes of one thread; None for none of them."""
    if not workers:
        yield None
        return
    try:
        from distributed import LocalCluster
    except ImportError:
        raise ConfigError("dask is not installed: pip install 'lhmap_loc_ros[dask]'") from None
    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def measure(bag: Path, out: Path, config: BuildConfig, workers: int = 0) -> dict:
    """Builds a map, with so many Dask workers or, if none, on all cores, and says what it took."""
    with BagReader(bag) as reader:
        scans = reader.count(config.points_topic)
    with _scheduler(workers) as scheduler:
        began = time.perf_counter()
        build_map(bag, out, config, scheduler=scheduler).close()
        seconds = time.perf_counter() - began
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    with LHMap.open(out) as lhmap:
        km = lhmap.metadata.path_length_m / 1000
    return {
        "scans": scans,
        "km": round(km, 4),
        "seconds": round(seconds, 1),
        "scans_per_s": round(scans / seconds, 2),
        "peak_mb": round(peak / 1e3),
        "map_mb": round(out.stat().st_size / 1e6, 3),
    }


if __name__ == "__main__":
    give_back_large_arrays()
    source, out, workers, settings = sys.argv[1:]
    print(json.dumps(measure(Path(source), Path(out), load(BuildConfig, Path(settings)), int(workers))))
