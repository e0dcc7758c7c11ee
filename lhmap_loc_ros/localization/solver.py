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
NARROW = 4.0
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


# Two functions of plain loops over columns, whose sums may be taken in any order: compilers turn them into vector
# instructions, which they do not with one loop that adds up all of H, and it takes a quarter of the time.
@numba.njit(cache=True, nogil=True, fastmath=True)
def _linearise(points, target, scale, share, T, fx, fy, cx, cy, width, J, weight, r):
    """Fill the Jacobian J (6, 2N), weights and residuals (2N) of points (3, N), all of u before all of v.

    Returns the number of inliers.
    """
    n = points.shape[1]
    inliers, narrow = 0, 1.0 / (width * width)
    for i in range(n):
        px, py, pz = points[0, i], points[1, i], points[2, i]
        depth = T[2, 0] * px + T[2, 1] * py + T[2, 2] * pz + T[2, 3]
        seen = 1.0 if depth >= LEAST_DEPTH_M else 0.0
        iz = 1.0 / max(depth, LEAST_DEPTH_M)
        x = (T[0, 0] * px + T[0, 1] * py + T[0, 2] * pz + T[0, 3]) * iz
        y = (T[1, 0] * px + T[1, 1] * py + T[1, 2] * pz + T[1, 3]) * iz
        # d(u, v)/d(point in the camera), times d(point)/d(xi) = [-I, [p]x] for T_map_camera exp(xi)
        J[0, i], J[0, n + i] = -fx * iz, 0.0
        J[1, i], J[1, n + i] = 0.0, -fy * iz
        J[2, i], J[2, n + i] = fx * x * iz, fy * y * iz
        J[3, i], J[3, n + i] = fx * x * y, fy * (1.0 + y * y)
        J[4, i], J[4, n + i] = -fx * (1.0 + x * x), -fy * x * y
        J[5, i], J[5, n + i] = fx * y, -fy * x
        r[i], r[n + i] = fx * x + cx - target[0, i], fy * y + cy - target[1, i]
        su, sv = scale[0, i], scale[1, i]
        eu, ev = r[i] / su, r[n + i] / sv
        if seen > 0.0 and max(abs(eu), abs(ev)) < INLIER_SIGMAS and max(su, sv) < INLIER_SCALE:
            inliers += 1
        robust = seen * share[i] / (1.0 + (eu * eu + ev * ev) * narrow)
        weight[i], weight[n + i] = robust / (su * su), robust / (sv * sv)
    return inliers


@numba.njit(cache=True, nogil=True, fastmath=True)
def _normal_equations(J, weight, r, H, g):
    """Fill H (6, 6) and g (6) of the weighted problem; J (6, M), weights and residuals (M)."""
    weighted = np.empty(J.shape[1])
    for a in range(6):
        for i in range(J.shape[1]):
            weighted[i] = weight[i] * J[a, i]
        total = 0.0
        for i in range(J.shape[1]):
            total += weighted[i] * r[i]
        g[a] = total
        for b in range(a + 1):
            total = 0.0
            for i in range(J.shape[1]):
                total += weighted[i] * J[b, i]
            H[a, b] = H[b, a] = total


def solve_pose(
    points: np.ndarray,
    target: np.ndarray,
    scale: np.ndarray,
    share: np.ndarray,
    T_map_camera: np.ndarray,
    camera: Camera,
    prior_sigma: tuple[float, float],
) -> Solution:
    """The pose that projects `points` (N, 3) [m, map] onto `target` (N, 2) [pixels].

    `scale` (N, 2) [pixels] is the expected error per axis, `share` (N,) a factor on the weight. `prior_sigma` (metres,
    radians) is a weak prior around the start pose: it decides nothing where the matches do, and keeps the pose where
    they cannot.
    """
    points, target, scale = (np.ascontiguousarray(x.T, dtype=np.float64) for x in (points, target, scale))
    share = np.ascontiguousarray(share, dtype=np.float64)
    prior = np.diag(np.repeat(1.0 / np.square(prior_sigma), 3))
    pose = np.array(T_map_camera, dtype=np.float64)
    offset = np.zeros(6)
    rows = 2 * points.shape[1]
    J, weight, r = np.empty((6, rows)), np.empty(rows), np.empty(rows)
    H, g = np.empty((6, 6)), np.empty(6)
    inliers = 0
    for k in range(GAUSS_NEWTON_STEPS):
        width = kernel_width(k)
        inliers = _linearise(
            points, target, scale, share, inverse(pose), camera.fx, camera.fy, camera.cx, camera.cy, width,
            J, weight, r,
        )  # fmt: skip
        _normal_equations(J, weight, r, H, g)
        step = -np.linalg.solve(H + prior, g + prior @ offset)
        metres, radians = np.linalg.norm(step[:3]), np.linalg.norm(step[3:])
        step *= min(1.0, MOST_STEP[0] / max(metres, 1e-12), MOST_STEP[1] / max(radians, 1e-12))
        pose = pose @ se3_exp(step)
        offset += step
        if width == NARROW and np.linalg.norm(step[:3]) < 1e-4 and np.linalg.norm(step[3:]) < 1e-5:
            break
    return Solution(pose, H + prior, inliers / max(points.shape[1], 1))
