# SPDX-License-Identifier: Apache-2.0
"""Where the views of a place database are taken from: along the mapped path, in all directions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ..geometry import every_so_far, make_pose

BASE_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""A level camera that looks along x."""
_STOREY_M = 3.0
"""Places above each other by more than this are two: a bridge and what goes under it."""
GROUND_RADIUS_M = 4.0
_GROUND_WITHIN_M, _STEP_M = 1.5, 0.5
"""Ground is known where a point lies this near, and goes on if it is no higher or lower than that."""
_BODY_RADIUS_M, _BODY_HEIGHT_M = 0.6, 2.0
"""Room that a robot needs above the ground."""


def along_path(path: np.ndarray, spacing_m: float) -> np.ndarray:
    """Poses (P, 4) x, y, z [m], yaw [rad] about every `spacing_m` along a mapped path (N, 4) of such poses.

    Where the path comes by again there is one pose, not two: headings all around are looked at anyway.
    """
    places = every_so_far(path, spacing_m)
    return places[_first_of_each(places, 0.6 * spacing_m)] if len(places) > 1 else places


def _first_of_each(places: np.ndarray, apart_m: float) -> np.ndarray:
    """Which places (P,) to keep so that none is within `apart_m` of another on the same storey."""
    near = cKDTree(places[:, :2]).query_ball_point(places[:, :2], apart_m)
    keep = np.ones(len(places), bool)
    for number, others in enumerate(near):
        if keep[number]:
            later = [k for k in others if k > number and abs(places[k, 2] - places[number, 2]) < _STOREY_M]
            keep[later] = False
    return keep


def ground_height(points: np.ndarray, place: np.ndarray) -> float:
    """Height of the ground near a place (3,): a low quantile of the points (N, 3) around; the place's own if none."""
    near = points[np.hypot(points[:, 0] - place[0], points[:, 1] - place[1]) < GROUND_RADIUS_M]
    return float(np.quantile(near[:, 2], 0.1)) if len(near) else float(place[2])


def beside(points: np.ndarray, place: np.ndarray, offsets_m: Sequence[float]) -> np.ndarray:
    """Positions (N, 3) so far to the left of a place (4,) x, y, z, yaw of the path, where a robot can be.

    There the points (M, 3) show ground about as high as the path's, and nothing above it as far as a robot is high: a
    wall, a hedge, a parked car. Where no point tells, as inside of houses, there is none.
    """
    ground = ground_height(points, place)
    left = np.array([-np.sin(place[3]), np.cos(place[3]), 0.0])
    near = points[np.hypot(*(points[:, :2] - place[:2]).T) < max(np.abs(offsets_m), default=0.0) + GROUND_RADIUS_M]
    above = near[:, 2] - ground
    out = []
    for offset in offsets_m:
        position = place[:3] + offset * left
        metres = np.hypot(*(near[:, :2] - position[:2]).T)
        has_ground = ((metres < _GROUND_WITHIN_M) & (np.abs(above) < _STEP_M)).any()
        blocked = (metres < _BODY_RADIUS_M) & (above > _STEP_M) & (above < _BODY_HEIGHT_M)
        if has_ground and not blocked.any():
            out.append(position)
    return np.array(out).reshape(-1, 3)


def camera_poses(position: np.ndarray, yaws: np.ndarray) -> np.ndarray:
    """Poses (N, 4, 4) T_map_camera of a level camera at a position (3,) looking along `yaws` (N,) [rad]."""
    turns = Rotation.from_euler("z", np.asarray(yaws, float)[:, None]).as_matrix()
    return np.array([make_pose(turn @ BASE_FROM_OPTICAL, position) for turn in turns])


def base_pose(position: np.ndarray, view_yaw: float, T_base_camera: np.ndarray) -> np.ndarray:
    """Pose (4, 4) T_map_base of a level robot whose camera stands over `position` and looks along `view_yaw` [rad].

    `position` (3,) has the height of base_link. Robots drive level, so where the camera is tilted only its direction in
    the plane counts.
    """
    ahead = T_base_camera[:3, 2]
    rotation = Rotation.from_euler("z", view_yaw - np.arctan2(ahead[1], ahead[0])).as_matrix()
    return make_pose(rotation, position - np.r_[(rotation @ T_base_camera[:3, 3])[:2], 0.0])
