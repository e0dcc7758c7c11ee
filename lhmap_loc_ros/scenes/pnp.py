# SPDX-License-Identifier: Apache-2.0
"""The pose of a camera from places of its pixels, some of them wrong: PnP in RANSAC, refined, with a covariance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..geometry import Camera, inverse, make_pose

MIN_POINTS = 12
"""Fewer points, or inliers, say nothing."""
INLIER_PX = 6.0
"""Pixels of the view, whose cells are 8 wide."""
ITERATIONS = 300
ALIKE = 6.0
"""So many inliers err together, as neighbouring cells do: they count as one."""


@dataclass(frozen=True)
class SolvedPose:
    """A pose that many points agree on."""

    T_map_camera: np.ndarray
    """(4, 4)."""
    covariance: np.ndarray
    """(6, 6), body frame of the camera, translation first [m, rad]."""
    inliers: int
    inlier_ratio: float


def solve_pose(points: np.ndarray, pixels: np.ndarray, camera: Camera) -> SolvedPose | None:
    """The pose of the camera that sees points (N, 3) at pixels (N, 2); None where too few agree on any."""
    if len(points) < MIN_POINTS:
        return None
    # around their middle: maps may be far from zero
    middle = points.mean(0)
    local, pixels = np.ascontiguousarray(points - middle, np.float64), np.ascontiguousarray(pixels, np.float64)
    try:
        found, turn, shift, inliers = cv2.solvePnPRansac(
            local, pixels, camera.matrix, None, iterationsCount=ITERATIONS, reprojectionError=INLIER_PX,
            confidence=0.999, flags=cv2.SOLVEPNP_AP3P,
        )  # fmt: skip
        if not found or inliers is None or len(inliers) < MIN_POINTS:
            return None
        inside = inliers[:, 0]
        turn, shift = cv2.solvePnPRefineLM(local[inside], pixels[inside], camera.matrix, None, turn, shift)
    except cv2.error:
        return None
    T_camera_local = make_pose(cv2.Rodrigues(turn)[0], shift[:, 0])
    if not np.isfinite(T_camera_local).all():
        return None
    covariance = _covariance(local[inside] @ T_camera_local[:3, :3].T + shift[:, 0], pixels[inside], camera)
    if covariance is None:
        return None
    pose = inverse(T_camera_local)
    pose[:3, 3] += middle
    return SolvedPose(pose, covariance, len(inside), len(inside) / len(points))


def _covariance(seen: np.ndarray, pixels: np.ndarray, camera: Camera) -> np.ndarray | None:
    """(6, 6) of the pose, from points (N, 3) in the camera's frame and the residuals of their pixels; None if singular.

    A step (t, r) of the camera moves a point p in its frame by -t + p x r.
    """
    x, y, z = seen.T
    if (z < 0.1).any():
        return None
    zero = np.zeros_like(x)
    u = np.stack([camera.fx / z, zero, -camera.fx * x / z**2], axis=1)
    v = np.stack([zero, camera.fy / z, -camera.fy * y / z**2], axis=1)
    rows = [np.concatenate([-g, np.cross(g, seen)], axis=1) for g in (u, v)]
    J = np.concatenate(rows)
    residuals = np.concatenate(
        [camera.fx * x / z + camera.cx - pixels[:, 0], camera.fy * y / z + camera.cy - pixels[:, 1]]
    )
    variance = max(float(np.mean(residuals**2)), 0.25)
    try:
        return np.linalg.inv(J.T @ J) * variance * ALIKE
    except np.linalg.LinAlgError:
        return None
