# SPDX-License-Identifier: Apache-2.0
"""What carries the sensors: where they sit, how fast it goes, how its body moves, where it drives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Robot:
    """Ranges that a run draws from. Metres, metres per second, degrees; base_link is on the ground, x forward."""

    camera: tuple[tuple[float, float, float], tuple[float, float, float]]  # lowest and highest x, y, z
    lidar: tuple[tuple[float, float, float], tuple[float, float, float]]
    speed: tuple[float, float]
    speed_waves: tuple[float, float]  # how far the speed swings about that, slowly and faster
    slowest: float
    sway: tuple[float, float]  # of the body on its suspension, each of three waves
    pedals: float  # pitch as it speeds up [rad per m/s^2]
    lean: float  # roll in bends, as a share of the angle that would balance them
    on_road: bool  # in the lanes; else on the footpath, or at the edge of the road where that is too narrow
    headlights: tuple[tuple[float, float, float], ...]  # where they are
    headlight_power: float  # irradiance at a metre, where a white wall in the sun has about 1
    gait_hz: tuple[float, float] | None = None  # strides a second of a robot with legs


ROBOTS: dict[str, Robot] = {
    "car": Robot(((0.2, -0.3, 1.35), (1.5, 0.3, 1.95)), ((-0.2, -0.1, 1.65), (0.6, 0.1, 2.0)), (6.4, 7.6), (0.8, 0.5),
                 5.0, (0.08, 0.35), 0.006, 0.2, True, ((2.0, 0.65, 0.65), (2.0, -0.65, 0.65)), 40.0),
    "cart": Robot(((0.1, -0.1, 0.8), (0.4, 0.1, 1.2)), ((-0.2, -0.05, 0.95), (0.1, 0.05, 1.4)), (1.35, 1.65),
                  (0.15, 0.08), 1.0, (0.1, 0.45), 0.015, 0.0, False, ((0.5, 0.2, 0.5), (0.5, -0.2, 0.5)), 5.0),
    "dog": Robot(((0.25, -0.05, 0.3), (0.4, 0.05, 0.6)), ((-0.1, -0.03, 0.5), (0.15, 0.03, 0.75)), (1.0, 1.4),
                 (0.12, 0.08), 0.7, (0.05, 0.3), 0.02, 0.0, False, ((0.45, 0.0, 0.4),), 4.0, (1.6, 2.3)),
}  # fmt: skip


def heights_off_road(sensor: Literal["camera", "lidar"]) -> tuple[float, float]:
    """The lowest and the highest mount [m] above the ground of a sensor, of all robots that keep off the road."""
    mounts = [getattr(robot, sensor) for robot in ROBOTS.values() if not robot.on_road]
    return min(low[2] for low, _ in mounts), max(high[2] for _, high in mounts)


def draw_gait(robot: Robot, rng: np.random.Generator) -> np.ndarray | None:
    """Waves (4, 2, 3) of yaw, pitch, roll [rad] and height [m]: amplitude, rad/s, phase; None without legs.

    Roll and yaw swing once in a stride, pitch and height with every step.
    """
    if robot.gait_hz is None:
        return None
    stride = 2 * np.pi * rng.uniform(*robot.gait_hz)
    yaw, roll = np.radians(rng.uniform(0.6, 1.5)), np.radians(rng.uniform(1.5, 3.5))
    pitch, heave = np.radians(rng.uniform(1.2, 2.8)), rng.uniform(0.006, 0.018)
    amplitude = np.array([[yaw, 0.2 * yaw], [0.4 * pitch, pitch], [roll, 0.25 * roll], [0.2 * heave, heave]])
    rate = np.broadcast_to([stride, 2 * stride], (4, 2))
    return np.stack([amplitude, rate, rng.uniform(0, 2 * np.pi, (4, 2))], -1)
