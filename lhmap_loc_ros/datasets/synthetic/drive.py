# SPDX-License-Identifier: Apache-2.0
"""A vehicle on its way: speed, the swaying body, the sensors on it, and what its odometry believes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from ...geometry import inverse, make_pose
from .robots import ROBOTS, Robot, draw_gait
from .route import Path

_STEP = 0.01  # seconds between the stored stations
_GRAVITY = 9.81
# Optical axes (x right, y down, z forward) in a frame with x forward, y left, z up.
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Rig:
    """Where the sensors sit on the vehicle."""

    T_base_camera: np.ndarray  # (4, 4), camera optical frame
    T_base_lidar: np.ndarray  # (4, 4), x forward, y left, z up
    T_base_more: tuple[np.ndarray, ...] = ()  # (4, 4) each, further cameras

    @property
    def T_base_cameras(self) -> tuple[np.ndarray, ...]:
        """Of all cameras."""
        return (self.T_base_camera, *self.T_base_more)

    @staticmethod
    def generate(
        rng: np.random.Generator,
        robot: Robot = ROBOTS["car"],
        camera_height: float | None = None,
        lidar_height: float | None = None,
    ) -> Rig:
        """Draw a rig: the camera tilted by up to two degrees; heights [m] that are None as the robot has them."""
        camera = _camera(rng, robot, camera_height)
        level = Rotation.from_euler("zyx", rng.uniform(-0.5, 0.5, 3), degrees=True)
        lidar = make_pose(level, _mounted(rng.uniform(*robot.lidar), lidar_height))
        return Rig(camera, lidar)

    def with_cameras(
        self, yaws_deg: Sequence[float], heights: Sequence[float | None], robot: Robot, rng: np.random.Generator
    ) -> Rig:
        """The rig with its camera turned about the vertical axis by the first yaw, and a camera more for each other."""
        poses = [self.T_base_camera, *(_camera(rng, robot, height) for height in heights[1:])]
        first, *more = (_turned(pose, yaw) for pose, yaw in zip(poses, yaws_deg, strict=True))
        return replace(self, T_base_camera=first, T_base_more=tuple(more))


def _camera(rng: np.random.Generator, robot: Robot, height: float | None) -> np.ndarray:
    """A camera that looks ahead, tilted a little."""
    tilt = Rotation.from_euler("zyx", rng.uniform([-1.5, -1.5, -0.7], [1.5, 2.0, 0.7]), degrees=True).as_matrix()
    return make_pose(tilt @ _OPTICAL, _mounted(rng.uniform(*robot.camera), height))


def _turned(pose: np.ndarray, yaw_deg: float) -> np.ndarray:
    """A camera that looks to another side from the same place."""
    if not yaw_deg:
        return pose
    return make_pose(Rotation.from_euler("z", yaw_deg, degrees=True).as_matrix() @ pose[:3, :3], pose[:3, 3])


def _mounted(place: np.ndarray, height: float | None) -> np.ndarray:
    return place if height is None else np.array([place[0], place[1], height])


@dataclass(frozen=True)
class Drive:
    """Motion along a path, the body pitching with the pedals, rolling in bends, and walking if it has legs."""

    path: Path
    stations: np.ndarray  # (n,) metres, every _STEP seconds
    speeds: np.ndarray  # (n,) metres per second
    sway: np.ndarray  # (2, k, 3): pitch and roll as waves: amplitude [rad], rad/s, phase
    duration: float  # seconds until the wanted length is driven
    robot: Robot
    gait: np.ndarray | None  # see draw_gait

    @staticmethod
    def generate(path: Path, length: float, rng: np.random.Generator, robot: Robot = ROBOTS["car"]) -> Drive:
        """Drive ``length`` metres along ``path`` (and a little beyond, for the last sweep)."""
        count = int((length + 20.0) / robot.slowest / _STEP)
        time = np.arange(count) * _STEP
        speeds = np.full(count, rng.uniform(*robot.speed))
        for amplitude, period in zip(robot.speed_waves, (rng.uniform(14, 25), rng.uniform(7, 12)), strict=True):
            speeds += amplitude * np.sin(2 * np.pi * time / period + rng.uniform(0, 2 * np.pi))
        stations = np.zeros(count)
        for i in range(1, count):
            s = stations[i - 1]
            d, _ = path.lateral_at(s)
            curvature = float(path.line.at(s)[3])
            stations[i] = s + speeds[i - 1] * _STEP / (1 - curvature * d)
        duration = float(np.searchsorted(np.cumsum(speeds) * _STEP, length)) * _STEP
        amplitude = np.radians(rng.uniform(*robot.sway, (2, 3)))
        rate = 2 * np.pi * np.array([0.25, 0.8, 1.6]) * rng.uniform(0.8, 1.3, (2, 3))
        sway = np.stack([amplitude, rate, rng.uniform(0, 2 * np.pi, (2, 3))], -1)
        return Drive(path, stations, speeds, sway, duration, robot, draw_gait(robot, rng))

    def pose(self, time: float) -> np.ndarray:
        """T_map_base (4, 4) at ``time`` seconds after the start."""
        index = np.arange(len(self.stations)) * _STEP
        s = float(np.interp(time, index, self.stations))
        before, speed, after = np.interp([time - 0.4, time, time + 0.4], index, self.speeds)
        (_, _, _, curvature) = self.path.line.at(np.array([s - 3.0, s, s + 3.0]))
        pitch = -self.robot.pedals * (after - before) / 0.8
        roll = 0.25 * speed**2 * float(curvature.mean()) / _GRAVITY * self.robot.lean
        waves = _waves(self.sway, time)
        body = Rotation.from_euler("yx", [pitch + waves[0], roll + waves[1]])
        pose = self.path.pose(s) @ make_pose(body, np.zeros(3))
        if self.gait is None:
            return pose
        *turn, heave = _waves(self.gait, time)
        return pose @ make_pose(Rotation.from_euler("zyx", turn), (0.0, 0.0, heave))


def _waves(waves: np.ndarray, time: float) -> np.ndarray:
    """Sums (n,) at ``time`` of waves (n, k, 3): amplitude, rad/s, phase."""
    return (waves[..., 0] * np.sin(waves[..., 1] * time + waves[..., 2])).sum(1)


@dataclass(frozen=True)
class OdometryError:
    """How an odometer drifts."""

    scale: float  # relative error of distances
    yaw_bias: float  # rad/s
    yaw_noise: float  # rad per square root of a second
    slip: float  # relative noise of each step's length

    @staticmethod
    def generate(rng: np.random.Generator, quality: float = 1.0) -> OdometryError:
        """Draw errors of about one percent and 0.06 degrees a second, times ``quality``."""
        scale = rng.choice([-1, 1]) * rng.uniform(0.008, 0.013)
        bias = rng.choice([-1, 1]) * np.radians(rng.uniform(0.045, 0.08))
        return OdometryError(quality * scale, quality * bias, quality * np.radians(0.08), 0.01 * quality)

    def drift(self, poses: np.ndarray, step: float, rng: np.random.Generator) -> np.ndarray:
        """T_odom_base (n, 4, 4) from the true T_map_base (n, 4, 4) taken every ``step`` seconds."""
        out = [np.eye(4)]
        for a, b in zip(poses[:-1], poses[1:], strict=True):
            move = inverse(a) @ b
            move[:3, 3] *= 1 + self.scale + self.slip * rng.normal()
            turn = self.yaw_bias * step + self.yaw_noise * np.sqrt(step) * rng.normal()
            wobble = 0.03 * self.yaw_noise * np.sqrt(step) * rng.normal(size=2)
            error = Rotation.from_rotvec([*wobble, turn]).as_matrix()
            move[:3, :3] = move[:3, :3] @ error
            out.append(out[-1] @ move)
        return np.array(out)
