# SPDX-License-Identifier: Apache-2.0
"""Where a run starts: a pose with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from ..errors import InputError
from ..geometry import make_pose
from .manifold import is_covariance

if TYPE_CHECKING:
    from ..datasets.trajectory import Trajectory

START_ERROR_M, START_ERROR_DEG = 1.0, 3.0
SEARCHED_SIGMA_M = 5.0
"""A start pose less sure than this is where a place is looked for, not where a track begins: images refine poses
from some metres away."""


@dataclass(frozen=True)
class StartPose:
    """A pose of base_link in the map at the first image; InputError if it is none, or without a covariance."""

    T_map_base: np.ndarray
    """(4, 4)."""
    covariance: np.ndarray
    """(6, 6), body frame of base_link, translation first [m, rad]."""

    def __post_init__(self) -> None:
        if np.shape(self.T_map_base) != (4, 4) or not np.isfinite(self.T_map_base).all():
            raise InputError("initial pose is not finite")
        if not is_covariance(self.covariance):
            raise InputError("covariance of the initial pose is not finite, symmetric and positive, (6, 6)")

    @property
    def sigma_level_m(self) -> float:
        """The largest standard deviation of the position, height apart [m]."""
        return float(np.sqrt(max(np.linalg.eigvalsh(self.covariance[:2, :2])[-1], 0.0)))


def given(values: Sequence[float], sigma_m: float = START_ERROR_M, sigma_deg: float = START_ERROR_DEG) -> StartPose:
    """From x, y, z [m] and yaw [deg] in the map frame; raises InputError unless these are four finite numbers."""
    if len(values) != 4 or not np.isfinite(values).all():
        raise InputError(f"start pose {tuple(values)} found, expected four finite numbers: x y z [m] yaw [deg]")
    pose = make_pose(Rotation.from_euler("z", values[3], degrees=True), values[:3])
    return StartPose(pose, start_covariance(sigma_m, sigma_deg))


def near_truth(truth: Trajectory, stamp_ns: int, seed: int) -> StartPose:
    """The true pose at a stamp, moved by 1 m and turned by 3 degrees, in directions drawn from `seed`.

    The run is not to be handed the truth: all it learns is what a person could tell by pointing at a map. Raises
    InputError if the truth does not cover the stamp.
    """
    if not truth.covers(stamp_ns, slack_ns=100_000_000):
        first, last = truth.stamps_ns[[0, -1]] / 1e9
        raise InputError(
            f"the first image, at {stamp_ns / 1e9:.3f} s, is outside the truth: {first:.3f} to {last:.3f} s"
        )
    random = np.random.default_rng(seed)
    direction, axis = (v / np.linalg.norm(v) for v in random.standard_normal((2, 3)))
    error = make_pose(Rotation.from_rotvec(np.radians(START_ERROR_DEG) * axis), START_ERROR_M * direction)
    return StartPose(truth.at(stamp_ns) @ error, start_covariance())


def start_covariance(sigma_m: float = START_ERROR_M, sigma_deg: float = START_ERROR_DEG) -> np.ndarray:
    """(6, 6) of standard deviations that are the same on all axes."""
    return np.diag([sigma_m**2] * 3 + [np.radians(sigma_deg) ** 2] * 3)
