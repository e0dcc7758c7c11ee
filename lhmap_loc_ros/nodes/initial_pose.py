# SPDX-License-Identifier: Apache-2.0
"""Where to start, from the message that RViz's 2D Pose Estimate and others send."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped

from ..errors import InputError
from ..lhmap import LHMap
from . import conversions as convert
from .local_frame import LocalFrame

MAX_AGE_S = 20.0
"""A start pose stamped longer before the image is taken as one of the image: odometry need not reach back so far."""
_NEAR_PATH_M = 50.0
_GROUND_RADII_M = 5.0, 15.0, 45.0
_GROUND_POINTS, _GROUND_PERCENTILE = 20, 5
"""The ground is where few points of a map lie lower, of those in the smallest of the circles that holds so many."""


@dataclass(frozen=True)
class InitialPose:
    """A start pose on its way to the tracker."""

    stamp_ns: int
    """When the robot was there; zero: at the next image."""
    T_map_base: np.ndarray
    """(4, 4)."""
    covariance: np.ndarray
    """(6, 6), frame of the body, translation first [m, rad]."""
    origin: str = "initialpose"
    """Who said so, for people."""
    found: bool = False
    """By a search, which images have to confirm."""

    def stamp_for(self, image_ns: int) -> int:
        """The stamp to start from at an image: its own, or the image's if that is zero, another clock or too old."""
        known = self.stamp_ns and 0 <= image_ns - self.stamp_ns <= MAX_AGE_S * convert.SECOND_NS
        return self.stamp_ns if known else image_ns


class NextStart:
    """Where the track begins anew at the next image; from any thread. What a user says comes before what was found.

    One lock decides: a place found is kept only where nothing waits, so that it never takes the place of what a user
    said, and what a user says takes the place of whatever waits. What was taken before, the next image takes over.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._pose: InitialPose | None = None

    @property
    def waits(self) -> bool:
        """Whether a start pose was given that no image has taken yet."""
        return self._pose is not None

    def put(self, pose: InitialPose) -> None:
        """A start pose from a user, in place of whatever waits."""
        with self._lock:
            self._pose = pose

    def offer(self, pose: InitialPose | None) -> bool:
        """A start pose from no user: a place found, the last good pose. Whether it is kept: where nothing waits."""
        with self._lock:
            kept = self._pose is None
            self._pose = self._pose or pose
            return kept

    def take(self) -> InitialPose | None:
        """Hands it out, once; None if there is none."""
        with self._lock:
            pose, self._pose = self._pose, None
            return pose


def height_at(lhmap: LHMap, place: Sequence[float] | np.ndarray, otherwise: float) -> float:
    """Height of base_link at a place (x, y) of a map [m]; `otherwise` where the map has nothing near.

    That of the nearest pose of the mapping drive, if one is near; else as high above the ground as there.
    """
    path, above = lhmap.metadata.path, 0.0
    if len(path):
        distance = np.linalg.norm(path[:, :2] - place, axis=1)
        x, y, z = path[distance.argmin(), :3].tolist()
        if distance.min() < _NEAR_PATH_M:
            return z
        below = _ground_at(lhmap, (x, y))
        above = 0.0 if below is None else z - below
    ground = _ground_at(lhmap, place)
    return otherwise if ground is None else ground + above


def _ground_at(lhmap: LHMap, place: Sequence[float] | np.ndarray) -> float | None:
    """Height of the ground at a place (x, y) [m], None where no points are near."""
    for radius in _GROUND_RADII_M:
        crop = lhmap.crop((*place, 0.0), radius, damaged=[], full_density_m=np.inf)
        if len(crop) >= _GROUND_POINTS:
            return float(np.percentile(crop.points[:, 2], _GROUND_PERCENTILE) + crop.origin[2])
    return None


def read_initial_pose(
    message: PoseWithCovarianceStamped, lhmap: LHMap, frame: LocalFrame, sigma_m: float, sigma_deg: float
) -> InitialPose:
    """The start pose in a message; raises InputError for another frame than the map's or values not finite.

    A pose drawn in a plane says nothing about height, roll and pitch, and gives them the variance zero: those
    variances become `sigma_m` and `sigma_deg` squared, and the height that of `height_at`. `frame` are those of the
    map: its own, and the one it is drawn in.
    """
    to_map = frame.to_map(message.header.frame_id.lstrip("/"))
    if to_map is None:
        raise InputError(f"in frame {message.header.frame_id!r}, expected {frame.map_frame!r}")
    pose = convert.pose_to_matrix(message.pose.pose)
    pose[:3, 3] += to_map
    covariance = np.array(message.pose.covariance, dtype=float).reshape(6, 6)
    if not np.isfinite(covariance).all():
        raise InputError("covariance is not finite")
    silent = np.diag(covariance) == 0
    if silent[2]:
        pose[2, 3] = height_at(lhmap, pose[:2, 3], pose[2, 3])
    variance = np.array([sigma_m**2] * 3 + [np.radians(sigma_deg) ** 2] * 3)
    covariance = covariance + np.diag(np.where(silent, variance, 0.0))
    return InitialPose(convert.to_ns(message.header.stamp), pose, convert.to_body(pose, covariance))
