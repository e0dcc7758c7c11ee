# SPDX-License-Identifier: Apache-2.0
"""The plan of a run: everything but the sensor frames, derived from the seed alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from .course import Course
from .drive import Drive, OdometryError, Rig
from .grounds import CHARACTERS
from .light import LIGHTS
from .robots import ROBOTS
from .route import Path
from .sensors import CAMERAS, LIDARS, CameraSpec, LidarSpec

DAYS = {"mapping": 0, "query": 1}


@dataclass(frozen=True)
class Settings:
    """The sensors, what carries them and when. The defaults are those of ``lhmap simulate``."""

    camera: CameraSpec = CAMERAS["default"]
    lidar: LidarSpec = LIDARS["default"]
    robot: str = "car"  # one of ROBOTS
    light: str = "day"  # of the query run, one of LIGHTS
    wet: bool = False  # the ground, in both runs
    odometry_period: float = 0.02  # seconds
    workers: int = 2  # processes; 0 renders in this one
    more_cameras: tuple[CameraSpec, ...] = ()  # taken at the same moments as the first; see `yaws_deg`
    character: str | None = None  # of the place, one of CHARACTERS; None: drawn
    mapping_camera: bool = False  # the mapping robot has the first camera, too: an image with every sweep, by day

    @property
    def cameras(self) -> tuple[CameraSpec, ...]:
        """All of them."""
        return (self.camera, *self.more_cameras)

    @property
    def yaws_deg(self) -> tuple[float, ...]:
        """Where each looks: those that do not say look to all sides, the first ahead, two ahead and back."""
        around = [360.0 * k / len(self.cameras) for k in range(len(self.cameras))]
        return tuple(
            yaw if camera.mount_yaw_deg is None else camera.mount_yaw_deg
            for camera, yaw in zip(self.cameras, around, strict=True)
        )

    def __post_init__(self) -> None:
        for name, known in (("robot", tuple(ROBOTS)), ("light", LIGHTS), ("character", (None, *CHARACTERS))):
            expected = ", ".join(filter(None, known))
            if getattr(self, name) not in known:
                raise InputError(f"{name}: {getattr(self, name)!r} found, expected one of {expected}")


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
    course = Course.generate(seed, length, settings.character)
    rng = np.random.default_rng([seed, 5, day])
    robot = ROBOTS[settings.robot]
    path = _way(course, seed, name, settings.robot)
    period = 1.0 / (settings.lidar.rate if name == "mapping" else settings.camera.rate)
    # a little more, so that first to last image spans the wanted length
    drive = Drive.generate(path, length + 2.0 + 8.0 * period, rng, robot)
    step = settings.odometry_period
    # odometry frames both the first and the last sensor frame
    odometry_times = np.arange(int(np.ceil((drive.duration + 0.3) / step)) + 1) * step
    sensor_times = 0.1 + np.arange(int(drive.duration / period) + 1) * period
    quality = 0.5 if name == "mapping" else 1.0
    rig = Rig.generate(rng, robot, settings.camera.mount_height, settings.lidar.mount_height)
    heights = [camera.mount_height for camera in settings.cameras]
    rig = rig.with_cameras(settings.yaws_deg, heights, robot, np.random.default_rng([seed, 9, day]))
    return Run(
        name,
        seed,
        day,
        length,
        settings,
        drive,
        rig,
        OdometryError.generate(rng, quality),
        np.round(odometry_times, 6),
        np.round(sensor_times, 6),
    )


def _way(course: Course, seed: int, name: str, robot: str) -> Path:
    """Where the run drives: in a lane, or on the footpath."""
    if ROBOTS[robot].on_road:
        return course.route(_lane(course, seed, name), 0.22, seed=DAYS[name])
    return course.footway(np.random.default_rng([seed, 8, DAYS[name]]), seed=DAYS[name])


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
