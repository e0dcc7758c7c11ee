# SPDX-License-Identifier: Apache-2.0
"""Projection of point clouds into a pinhole camera, with a z-buffer. One pass, compiled by numba."""

from __future__ import annotations

import numba
import numpy as np

from .camera import Camera

NO_POINT = -1
"""Value of an index image where no point projects."""
YIELD_M, YIELD_SHARE = 0.3, 0.02
"""A splat yields a pixel beside its own to a point that projects there, unless that lies this much deeper.

Without this, ground near the camera is drawn over the ground behind it: all it shows moves up by half a splat.
"""
MAX_REACH = 3
"""A splat covers at most so many pixels on each side of its own."""
_EMPTY, _NUMBER = np.uint64(2**64 - 1), np.uint64(2**32 - 1)


@numba.njit(cache=True, fastmath=True, nogil=True)
def _project(
    points: np.ndarray, T: np.ndarray, fx: float, fy: float, cx: float, cy: float, min_depth: float, uv: np.ndarray,
    depth: np.ndarray,
) -> None:  # fmt: skip
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        zc = T[2, 0] * x + T[2, 1] * y + T[2, 2] * z + T[2, 3]
        depth[i] = zc
        if zc < min_depth:
            uv[i, 0] = np.nan
            uv[i, 1] = np.nan
            continue
        uv[i, 0] = fx * (T[0, 0] * x + T[0, 1] * y + T[0, 2] * z + T[0, 3]) / zc + cx
        uv[i, 1] = fy * (T[1, 0] * x + T[1, 1] * y + T[1, 2] * z + T[1, 3]) / zc + cy


@numba.njit(cache=True, nogil=True)
def _rank(depth: float, point: int) -> np.uint64:
    """A number in the order of the depths, with the point's own in its lower bits: the lesser of two is drawn."""
    return np.uint64(np.float32(depth).view(np.uint32)) << np.uint64(32) | np.uint64(point)


@numba.njit(cache=True, nogil=True)
def _spread(canvas: np.ndarray, row: int, column: int, reach: int, rank: np.uint64) -> None:
    for r in range(row - reach, row + reach + 1):
        for c in range(column - reach, column + reach + 1):
            canvas[r, c] = min(canvas[r, c], rank)


@numba.njit(cache=True, nogil=True)
def _z_buffer(
    uv: np.ndarray, depth: np.ndarray, splat: np.ndarray, max_depth: float, nearest: np.ndarray, index: np.ndarray
) -> None:
    # beside the image a margin of MAX_REACH, for points drawn over the border from outside, and one for what they draw
    rows, columns = nearest.shape[0] + 2 * MAX_REACH, nearest.shape[1] + 2 * MAX_REACH
    canvas = np.full((rows + 2 * MAX_REACH, columns + 2 * MAX_REACH), _EMPTY)
    for i in range(uv.shape[0]):
        z, column, row = depth[i], uv[i, 0] + (MAX_REACH + 0.5), uv[i, 1] + (MAX_REACH + 0.5)
        # as positive conditions, which NaN fails
        if 0 < z <= max_depth and column >= 0 and column < columns and row >= 0 and row < rows:
            r, c = int(row) + MAX_REACH, int(column) + MAX_REACH
            canvas[r, c] = min(canvas[r, c], _rank(z, i))
    # what another point hides at its own pixel would be hidden beside it, too
    own, alike = canvas.copy(), splat.shape[0] == 1
    for row in range(MAX_REACH, rows + MAX_REACH):
        for column in range(MAX_REACH, columns + MAX_REACH):
            if own[row, column] == _EMPTY:
                continue
            owner = int(np.int64(own[row, column] & _NUMBER))
            # a splat of s metres covers round(f*s/z) pixels; `splat` arrives as f*s, for all points or for each
            reach = int(min(0.5 * splat[0 if alike else owner] / depth[owner], MAX_REACH))
            rank = _rank(depth[owner] + YIELD_M + YIELD_SHARE * depth[owner], owner)
            # constants, so that the loops are unrolled: half the time
            if reach == MAX_REACH:
                _spread(canvas, row, column, MAX_REACH, rank)
            elif reach == 2:
                _spread(canvas, row, column, 2, rank)
            elif reach == 1:
                _spread(canvas, row, column, 1, rank)
    for row in range(nearest.shape[0]):
        for column in range(nearest.shape[1]):
            rank = canvas[row + 2 * MAX_REACH, column + 2 * MAX_REACH]
            if rank != _EMPTY:
                index[row, column] = np.int64(rank & _NUMBER)
                nearest[row, column] = depth[index[row, column]]


def project(
    points: np.ndarray, T_camera_map: np.ndarray, camera: Camera, min_depth: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions (N, 2) float32 and depths (N) float32 [m] of map points (N, 3) float32.

    Points nearer than `min_depth` (or behind the camera) get NaN pixels; points outside the image are kept.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    uv = np.empty((len(points), 2), dtype=np.float32)
    depth = np.empty(len(points), dtype=np.float32)
    T = np.ascontiguousarray(T_camera_map, dtype=np.float64)
    _project(points, T, camera.fx, camera.fy, camera.cx, camera.cy, min_depth, uv, depth)
    return uv, depth


@numba.njit(cache=True, nogil=True)
def _within(points: np.ndarray, T: np.ndarray, sine: float, cosine: float, reach: float, keep: np.ndarray) -> None:
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        right = T[0, 0] * x + T[0, 1] * y + T[0, 2] * z + T[0, 3]
        ahead = T[2, 0] * x + T[2, 1] * y + T[2, 2] * z + T[2, 3]
        keep[i] = abs(right) * cosine < ahead * sine + reach


def may_be_seen(
    points: np.ndarray, T_camera_map: np.ndarray, camera: Camera, reach_m: float, reach_deg: float
) -> np.ndarray:
    """Which map points (N, 3) float32 could be drawn from a pose near by (N,) bool.

    Near by: at most `reach_m` away and turned by at most `reach_deg`. All points that any such pose sees are among
    them, and some that none does.
    """
    aside = max(camera.cx, camera.width - 1 - camera.cx) + MAX_REACH + 1
    above = max(camera.cy, camera.height - 1 - camera.cy) + MAX_REACH + 1
    half = np.arctan(np.hypot(aside / camera.fx, above / camera.fy)) + np.radians(reach_deg)
    if half > np.radians(85):
        return np.ones(len(points), bool)
    keep = np.empty(len(points), bool)
    # the cone around the axis that holds all their rays, widened to a wedge, and its two planes moved outwards
    T = np.ascontiguousarray(T_camera_map, dtype=np.float64)
    _within(np.ascontiguousarray(points, dtype=np.float32), T, np.sin(half), np.cos(half), reach_m, keep)
    return keep


def z_buffer(
    uv: np.ndarray, depth: np.ndarray, camera: Camera, splat_m: float | np.ndarray = 0.0, max_depth: float = 100.0
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest point at each pixel.

    Returns the depth image (H, W) float32 [m], infinite where empty, and the index image (H, W) int32 of the
    point that owns each pixel, `NO_POINT` where empty. `splat_m` is the width of a point in metres, the same for
    all or (N,): near points cover several pixels (at most 7x7), far ones a single one. Beside its own pixel a point
    is drawn only where no other point projects, or one well behind it.
    """
    nearest = np.full((camera.height, camera.width), np.inf, dtype=np.float32)
    index = np.full((camera.height, camera.width), NO_POINT, dtype=np.int32)
    splat = np.atleast_1d(np.asarray(splat_m, np.float32)) * np.float32(camera.fx)
    _z_buffer(uv, depth, splat, max_depth, nearest, index)
    return nearest, index
