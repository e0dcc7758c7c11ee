# SPDX-License-Identifier: Apache-2.0
"""Removal of moving objects: points that later or earlier scans see through."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np

from ..geometry import inverse
from .grid import TileGroups
from .scans import PlacedScan

_AZIMUTH_BINS = 720
_ELEVATION_BINS = 225
_PI = np.float32(np.pi)
_PER_AZIMUTH = np.float32(_AZIMUTH_BINS / (2 * np.pi))
_PER_ELEVATION = np.float32(_ELEVATION_BINS / np.pi)
KEYFRAME_SPACING_M, KEYFRAME_SPACING_S = 1.5, 1.0
"""Distance and time between the scans that are compared with the map: scans closer together see nearly the same."""
MAX_STANDSTILL_KEYFRAMES = 300
"""Keyframes of one standstill that are compared with the map: five minutes of one a second."""
RADIUS_M = 40.0
"""Distance from a keyframe, metres, up to which points are compared with it: a bin is half a metre wide there."""
_MIN_RANGE_M = 0.5
"""Points nearer than this to a keyframe are not compared with it, metres."""
_MARGIN_M = 0.5
"""Distance behind a point, metres, that all beams around it must reach to count as a pass: poses are noisy."""
_MIN_PASSES = 2
"""A point is removed when at least so many keyframes pass through it, and more than hit it."""
_JOBS = min(os.cpu_count() or 1, 8)


@numba.njit(cache=True, nogil=True)
def _bin(x: float, y: float, z: float) -> tuple[int, int]:
    """Row and column of a direction in the range image."""
    column = int((np.arctan2(y, x) + _PI) * _PER_AZIMUTH) % _AZIMUTH_BINS
    row = int((np.arctan2(z, np.sqrt(x * x + y * y)) + _PI / 2) * _PER_ELEVATION)
    return min(row, _ELEVATION_BINS - 1), column


@numba.njit(cache=True, nogil=True)
def _nearest(points: np.ndarray, T: np.ndarray, nearest: np.ndarray) -> None:
    """Least range in each bin, infinite where empty."""
    nearest[:] = np.inf
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        x = T[0, 0] * px + T[0, 1] * py + T[0, 2] * pz + T[0, 3]
        y = T[1, 0] * px + T[1, 1] * py + T[1, 2] * pz + T[1, 3]
        z = T[2, 0] * px + T[2, 1] * py + T[2, 2] * pz + T[2, 3]
        row, column = _bin(x, y, z)
        nearest[row, column] = min(nearest[row, column], np.sqrt(x * x + y * y + z * z))


@numba.njit(cache=True, nogil=True)
def _around(nearest: np.ndarray, around: np.ndarray) -> None:
    """Least range over the 3x3 bins around each bin."""
    for row in range(_ELEVATION_BINS):
        for column in range(_AZIMUTH_BINS):
            least = np.float32(np.inf)
            for r in range(max(row - 1, 0), min(row + 2, _ELEVATION_BINS)):
                for c in (column - 1, column, column + 1):
                    least = min(least, nearest[r, c % _AZIMUTH_BINS])
            around[row, column] = least


@numba.njit(cache=True, nogil=True, fastmath={"nsz", "arcp", "contract", "afn"})
def _count(
    points: np.ndarray, spans: np.ndarray, T: np.ndarray, nearest: np.ndarray, around: np.ndarray, radius: np.float32,
    margin: np.float32, hits: np.ndarray, passes: np.ndarray,
) -> None:  # fmt: skip
    for s in range(spans.shape[0]):
        for i in range(spans[s, 0], spans[s, 1]):
            px, py, pz = points[i, 0], points[i, 1], points[i, 2]
            x = T[0, 0] * px + T[0, 1] * py + T[0, 2] * pz + T[0, 3]
            y = T[1, 0] * px + T[1, 1] * py + T[1, 2] * pz + T[1, 3]
            z = T[2, 0] * px + T[2, 1] * py + T[2, 2] * pz + T[2, 3]
            distance = np.sqrt(x * x + y * y + z * z)
            if distance > radius or distance < _MIN_RANGE_M:
                continue
            row, column = _bin(x, y, z)
            beam = nearest[row, column]
            if beam == np.inf:
                # between the rings of a sparse LiDAR: by the neighbouring bins
                beam = around[row, column]
                if beam == np.inf:
                    continue
            if abs(beam - distance) <= margin:
                hits[i] += 1
            elif around[row, column] > distance + margin:
                passes[i] += 1


@dataclass(frozen=True)
class RangeImage:
    """Ranges of one scan by direction."""

    T_map_lidar: np.ndarray
    """Pose of the LiDAR (4, 4)."""
    first_row: int
    """Number of the first row in `nearest`; all rows outside it are empty."""
    nearest: np.ndarray
    """Least range in each bin (rows, 720) float32, metres, infinite where empty."""

    @classmethod
    def of(cls, scan: PlacedScan) -> RangeImage:
        """The range image of a scan."""
        nearest = np.empty((_ELEVATION_BINS, _AZIMUTH_BINS), np.float32)
        _nearest(scan.points, inverse(scan.T_map_lidar), nearest)
        rows = np.flatnonzero(np.isfinite(nearest).any(axis=1))
        first, last = (rows[0], rows[-1]) if len(rows) else (0, -1)
        return cls(scan.T_map_lidar, int(first), nearest[first : last + 1].copy())

    def full(self) -> np.ndarray:
        """The image with all rows (225, 720)."""
        out = np.full((_ELEVATION_BINS, _AZIMUTH_BINS), np.inf, np.float32)
        out[self.first_row : self.first_row + len(self.nearest)] = self.nearest
        return out


class KeyframeSelector:
    """Selects the scans of a drive that are compared with the map, some metres or some seconds apart."""

    def __init__(self) -> None:
        self._last: PlacedScan | None = None

    def is_keyframe(self, scan: PlacedScan) -> bool:
        """Whether this scan, the next in time, is a keyframe."""
        if self._last is not None:
            step = np.linalg.norm(scan.T_map_lidar[:3, 3] - self._last.T_map_lidar[:3, 3])
            waited = abs(scan.stamp_ns - self._last.stamp_ns) / 1e9
            if step < KEYFRAME_SPACING_M and waited < KEYFRAME_SPACING_S:
                return False
        self._last = scan
        return True


def observing_chunks(positions: Sequence[np.ndarray]) -> list[int]:
    """Numbers, ascending, of the chunks that are compared with the map, by the positions (K, 2) of their keyframes.

    All are, except during a long standstill, where all keyframes see the same: of its chunks, which lie within
    KEYFRAME_SPACING_M of its first keyframe, as many as hold MAX_STANDSTILL_KEYFRAMES, spread evenly over its time.
    """
    standstills: list[list[int]] = []
    for number, here in enumerate(positions):
        if not len(here):
            continue
        first = positions[standstills[-1][0]][0] if standstills else np.full(2, np.inf)
        if standstills and np.linalg.norm(here - first, axis=1).max() < KEYFRAME_SPACING_M:
            standstills[-1].append(number)
        else:
            standstills.append([number])
    observing: list[int] = []
    for chunks in standstills:
        keyframes = sum(len(positions[number]) for number in chunks)
        count = max(MAX_STANDSTILL_KEYFRAMES * len(chunks) // keyframes, 2)
        picked = np.linspace(0, len(chunks) - 1, min(count, len(chunks))).round().astype(int)
        observing += [chunks[k] for k in picked]
    return observing


def find_moving(points: np.ndarray, origin: np.ndarray, images: Iterable[RangeImage]) -> np.ndarray:
    """Which map points belong to moving objects: (N,) bool.

    `points` (N, 3) float32 are relative to `origin` (3,) in the map frame. A range image hits a point when its beam in
    that direction ends there, and passes through it when all beams in the 3x3 bins around end at least `_MARGIN_M`
    behind it, so that edges, thin poles and ground at a low angle do not count as free space. A point moved if enough
    images pass through it, and more than hit it.
    """
    groups = TileGroups(points)
    hits, passes = np.zeros(len(points), np.uint16), np.zeros(len(points), np.uint16)
    around = np.empty((_ELEVATION_BINS, _AZIMUTH_BINS), np.float32)
    radius, margin = np.float32(RADIUS_M), np.float32(_MARGIN_M)
    with ThreadPoolExecutor(_JOBS) as pool:
        for image in images:
            nearest = image.full()
            _around(nearest, around)
            T = inverse(image.T_map_lidar)
            T[:3, 3] += T[:3, :3] @ origin
            T = T.astype(np.float32)
            spans = groups.near(image.T_map_lidar[:2, 3] - origin[:2], RADIUS_M)
            # the parts hold different points, so the threads never write to the same place
            jobs = [
                pool.submit(_count, groups.points, part, T, nearest, around, radius, margin, hits, passes)
                for part in np.array_split(spans, _JOBS)
            ]
            for job in jobs:
                job.result()
    moving = np.zeros(len(points), bool)
    moving[groups.order] = (passes >= _MIN_PASSES) & (passes > hits)
    return moving
