# SPDX-License-Identifier: Apache-2.0
"""Pose of a camera, or of a body with several, from points with known map positions and uncertain pixel positions.

Robust weighted Gauss-Newton on SE(3) (iteratively re-weighted with a Cauchy weight), compiled by numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from ..geometry import Camera, inverse, se3_exp
from .manifold import adjoint

INLIER_SIGMAS, MAX_INLIER_SIGMA_PX = 2.0, 4.0
"""An inlier is a match whose residual is below so many sigmas, the sigma below so many pixels, on both axes.

Without the second bound everything is an inlier where the network knows that it knows nothing.
"""
GAUSS_NEWTON_STEPS = 12
"""At most so many."""
MAX_STEP = 3.0, 0.35
"""One step never exceeds what the linearisation can bear: metres, radians."""
MIN_DEPTH_M = 0.3
"""Points nearer than this have no part."""
NARROW = 4.0
"""Width of the robust kernel in the end, in sigmas."""


def kernel_width(step: int) -> float:
    """Width of the robust kernel, wide first: far outliers lose their weight only once the pose is near."""
    return max(NARROW, 16.0 * 0.6**step)


@dataclass(frozen=True)
class Solution:
    """A solved pose."""

    T_map_camera: np.ndarray
    """(4, 4) float64; of several views that of the body that carries them."""
    information: np.ndarray
    """(6, 6) inverse covariance of the body-frame tangent vector (metres, radians), prior included."""
    inlier_ratio: float
    """Share of the matches that are inliers, in [0, 1]."""


# Two functions of plain loops over columns, whose sums may be taken in any order: compilers turn them into vector
# instructions, which they do not with one loop that adds up all of H, and it takes a quarter of the time.
@numba.njit(cache=True, nogil=True, fastmath=True)
def _linearise(
    points: np.ndarray, target: np.ndarray, sigma_px: np.ndarray, weight: np.ndarray, T: np.ndarray, fx: float,
    fy: float, cx: float, cy: float, width: float, J: np.ndarray, information: np.ndarray, r: np.ndarray,
) -> int:  # fmt: skip
    """Fill the Jacobian J (6, 2N), information and residuals (2N) of points (3, N), all of u before all of v.

    Returns the number of inliers.
    """
    n = points.shape[1]
    inliers, narrow = 0, 1.0 / (width * width)
    for i in range(n):
        px, py, pz = points[0, i], points[1, i], points[2, i]
        depth = T[2, 0] * px + T[2, 1] * py + T[2, 2] * pz + T[2, 3]
        seen = 1.0 if depth >= MIN_DEPTH_M else 0.0
        iz = 1.0 / max(depth, MIN_DEPTH_M)
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
        su, sv = sigma_px[0, i], sigma_px[1, i]
        eu, ev = r[i] / su, r[n + i] / sv
        if seen > 0.0 and max(abs(eu), abs(ev)) < INLIER_SIGMAS and max(su, sv) < MAX_INLIER_SIGMA_PX:
            inliers += 1
        robust = seen * weight[i] / (1.0 + (eu * eu + ev * ev) * narrow)
        information[i], information[n + i] = robust / (su * su), robust / (sv * sv)
    return inliers


@numba.njit(cache=True, nogil=True, fastmath=True)
def _normal_equations(
    J: np.ndarray, information: np.ndarray, r: np.ndarray, H: np.ndarray, g: np.ndarray
) -> None:  # fmt: skip
    """Fill H (6, 6) and g (6) of the weighted problem; J (6, M), information and residuals (M)."""
    weighted = np.empty(J.shape[1])
    for a in range(6):
        for i in range(J.shape[1]):
            weighted[i] = information[i] * J[a, i]
        total = 0.0
        for i in range(J.shape[1]):
            total += weighted[i] * r[i]
        g[a] = total
        for b in range(a + 1):
            total = 0.0
            for i in range(J.shape[1]):
                total += weighted[i] * J[b, i]
            H[a, b] = H[b, a] = total


@dataclass(frozen=True)
class Matches:
    """Points with known map positions, and where one view of the body sees them."""

    points: np.ndarray
    """(N, 3) [m, map]."""
    target: np.ndarray
    """(N, 2) [pixels]."""
    sigma_px: np.ndarray
    """(N, 2) expected error per axis [pixels]."""
    weight: np.ndarray
    """(N,) factor on the information of the match."""
    camera: Camera
    T_body_camera: np.ndarray
    """(4, 4), the view's optical frame in that of the body."""


class _Linearised:
    """The matches of one view, to be linearised again and again."""

    def __init__(self, m: Matches):
        self._columns = [np.ascontiguousarray(x.T, dtype=np.float64) for x in (m.points, m.target, m.sigma_px)]
        self._weight = np.ascontiguousarray(m.weight, dtype=np.float64)
        self._intrinsics = m.camera.fx, m.camera.fy, m.camera.cx, m.camera.cy
        self._T_body_camera, self._to_view = m.T_body_camera, None
        if not np.array_equal(m.T_body_camera, np.eye(4)):
            # T_map_body exp(xi) T_body_camera = T_map_camera exp(adjoint(T_camera_body) xi)
            self._to_view = adjoint(inverse(m.T_body_camera))
        rows = 2 * len(m.points)
        self._J, self._information, self._r = np.empty((6, rows)), np.empty(rows), np.empty(rows)

    def normal_equations(self, T_map_body: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray, int]:
        """H (6, 6) and g (6) of the tangent vector of the body, and the number of inliers."""
        T_map_camera = T_map_body if self._to_view is None else T_map_body @ self._T_body_camera
        J, information, r = self._J, self._information, self._r
        (points, target, sigma_px), (fx, fy, cx, cy) = self._columns, self._intrinsics
        inliers = _linearise(
            points, target, sigma_px, self._weight, inverse(T_map_camera), fx, fy, cx, cy, width, J, information, r
        )  # fmt: skip
        H, g = np.empty((6, 6)), np.empty(6)
        _normal_equations(J, information, r, H, g)
        if self._to_view is not None:
            H, g = self._to_view.T @ H @ self._to_view, self._to_view.T @ g
        return H, g, inliers


def solve_pose(
    points: np.ndarray,
    target: np.ndarray,
    sigma_px: np.ndarray,
    weight: np.ndarray,
    T_map_camera: np.ndarray,
    camera: Camera,
    prior_sigma: tuple[float, float],
) -> Solution:
    """The pose of a camera that projects `points` (N, 3) [m, map] onto `target` (N, 2) [pixels]; see `solve_body`."""
    return solve_body((Matches(points, target, sigma_px, weight, camera, np.eye(4)),), T_map_camera, prior_sigma)


def solve_body(views: Sequence[Matches], T_map_body: np.ndarray, prior_sigma: tuple[float, float]) -> Solution:
    """The pose of the body from which all its views see their points where they were matched: one normal equation.

    `prior_sigma` (metres, radians) is a weak prior around the start pose: it decides nothing where the matches do, and
    keeps the pose where they cannot.
    """
    parts = [_Linearised(view) for view in views]
    prior = np.diag(np.repeat(1.0 / np.square(prior_sigma), 3))
    pose = np.array(T_map_body, dtype=np.float64)
    offset = np.zeros(6)
    inliers = 0
    for k in range(GAUSS_NEWTON_STEPS):
        width = kernel_width(k)
        H, g, inliers = parts[0].normal_equations(pose, width)
        for part in parts[1:]:
            more = part.normal_equations(pose, width)
            H, g, inliers = H + more[0], g + more[1], inliers + more[2]
        step = -np.linalg.solve(H + prior, g + prior @ offset)
        metres, radians = float(np.linalg.norm(step[:3])), float(np.linalg.norm(step[3:]))
        step *= min(1.0, MAX_STEP[0] / max(metres, 1e-12), MAX_STEP[1] / max(radians, 1e-12))
        pose = pose @ se3_exp(step)
        offset += step
        if width == NARROW and np.linalg.norm(step[:3]) < 1e-4 and np.linalg.norm(step[3:]) < 1e-5:
            break
    return Solution(pose, H + prior, inliers / max(sum(len(view.points) for view in views), 1))
