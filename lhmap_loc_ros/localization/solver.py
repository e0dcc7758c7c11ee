# SPDX-License-Identifier: Apache-2.0
"""Camera pose from points with known map positions and uncertain pixel positions.

Robust weighted Gauss-Newton on SE(3) (iteratively re-weighted with a Cauchy weight), compiled by numba.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from ..geometry import Camera, inverse, se3_exp

INLIER_SIGMAS, INLIER_SCALE = 2.0, 4.0
"""An inlier is a match whose residual is below this many scales, the scale below this many pixels, on both axes.

Without the second bound everything is an inlier where the network knows that it knows nothing.
"""
GAUSS_NEWTON_STEPS = 12
"""At most so many."""
MOST_STEP = 3.0, 0.35
"""One step never exceeds what the linearisation can bear: metres, radians."""
LEAST_DEPTH_M = 0.3
"""Points nearer than this have no part."""
NARROW = 2.0
"""Width of the robust kernel in the end, in scales."""


def kernel_width(step: int) -> float:
    """Width of the robust kernel, wide first: far outliers lose their weight only once the pose is near."""
    return max(NARROW, 16.0 * 0.6**step)


@dataclass(frozen=True)
class Solution:
    """A solved pose."""

    T_map_camera: np.ndarray
    """(4, 4) float64."""
    information: np.ndarray
    """(6, 6) inverse covariance of the body-frame tangent vector (metres, radians), prior included."""
    inlier_ratio: float
    """Share of the matches that are inliers, in [0, 1]."""


@numba.njit(cache=True, nogil=True)
def _normal_equations(points, target, scale, T, fx, fy, cx, cy, width, H, g):
    """Fill H (6, 6) and g (6) of the re-weighted problem; returns the number of inliers."""
    H[:] = 0.0
    g[:] = 0.0
    inliers = 0
    J = np.zeros((2, 6))
    r = np.zeros(2)
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        x = T[0, 0] * px + T[0, 1] * py + T[0, 2] * pz + T[0, 3]
        y = T[1, 0] * px + T[1, 1] * py + T[1, 2] * pz + T[1, 3]
        z = T[2, 0] * px + T[2, 1] * py + T[2, 2] * pz + T[2, 3]
        if z < LEAST_DEPTH_M:
            continue
        iz = 1.0 / z
        # d(u, v)/d(point in the camera), times d(point)/d(xi) = [-I, [p]x] for T_map_camera exp(xi)
        J[0, 0] = -fx * iz
        J[0, 1] = 0.0
        J[0, 2] = fx * x * iz * iz
        J[0, 3] = fx * x * y * iz * iz
        J[0, 4] = -fx * (1.0 + x * x * iz * iz)
        J[0, 5] = fx * y * iz
        J[1, 0] = 0.0
        J[1, 1] = -fy * iz
        J[1, 2] = fy * y * iz * iz
        J[1, 3] = fy * (1.0 + y * y * iz * iz)
        J[1, 4] = -fy * x * y * iz * iz
        J[1, 5] = -fy * x * iz
        r[0] = fx * x * iz + cx - target[i, 0]
        r[1] = fy * y * iz + cy - target[i, 1]
        e0, e1 = r[0] / scale[i, 0], r[1] / scale[i, 1]
        if max(abs(e0), abs(e1)) < INLIER_SIGMAS and max(scale[i, 0], scale[i, 1]) < INLIER_SCALE:
            inliers += 1
        robust = 1.0 / (1.0 + (e0 * e0 + e1 * e1) / (width * width))
        for k in range(2):
            w = robust / (scale[i, k] * scale[i, k])
            for a in range(6):
                g[a] += w * J[k, a] * r[k]
                for b in range(a + 1):
                    H[a, b] += w * J[k, a] * J[k, b]
    for a in range(6):
        for b in range(a):
            H[b, a] = H[a, b]
    return inliers


def solve_pose(
    points: np.ndarray,
    target: np.ndarray,
    scale: np.ndarray,
    T_map_camera: np.ndarray,
    camera: Camera,
    prior_sigma: tuple[float, float],
) -> Solution:
    """The pose that projects `points` (N, 3) [m, map] onto `target` (N, 2) [pixels].

    `scale` (N, 2) [pixels] is the expected error per axis. `prior_sigma` (metres, radians) is a weak prior
    around the start pose: it decides nothing where the matches do, and keeps the pose where they cannot.
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    target = np.ascontiguousarray(target, dtype=np.float64)
    scale = np.ascontiguousarray(scale, dtype=np.float64)
    prior = np.diag(np.repeat(1.0 / np.square(prior_sigma), 3))
    pose = np.array(T_map_camera, dtype=np.float64)
    offset = np.zeros(6)
    H, g = np.empty((6, 6)), np.empty(6)
    inliers = 0
    for k in range(GAUSS_NEWTON_STEPS):
        width = kernel_width(k)
        inliers = _normal_equations(
            points, target, scale, inverse(pose), camera.fx, camera.fy, camera.cx, camera.cy, width, H, g
        )
        step = -np.linalg.solve(H + prior, g + prior @ offset)
        metres, radians = np.linalg.norm(step[:3]), np.linalg.norm(step[3:])
        step *= min(1.0, MOST_STEP[0] / max(metres, 1e-12), MOST_STEP[1] / max(radians, 1e-12))
        pose = pose @ se3_exp(step)
        offset += step
        if width == NARROW and np.linalg.norm(step[:3]) < 1e-4 and np.linalg.norm(step[3:]) < 1e-5:
            break
    return Solution(pose, H + prior, inliers / max(len(points), 1))
