# SPDX-License-Identifier: Apache-2.0
"""The pose of a camera from places of its pixels, some of them wrong: PnP in RANSAC, refined, with a covariance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..geometry import Camera, inverse, make_pose, se3_exp

MIN_POINTS = 12
"""Fewer points, or inliers, say nothing."""
INLIER_PX = 6.0
"""Pixels of the view, whose cells are 8 wide."""
ITERATIONS = 300
REFINEMENTS, KERNEL, MIN_DEPTH_M = 15, 4.0, 0.5
"""Iterations of `refined_pose`, where its kernel gives way (squared, in standard deviations), nearest point it uses."""
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


def refined_pose(
    start: np.ndarray, points: np.ndarray, pixels: np.ndarray, sigma_px: float, camera: Camera
) -> SolvedPose | None:  # fmt: skip
    """The pose near `start` (4, 4) of the camera that sees points (N, 3) at pixels (N, 2), which err by `sigma_px`.

    Gauss-Newton with Geman and McClure's kernel, for points of which no few are good enough to begin with. None where
    too few agree on any.
    """
    T_camera_map = inverse(start)
    for _ in range(REFINEMENTS):
        seen = points @ T_camera_map[:3, :3].T + T_camera_map[:3, 3]
        ahead = seen[:, 2] > MIN_DEPTH_M
        if ahead.sum() < MIN_POINTS:
            return None
        rows, residuals = _linearized(seen[ahead], pixels[ahead], camera)
        square = ((residuals.reshape(2, -1) / sigma_px) ** 2).sum(0)
        weight = np.tile((KERNEL / (KERNEL + square) / sigma_px) ** 2, 2)
        JtJ = (rows.T * weight) @ rows
        try:
            step = -np.linalg.solve(JtJ + 1e-9 * np.eye(6) * np.trace(JtJ), rows.T @ (weight * residuals))
        except np.linalg.LinAlgError:
            return None
        T_camera_map = inverse(inverse(T_camera_map) @ se3_exp(step))
    pose, inside = inverse(T_camera_map), square < KERNEL
    if not np.isfinite(pose).all() or inside.sum() < MIN_POINTS:
        return None
    variance = max(float(square[inside].mean()) / 2, 0.1)
    covariance = np.linalg.pinv(JtJ) * variance * ALIKE
    return SolvedPose(pose, covariance, int(inside.sum()), float(inside.sum() / len(points)))


def drawn_off(T_map_camera: np.ndarray, points: np.ndarray, pixels: np.ndarray, camera: Camera) -> np.ndarray:
    """How far (N,) [pixels] a camera sees points (N, 3) from pixels (N, 2); infinite behind it."""
    seen = (points - T_map_camera[:3, 3]) @ T_map_camera[:3, :3]
    ahead = seen[:, 2] > MIN_DEPTH_M
    out = np.full(len(points), np.inf)
    u, v = (seen[ahead, :2] / seen[ahead, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)).T
    out[ahead] = np.hypot(u - pixels[ahead, 0], v - pixels[ahead, 1])
    return out


def _linearized(seen: np.ndarray, pixels: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives (2N, 6) by a step of the camera, and residuals (2N,) of pixels (N, 2), of points in its frame (N, 3).

    A step (t, r) of the camera moves a point p in its frame by -t + p x r.
    """
    x, y, z = seen.T
    zero = np.zeros_like(x)
    u = np.stack([camera.fx / z, zero, -camera.fx * x / z**2], axis=1)
    v = np.stack([zero, camera.fy / z, -camera.fy * y / z**2], axis=1)
    rows = [np.concatenate([-g, np.cross(g, seen)], axis=1) for g in (u, v)]
    residuals = [camera.fx * x / z + camera.cx - pixels[:, 0], camera.fy * y / z + camera.cy - pixels[:, 1]]
    return np.concatenate(rows), np.concatenate(residuals)


def _covariance(seen: np.ndarray, pixels: np.ndarray, camera: Camera) -> np.ndarray | None:
    """(6, 6) of the pose, from points (N, 3) in the camera's frame and their pixels; None if singular."""
    if (seen[:, 2] < 0.1).any():
        return None
    J, residuals = _linearized(seen, pixels, camera)
    variance = max(float(np.mean(residuals**2)), 0.25)
    try:
        return np.linalg.inv(J.T @ J) * variance * ALIKE
    except np.linalg.LinAlgError:
        return None
