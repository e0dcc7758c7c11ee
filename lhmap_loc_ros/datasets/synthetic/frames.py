# SPDX-License-Identifier: Apache-2.0
"""Renders the frames of a run, in order, on as many processes as wanted."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .lamps import headlights
from .lens import lens_of
from .lidar import LidarScan, as_recorded, sweep
from .robots import ROBOTS
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
    camera: int = 0  # which of the run's


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
    if job.kind == "image":
        pose, robot = run.drive.pose(job.time), ROBOTS[settings.robot]
        own = headlights(pose, robot.headlights, robot.headlight_power)
        T_map_camera, lens = pose @ run.rig.T_base_cameras[job.camera], lens_of(settings.cameras[job.camera])
        return world.photograph(T_map_camera, lens, job.time, headlights=own)
    lidar = settings.lidar
    # what walks sways too fast to be followed by a straight line through a sweep
    moments = np.linspace(0.0, lidar.sweep_time, 2 if run.drive.gait is None else 11)
    poses = np.array([run.drive.pose(job.time + t) @ run.rig.T_base_lidar for t in moments])
    return as_recorded(sweep(world, poses, job.time, lidar), lidar, RESOLUTION)


@lru_cache(maxsize=1)
def _world(seed: int, length: float, day: int, character: str | None, light: str, wet: bool) -> World:
    """The world of the present run; each process builds it once."""
    return World.generate(seed, length, day, character, light, wet)


def _work(item: tuple[Run, FrameJob]) -> np.ndarray | LidarScan:
    run, job = item
    settings = run.settings
    light = settings.light if run.name == "query" else "day"
    world = _world(run.seed, run.length, run.day, settings.character, light, settings.wet)
    return make_frame(world, run, job)
