# SPDX-License-Identifier: Apache-2.0
"""Sweeps of KITTI's Velodyne: the car moves while one is measured, and its points come without times.

It turns clockwise seen from above and triggers the camera when it faces forward, at the stamp of the frame; so a point
was measured as much later as it lies to the right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ..geometry import distance_along, inverse, se3_log, transform
from .trajectory import Trajectory

_SWEEP_S = 0.1035
"""Time of a turn; measured: stamps lie this far apart, and maps are sharpest so."""
_PAIRS, _APART_M = 13, 5.0
"""Pairs of sweeps that are compared, and how far the car drove between the two of each."""
_NEAR_M, _FAR_M, _GROUND_M = 3.0, 30.0, -1.2
"""Points that are compared: not the car, near enough to lie close, and above the road."""
_UNMATCHED_M, _THINNED_M = 0.5, 0.2


def deskewed(scan: np.ndarray, twist: np.ndarray) -> np.ndarray:
    """A scan (n, 3 or more) as seen from a car standing at its stamp, from one of a car with a twist.

    twist: (6) [m/s, rad/s] of the Velodyne in its own frame. Columns after x, y, z are kept.
    """
    out = scan.copy()
    # positive to the left, which is seen before the front
    after = -np.arctan2(scan[:, 1], scan[:, 0])[:, None].astype(float) * _SWEEP_S / (2 * np.pi)
    turned = Rotation.from_rotvec(after * twist[3:]).apply(scan[:, :3].astype(float))
    out[:, :3] = turned + after * twist[:3]
    return out


def twist_at(truth: Trajectory, stamps: np.ndarray, number: int) -> np.ndarray:
    """Mean twist (6) [m/s, rad/s] between the frames before and after, in the Velodyne's frame; needs two stamps."""
    neighbours = max(number - 1, 0), min(number + 1, len(stamps) - 1)
    before, after = (truth.at(int(stamps[k])) for k in neighbours)
    seconds = (stamps[neighbours[1]] - stamps[neighbours[0]]) * 1e-9
    return se3_log(inverse(before) @ after) / seconds


def are_skewed(read: Callable[[int], np.ndarray], truth: Trajectory, stamps: np.ndarray) -> bool:
    """Whether the sweeps of a drive hold the distortion by motion; False where the car hardly drove.

    read: gives sweep k (n, 4). Sweeps some metres apart see the same things in other directions: skewed ones lie
    closer to each other after half of a correction, corrected ones before. Half, because poses that were found by
    registering skewed sweeps fit those as well as corrected ones, and best something in between.
    """
    if len(stamps) < 2:
        return False
    poses = truth.at(stamps)
    driven = distance_along(poses[:, :3, 3])
    if driven[-1] < 2 * _APART_M:
        return False
    starts = np.searchsorted(driven, np.linspace(0, driven[-1] - _APART_M, _PAIRS))
    distances = []
    for first in np.unique(starts):
        pair = first, min(np.searchsorted(driven, driven[first] + _APART_M), len(stamps) - 1)
        sweeps = [(poses[k], _compared(read(int(k))), twist_at(truth, stamps, k)) for k in pair]
        distances.append(
            [
                _distance(*(transform(pose, deskewed(points, share * twist)) for pose, points, twist in sweeps))
                for share in (0.0, 0.5)
            ]
        )
    as_it_is, corrected = np.mean(distances, axis=0)
    return bool(corrected < as_it_is)


def _compared(scan: np.ndarray) -> np.ndarray:
    """The points (n, 3) float64 that tell."""
    points = scan[:, :3].astype(float)
    away = np.hypot(points[:, 0], points[:, 1])
    return points[(away > _NEAR_M) & (away < _FAR_M) & (points[:, 2] > _GROUND_M)]


def _distance(cloud: np.ndarray, other: np.ndarray) -> float:
    """Mean distance [m] of the second cloud's points to the first."""
    if not len(cloud) or not len(other):
        return _UNMATCHED_M
    _, one_a_cell = np.unique(np.floor(other / _THINNED_M).astype(int), axis=0, return_index=True)
    distance, _ = cKDTree(cloud).query(other[one_a_cell], distance_upper_bound=_UNMATCHED_M)
    return float(np.minimum(distance, _UNMATCHED_M).mean())
