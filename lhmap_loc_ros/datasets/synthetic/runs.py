# SPDX-License-Identifier: Apache-2.0
"""The plan of a run: everything but the sensor frames, derived from the seed alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .drive import Drive, OdometryError, Rig
from .world import Course

DAYS = {"mapping": 0, "query": 1}


@dataclass(frozen=True)
class Settings:
    """Rates and sizes of the sensors. The defaults are those of ``lhmap simulate``."""

    width: int = 640  # pixels
    height: int = 192
    image_period: float = 0.1  # seconds
    scan_period: float = 0.2  # seconds between recorded sweeps
    sweep_time: float = 0.1  # seconds a sweep takes: every second one is recorded
    azimuths: int = 640
    beams: int = 64
    odometry_period: float = 0.02  # seconds
    workers: int = 2  # processes; 0 renders in this one

    @property
    def intrinsics(self) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy in pixels, about KITTI's field of view; integer coordinates are pixel centres."""
        focal = 0.58 * self.width
        return focal, focal, (self.width - 1) / 2, (self.height - 1) / 2


@dataclass(frozen=True)
class Run:
    """One drive through the world on one day; sent whole to the processes that render it."""

    name: str
    seed: int
    day: int
    length: float
    settings: Settings
    drive: Drive
    rig: Rig
    odometry_error: OdometryError
    odometry_times: np.ndarray  # (n,) seconds since the start
    sensor_times: np.ndarray  # (m,) seconds since the start: sweeps begin, or images are taken


def plan_run(name: str, seed: int, length: float, settings: Settings) -> Run:
    """Plan the run called "mapping" or "query"."""
    day = DAYS[name]
    course = Course.generate(seed, length)
    rng = np.random.default_rng([seed, 5, day])
    path = course.route(_lane(course, seed, name), 0.22, seed=day)
    period = settings.scan_period if name == "mapping" else settings.image_period
    # a little more, so that first to last image spans the wanted length
    drive = Drive.generate(path, length + 2.0 + 8.0 * period, rng)
    step = settings.odometry_period
    # odometry frames both the first and the last sensor frame
    odometry_times = np.arange(int(np.ceil((drive.duration + 0.3) / step)) + 1) * step
    sensor_times = 0.1 + np.arange(int(drive.duration / period) + 1) * period
    quality = 0.5 if name == "mapping" else 1.0
    return Run(name, seed, day, length, settings, drive, Rig.generate(rng), OdometryError.generate(rng, quality),
               np.round(odometry_times, 6), np.round(sensor_times, 6))


def _lane(course: Course, seed: int, name: str) -> float:
    """Offset of the lane: the query drives 1.2 to 3.2 m beside the mapping run, both on the road."""
    rng = np.random.default_rng([seed, 8])
    mapping = course.lanes[0] + rng.uniform(-0.3, 0.3)
    side = rng.choice([-1.0, 1.0])
    shift = rng.uniform(1.2, 3.2)
    room = course.half_road - 1.1
    if abs(mapping + side * shift) > room:
        side = -side
    query = float(np.clip(mapping + side * shift, -room, room))
    return float(mapping) if name == "mapping" else query
