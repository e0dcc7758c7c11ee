# SPDX-License-Identifier: Apache-2.0
"""Rigid poses as 4x4 float64 matrices.

`T_a_b` is the pose of frame b in frame a: it maps points of b into a. A tangent vector is
``(translation, rotation vector)``, six numbers, translation first, as in ROS covariances. It acts on the
right, in the frame of the body: ``T * exp(xi)``.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from ..errors import InputError

STANDING_M = 0.2
"""A vehicle that came no further than this stands."""
DRIVES_APART_M = 20.0
"""Poses of a path further apart than this, or three times the usual, belong to two drives."""
_HUGE = 1e100
_FARTHEST_M = 1e9
"""No frame of a robot is further from another."""


def make_pose(rotation: Rotation | np.ndarray, translation: ArrayLike) -> np.ndarray:
    """A pose from a rotation (scipy Rotation or 3x3) and a translation of 3 metres values."""
    pose = np.eye(4)
    pose[:3, :3] = rotation.as_matrix() if isinstance(rotation, Rotation) else rotation
    pose[:3, 3] = translation
    return pose


def from_quaternion(translation: ArrayLike, quaternion: ArrayLike) -> np.ndarray:
    """A pose from a translation (3, metres) and a quaternion (x, y, z, w) of any positive norm.

    Raises InputError as `check_pose`.
    """
    translation, quaternion = check_pose(translation, quaternion)
    return make_pose(Rotation.from_quat(quaternion), translation)


def check_pose(translation: ArrayLike, quaternion: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The translation (3, metres) and quaternion (x, y, z, w) of a pose as float64.

    Raises InputError for values that are not finite, a place that is none on the earth or a quaternion of norm zero.
    """
    position, rotation = np.asarray(translation, dtype=float), np.asarray(quaternion, dtype=float)
    if not (np.isfinite(position).all() and np.isfinite(rotation).all()):
        raise InputError(f"pose is not finite: translation {position}, quaternion {rotation}")
    if np.abs(position).max() > _FARTHEST_M:
        raise InputError(f"translation {position} found, expected metres of at most {_FARTHEST_M:g}")
    largest = np.abs(rotation).max()
    if largest < 1e-9:
        raise InputError(f"quaternion {rotation} has norm zero, expected a unit quaternion (x, y, z, w)")
    # the norm of huge numbers is no number
    return position, rotation / largest if largest > _HUGE else rotation


def to_quaternion(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The translation (3, metres) and the unit quaternion (x, y, z, w; w >= 0) of a pose."""
    quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat()
    return pose[:3, 3].copy(), quaternion if quaternion[3] >= 0 else -quaternion


def inverse(pose: np.ndarray) -> np.ndarray:
    """The inverse of a rigid pose."""
    out = np.eye(4)
    out[:3, :3] = pose[:3, :3].T
    out[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return out


def transform(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 3) of frame b in frame a, for ``pose = T_a_b``; keeps the points' float type."""
    return points @ pose[:3, :3].T.astype(points.dtype) + pose[:3, 3].astype(points.dtype)


def _left_jacobian(phi: np.ndarray) -> np.ndarray:
    """Left Jacobian of SO(3) at the rotation vector phi (3)."""
    angle = np.linalg.norm(phi)
    k = np.array([[0, -phi[2], phi[1]], [phi[2], 0, -phi[0]], [-phi[1], phi[0], 0]])
    if angle < 1e-6:
        return np.eye(3) + 0.5 * k + k @ k / 6
    return np.eye(3) + (1 - np.cos(angle)) / angle**2 * k + (angle - np.sin(angle)) / angle**3 * (k @ k)


def se3_exp(xi: ArrayLike) -> np.ndarray:
    """The pose reached by the tangent vector xi (6: metres, radians)."""
    xi = np.asarray(xi, dtype=float)
    return make_pose(Rotation.from_rotvec(xi[3:]), _left_jacobian(xi[3:]) @ xi[:3])


def se3_log(pose: np.ndarray) -> np.ndarray:
    """The tangent vector (6: metres, radians) of a pose; inverse of `se3_exp` below half a turn."""
    phi = Rotation.from_matrix(pose[:3, :3]).as_rotvec()
    return np.concatenate([np.linalg.solve(_left_jacobian(phi), pose[:3, 3]), phi])


def interpolate(pose0: np.ndarray, pose1: np.ndarray, fraction: float) -> np.ndarray:
    """The pose on the screw motion from pose0 (fraction 0) to pose1 (fraction 1); extrapolates outside."""
    return pose0 @ se3_exp(fraction * se3_log(inverse(pose0) @ pose1))


def perturb(pose: np.ndarray, translation: ArrayLike, euler_deg: ArrayLike) -> np.ndarray:
    """The pose moved by a translation (3, metres) and xyz Euler angles (3, degrees), both along its own axes."""
    return pose @ make_pose(Rotation.from_euler("xyz", euler_deg, degrees=True), translation)


def pose_error(estimate: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Distance (metres) and rotation angle (degrees) between two poses of the same frame."""
    delta = inverse(truth) @ estimate
    angle = Rotation.from_matrix(delta[:3, :3]).magnitude()
    return float(np.linalg.norm(delta[:3, 3])), float(np.degrees(angle))


def distance_along(positions: np.ndarray) -> np.ndarray:
    """Distance driven from the first position of a path (N, D), N > 0, to each (N,).

    Poses of a vehicle that stands jitter: what stays within `STANDING_M` adds up to no more than that.
    """
    out = np.empty(len(positions))
    _drive_along(np.ascontiguousarray(positions, dtype=np.float64), STANDING_M, out)
    return out


def every_so_far(path: np.ndarray, spacing_m: float) -> np.ndarray:
    """Poses (P, 4) x, y, z [m], yaw [rad] about every `spacing_m` along a path (N, 4) of such poses.

    Both ends of each drive are among them; between two drives, further apart than `DRIVES_APART_M` and three times the
    usual, there is none.
    """
    if len(path) < 2:
        return np.array(path)
    steps = np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1)
    ends = np.flatnonzero(steps > max(DRIVES_APART_M, 3 * float(np.median(steps)))) + 1
    return np.concatenate([_resampled(drive, spacing_m) for drive in np.split(path, ends)])


def _resampled(drive: np.ndarray, spacing_m: float) -> np.ndarray:
    along = distance_along(drive[:, :3])
    where = np.linspace(0, along[-1], max(min(2, len(drive)), round(along[-1] / spacing_m) + 1))
    # a full turn between two poses must not be walked back
    columns = [*drive[:, :3].T, np.unwrap(drive[:, 3])]
    return np.column_stack([np.interp(where, along, column) for column in columns])


@numba.njit(cache=True)
def _drive_along(positions: np.ndarray, standing: float, out: np.ndarray) -> None:
    driven, counted = 0.0, 0
    for i in range(positions.shape[0]):
        square = 0.0
        for k in range(positions.shape[1]):
            square += (positions[i, k] - positions[counted, k]) ** 2
        away = np.sqrt(square)
        out[i] = driven + away
        if i > 0:
            out[i] = max(out[i], out[i - 1])
        if away >= standing:
            driven, counted = driven + away, i
