# SPDX-License-Identifier: Apache-2.0
"""Renders the frames of a run, in order, on as many processes as wanted."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .lidar import LidarScan, sample_lidar_scan
from .runs import Run
from .world import World

# Sensors resolve about 2 mm; a power of two leaves zero bits that compress well.
RESOLUTION = 1.0 / 512.0


@dataclass(frozen=True)
class FrameJob:
    """One frame to make."""

    kind: str  # "scan" or "image"
    index: int
    time: float  # seconds since the start of the run


class FrameMaker:
    """Makes frames on worker processes, or in this one; a context manager."""

    def __init__(self, workers: int) -> None:
        # spawn: the ray caster's threads would not survive a fork
        self._pool = multiprocessing.get_context("spawn").Pool(workers) if workers > 0 else None

    def __enter__(self) -> FrameMaker:
        return self

    def __exit__(self, *error) -> None:
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()

    def frames(self, run: Run, jobs: list[FrameJob]) -> Iterator[np.ndarray | LidarScan]:
        """Frames in the order of the jobs. Each depends on its job only, so the processes do not matter."""
        work = ((run, job) for job in jobs)
        yield from map(_work, work) if self._pool is None else self._pool.imap(_work, work)


def make_frame(world: World, run: Run, job: FrameJob) -> np.ndarray | LidarScan:
    """An image (h, w, 3) uint8 or a sweep."""
    settings = run.settings
    pose = run.drive.pose(job.time)
    if job.kind == "image":
        T_map_camera = pose @ run.rig.T_base_camera
        return world.render_image(T_map_camera, settings.intrinsics, settings.width, settings.height, job.time)
    end = run.drive.pose(job.time + settings.sweep_time)
    mount = run.rig.T_base_lidar
    scan = sample_lidar_scan(world, pose @ mount, end @ mount, job.time, settings.azimuths, settings.beams,
                             settings.sweep_time)
    xyz = np.round(scan.xyz / RESOLUTION) * RESOLUTION
    return LidarScan(xyz.astype(np.float32), np.round(scan.intensity * 255) / np.float32(255), scan.ring, scan.time)


@lru_cache(maxsize=1)
def _world(seed: int, length: float, day: int) -> World:
    """The world of the present run; each process builds it once."""
    return World.generate(seed, length, day)


def _work(item: tuple[Run, FrameJob]) -> np.ndarray | LidarScan:
    run, job = item
    return make_frame(_world(run.seed, run.length, run.day), run, job)
