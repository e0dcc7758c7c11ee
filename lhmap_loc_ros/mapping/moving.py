# SPDX-License-Identifier: Apache-2.0
"""Removal of what moved: a point that later or earlier scans look through was not there to stay."""

from __future__ import annotations

from collections.abc import Iterable

import numba
import numpy as np

from ..geometry import inverse
from .config import MovingConfig
from .grid import TileGroups
from .scans import PlacedScan

_AZIMUTH_BINS = 720
_ELEVATION_STEP = np.radians(0.8)
_ELEVATION_BINS = 225


@numba.njit(cache=True, nogil=True)
def _bin(x, y, z):
    """Row and column of a direction in the range image; the row may lie outside for none but (0, 0, 0)."""
    column = int((np.arctan2(y, x) + np.pi) * (_AZIMUTH_BINS / (2 * np.pi))) % _AZIMUTH_BINS
    row = int((np.arctan2(z, np.sqrt(x * x + y * y)) + np.pi / 2) / _ELEVATION_STEP)
    return min(row, _ELEVATION_BINS - 1), column


@numba.njit(cache=True, nogil=True)
def _range_images(points, T, nearest, around):
    """Least range in each bin, infinite where empty; and the least over the 3x3 bins around it."""
    nearest[:] = np.inf
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        x = T[0, 0] * px + T[0, 1] * py + T[0, 2] * pz + T[0, 3]
        y = T[1, 0] * px + T[1, 1] * py + T[1, 2] * pz + T[1, 3]
        z = T[2, 0] * px + T[2, 1] * py + T[2, 2] * pz + T[2, 3]
        row, column = _bin(x, y, z)
        nearest[row, column] = min(nearest[row, column], np.sqrt(x * x + y * y + z * z))
    for row in range(_ELEVATION_BINS):
        for column in range(_AZIMUTH_BINS):
            least = np.inf
            for r in range(max(row - 1, 0), min(row + 2, _ELEVATION_BINS)):
                for c in (column - 1, column, column + 1):
                    least = min(least, nearest[r, c % _AZIMUTH_BINS])
            around[row, column] = least


@numba.njit(cache=True, nogil=True)
def _judge(points, spans, T, nearest, around, radius, margin, hits, passes):
    for s in range(spans.shape[0]):
        for i in range(spans[s, 0], spans[s, 1]):
            px, py, pz = points[i, 0], points[i, 1], points[i, 2]
            x = T[0, 0] * px + T[0, 1] * py + T[0, 2] * pz + T[0, 3]
            y = T[1, 0] * px + T[1, 1] * py + T[1, 2] * pz + T[1, 3]
            z = T[2, 0] * px + T[2, 1] * py + T[2, 2] * pz + T[2, 3]
            distance = np.sqrt(x * x + y * y + z * z)
            if distance > radius or distance < 0.5:
                continue
            row, column = _bin(x, y, z)
            beam = nearest[row, column]
            if beam == np.inf:
                continue
            if abs(beam - distance) <= margin:
                hits[i] += 1
            elif around[row, column] > distance + margin:
                passes[i] += 1


def find_moving(points: np.ndarray, origin: np.ndarray, scans: Iterable[PlacedScan | None], config: MovingConfig):
    """Which map points were only there for a while: (N,) bool.

    `points` (N, 3) float32 are around `origin` (3,) in the map frame. Each scan, thinned out along the
    drive, becomes a range image. It hits a point when its beam in that direction ends there, and passes
    through it when the beams in the 3x3 bins around all end at least `margin_m` behind it: so edges, thin
    poles and grazed ground are not mistaken for free space. A point goes when enough scans pass, and more
    than hit it.
    """
    groups = TileGroups(points)
    hits, passes = np.zeros(len(points), np.uint16), np.zeros(len(points), np.uint16)
    nearest = np.empty((_ELEVATION_BINS, _AZIMUTH_BINS), np.float32)
    around = np.empty_like(nearest)
    for scan in _thinned(scans, config):
        T = inverse(scan.T_map_lidar)
        _range_images(scan.points, T, nearest, around)
        T[:3, 3] += T[:3, :3] @ origin
        spans = groups.near(scan.T_map_lidar[:2, 3] - origin[:2], config.radius_m)
        _judge(groups.points, spans, T, nearest, around, config.radius_m, config.margin_m, hits, passes)
    moving = np.zeros(len(points), bool)
    moving[groups.order] = (passes >= config.min_passes) & (passes > config.passes_per_hit * hits)
    return moving


def _thinned(scans: Iterable[PlacedScan | None], config: MovingConfig):
    """Scans some way or some time apart: neighbours see nearly the same."""
    last = None
    for scan in scans:
        if scan is None:
            continue
        if last is not None:
            step = np.linalg.norm(scan.T_map_lidar[:3, 3] - last.T_map_lidar[:3, 3])
            if step < config.spacing_m and scan.stamp_ns - last.stamp_ns < config.spacing_s * 1e9:
                continue
        last = scan
        yield scan
