# SPDX-License-Identifier: Apache-2.0
"""A mapping run and a query run through a synthetic street, written as bags.

The mapping robot carries the LiDAR and knows its surveyed pose. The query
robot comes on another day beside that way with a camera and drifting
odometry; where it really was goes to a TUM file beside its bag, never inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ...errors import InputError
from ...geometry import inverse, make_pose
from ...outputs import filling
from ...progress import Report, quiet
from ..bag_writer import BagWriter
from ..trajectory import Trajectory
from ..tum import write_tum
from . import receiver
from .frames import FrameJob, FrameMaker
from .runs import Run, Settings, plan_run
from .sensors import CameraSpec

EPOCH_NS = 1_700_000_000 * 10**9
DAYS_BETWEEN = 7  # from the mapping run to the query run


def simulate(out, seed: int, length: float, report: Report | None = None, settings: Settings | None = None) -> None:
    """Write ``out``/mapping, ``out``/query (bags), ``out``/mapping.tum and ``out``/query.tum.

    ``length``: metres driven in each run. ``report(stage, done, total)`` is
    called as work proceeds. The same seed, length and settings give the same
    bytes, whatever ``settings.workers`` is; see `sensors` for cameras and LiDARs. Nothing is left in ``out`` unless
    all of it was written. Raises InputError for a bad length, seed or ``out``.
    """
    out = Path(out)
    if not 20 <= length <= 20_000:
        raise InputError(f"length: {length} found, expected 20 to 20000 metres")
    if not 0 <= seed < 2**31:
        raise InputError(f"seed: {seed} found, expected a number from 0 to 2147483647")
    if out.exists():
        raise InputError(f"{out}: exists already, expected a path for a new folder")
    settings = settings or Settings()
    report = report or quiet
    with filling(out) as partial, FrameMaker(settings.workers) as maker:
        for name, write, later in (("mapping", _write_mapping, 0), ("query", _write_query, DAYS_BETWEEN)):
            run = plan_run(name, seed, length, settings)
            clock = Clock(EPOCH_NS + (seed + later * 86_400) * 10**9)
            truth = write(partial / name, run, clock, maker, report)
            write_tum(partial / f"{name}.tum", truth)


@dataclass(frozen=True)
class Clock:
    """Stamps of a run: nanoseconds from seconds since its start."""

    start_ns: int

    def __call__(self, seconds: float) -> int:
        """Nanoseconds, on a grid of a microsecond so that equal times have equal stamps."""
        return self.start_ns + int(round(seconds * 1e6)) * 1000


def _write_mapping(path, run: Run, clock: Clock, maker: FrameMaker, report: Report) -> Trajectory:
    """Scans, images if asked for, odometry and the surveyed pose. Returns that pose over time (map to base_link)."""
    times = run.odometry_times
    rng = np.random.default_rng([run.seed, 6])
    surveyed = [run.drive.pose(t) @ _survey_noise(rng) for t in times]
    believed = run.odometry_error.drift(np.array(surveyed), run.settings.odometry_period, rng)
    gps = _Gps(run, np.array(surveyed))
    # with a camera an image begins with each sweep
    kinds = ("scan", "image") if run.settings.mapping_camera else ("scan",)
    jobs = [FrameJob(kind, k, t) for k, t in enumerate(run.sensor_times) for kind in kinds]
    with BagWriter(path) as bag:
        bag.tf_static(
            clock(0),
            {
                ("base_link", "lidar"): run.rig.T_base_lidar,
                ("base_link", "camera_optical_frame"): run.rig.T_base_camera,
            },
        )
        report("mapping run: scans", 0, len(run.sensor_times))
        for time, index, seen in _events(run, _together(maker.frames(run, jobs), len(kinds))):
            stamp = clock(time)
            if seen is not None:
                scan, *images = seen
                bag.points(
                    "/points",
                    stamp,
                    "lidar",
                    scan.xyz,
                    scan.intensity,
                    scan.ring,
                    scan.time,
                    run.settings.lidar.intensity_field,
                )
                for image in images:
                    _write_image(bag, stamp, camera_name(0), run.settings.camera, image)
                report("mapping run: scans", index + 1, len(run.sensor_times))
                continue
            _write_odometry(bag, stamp, run, index, believed)
            gps.write(bag, stamp, index)
            bag.tf(
                stamp,
                {("map", "odom"): surveyed[index] @ inverse(believed[index]), ("odom", "base_link"): believed[index]},
            )
    return Trajectory(np.array([clock(t) for t in times]), np.array(surveyed))


def _write_query(path, run: Run, clock: Clock, maker: FrameMaker, report: Report) -> Trajectory:
    """Images and odometry. Returns the true poses at the images (map to base_link)."""
    settings = run.settings
    poses = np.array([run.drive.pose(t) for t in run.odometry_times])
    believed = run.odometry_error.drift(poses, settings.odometry_period, np.random.default_rng([run.seed, 7]))
    gps, count = _Gps(run, poses), len(settings.cameras)
    jobs = [FrameJob("image", k, t, camera) for k, t in enumerate(run.sensor_times) for camera in range(count)]
    names = [camera_name(k) for k in range(count)]
    with BagWriter(path) as bag:
        bag.tf_static(
            clock(0), {("base_link", _optical(name)): T for name, T in zip(names, run.rig.T_base_cameras, strict=True)}
        )
        report("query run: images", 0, len(run.sensor_times))
        for time, index, images in _events(run, _together(maker.frames(run, jobs), count)):
            stamp = clock(time)
            if images is not None:
                for name, camera, image in zip(names, settings.cameras, images, strict=True):
                    _write_image(bag, stamp, name, camera, image)
                report("query run: images", index + 1, len(run.sensor_times))
                continue
            _write_odometry(bag, stamp, run, index, believed)
            gps.write(bag, stamp, index)
            bag.tf(stamp, {("odom", "base_link"): believed[index]})
    truth = np.array([run.drive.pose(t) for t in run.sensor_times])
    return Trajectory(np.array([clock(t) for t in run.sensor_times]), truth)


def camera_name(number: int) -> str:
    """The name of a camera in its topics and its frame: camera, camera_2, camera_3."""
    return f"camera_{number + 1}" if number else "camera"


def _optical(name: str) -> str:
    return f"{name}_optical_frame"


def _together(frames: Iterator, count: int) -> Iterator[tuple]:
    """The frames of all sensors at each moment."""
    return zip(*[frames] * count, strict=True)


def _write_image(bag: BagWriter, stamp: int, name: str, camera: CameraSpec, image: np.ndarray) -> None:
    bag.camera_info(
        f"/{name}/camera_info",
        stamp,
        _optical(name),
        camera.width,
        camera.height,
        camera.matrix,
        camera.d or (0.0,) * 5,
        camera.distortion_model,
    )
    bag.image(f"/{name}/image_raw", stamp, _optical(name), image)


def _events(run: Run, sensor):
    """Odometry and sensor frames in order of time: (seconds, index, frame or None for odometry)."""
    times = list(run.odometry_times)
    done = 0
    for index, frame in enumerate(sensor):
        time = run.sensor_times[index]
        while done < len(times) and times[done] <= time:
            yield times[done], done, None
            done += 1
        yield time, index, frame
    for k in range(done, len(times)):
        yield times[k], k, None


def _write_odometry(bag: BagWriter, stamp: int, run: Run, index: int, believed: np.ndarray) -> None:
    """Pose and velocity as the odometer sees them."""
    last = max(0, index - 1)
    move = inverse(believed[last]) @ believed[last + 1]
    turn = Rotation.from_matrix(move[:3, :3]).as_rotvec()
    step = run.settings.odometry_period
    covariance = np.diag([1e-2, 1e-2, 1e-2, 1e-4, 1e-4, 1e-3])
    bag.odometry("/odom", stamp, "odom", "base_link", believed[index], move[:3, 3] / step, turn / step, covariance)


class _Gps:
    """The fixes of a run, each at the odometry nearest to its time."""

    def __init__(self, run: Run, poses: np.ndarray):
        every = round(receiver.PERIOD / run.settings.odometry_period)
        told = receiver.fixes(poses[::every, :3, 3], np.random.default_rng([run.seed, 10, run.day]))
        self._fixes = dict(zip(range(0, len(poses), every), told, strict=True))

    def write(self, bag: BagWriter, stamp: int, index: int) -> None:
        """The fix at the index-th odometry, if there is one."""
        if index in self._fixes:
            bag.fix("/fix", stamp, "gps", self._fixes[index], receiver.SIGMA_M)


def _survey_noise(rng: np.random.Generator) -> np.ndarray:
    """A few millimetres and hundredths of a degree, as of a good survey."""
    return make_pose(Rotation.from_rotvec(np.radians(0.01) * rng.normal(size=3)), 0.003 * rng.normal(size=3))
