# SPDX-License-Identifier: Apache-2.0
"""Removal of what moved: a point that later or earlier scans look through was not there to stay."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np

from ..geometry import inverse
from .config import MovingConfig
from .grid import TileGroups
from .scans import PlacedScan

_AZIMUTH_BINS = 720
_ELEVATION_BINS = 225
_PI = np.float32(np.pi)
_PER_AZIMUTH = np.float32(_AZIMUTH_BINS / (2 * np.pi))
_PER_ELEVATION = np.float32(_ELEVATION_BINS / np.pi)
STAND_IMAGES = 300
"""Five minutes, one image a second."""
_JOBS = min(os.cpu_count() or 1, 8)


@numba.njit(cache=True, nogil=True)
def _bin(x, y, z):
    """Row and column of a direction in the range image; the row may lie outside for none but (0, 0, 0)."""
    column = int((np.arctan2(y, x) + _PI) * _PER_AZIMUTH) % _AZIMUTH_BINS
    row = int((np.arctan2(z, np.sqrt(x * x + y * y)) + _PI / 2) * _PER_ELEVATION)
    return min(row, _ELEVATION_BINS - 1), column


@numba.njit(cache=True, nogil=True)
def _nearest(points, T, nearest):
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
def _around(nearest, around):
    """The least range over the 3x3 bins around each bin."""
    for row in range(_ELEVATION_BINS):
        for column in range(_AZIMUTH_BINS):
            least = np.float32(np.inf)
            for r in range(max(row - 1, 0), min(row + 2, _ELEVATION_BINS)):
                for c in (column - 1, column, column + 1):
                    least = min(least, nearest[r, c % _AZIMUTH_BINS])
            around[row, column] = least


@numba.njit(cache=True, nogil=True, fastmath={"nsz", "arcp", "contract", "afn"})
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
                # between the rings of a sparse LiDAR the neighbours tell
                beam = around[row, column]
                if beam == np.inf:
                    continue
            if abs(beam - distance) <= margin:
                hits[i] += 1
            elif around[row, column] > distance + margin:
                passes[i] += 1


@dataclass(frozen=True)
class RangeImage:
    """How far the beams of one scan reached."""

    T_map_lidar: np.ndarray
    """Pose of the LiDAR (4, 4)."""
    first_row: int
    """Number of the first row that is kept; outside the rows no beam ended."""
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
    """Picks scans some way or some time apart: neighbours see nearly the same."""

    def __init__(self, config: MovingConfig):
        self._config = config
        self._last: PlacedScan | None = None

    def is_keyframe(self, scan: PlacedScan) -> bool:
        """Whether this scan, the next in time, is one to compare with the map."""
        if self._last is not None:
            step = np.linalg.norm(scan.T_map_lidar[:3, 3] - self._last.T_map_lidar[:3, 3])
            waited = abs(scan.stamp_ns - self._last.stamp_ns) / 1e9
            if step < self._config.spacing_m and waited < self._config.spacing_s:
                return False
        self._last = scan
        return True


def observing_chunks(places: Sequence[np.ndarray], apart_m: float) -> list[int]:
    """Which pieces of recordings are compared with the map, by the places (K, 2) of their range images, ascending.

    A vehicle that stands sees the same again and again. The pieces of a stand, those that lie within `apart_m` of its
    first place, are as many as hold `STAND_IMAGES` images, spread over its time: hits and passes keep their proportion.
    """
    stands: list[list[int]] = []
    for number, taken in enumerate(places):
        if not len(taken):
            continue
        first = places[stands[-1][0]][0] if stands else np.full(2, np.inf)
        if stands and np.linalg.norm(taken - first, axis=1).max() < apart_m:
            stands[-1].append(number)
        else:
            stands.append([number])
    chosen: list[int] = []
    for stand in stands:
        images = sum(len(places[number]) for number in stand)
        most = max(STAND_IMAGES * len(stand) // images, 2)
        picked = np.linspace(0, len(stand) - 1, min(most, len(stand))).round().astype(int)
        chosen += [stand[k] for k in picked]
    return chosen


def find_moving(
    points: np.ndarray, origin: np.ndarray, images: Iterable[RangeImage], config: MovingConfig
) -> np.ndarray:
    """Which map points were only there for a while: (N,) bool.

    `points` (N, 3) float32 are around `origin` (3,) in the map frame. A range image hits a point when its
    beam in that direction ends there, and passes through it when the beams in the 3x3 bins around all end
    at least `margin_m` behind it: so edges, thin poles and grazed ground are not mistaken for free space.
    A point goes when enough scans pass, and more than hit it.
    """
    groups = TileGroups(points)
    hits, passes = np.zeros(len(points), np.uint16), np.zeros(len(points), np.uint16)
    around = np.empty((_ELEVATION_BINS, _AZIMUTH_BINS), np.float32)
    radius, margin = np.float32(config.radius_m), np.float32(config.margin_m)
    with ThreadPoolExecutor(_JOBS) as pool:
        for image in images:
            nearest = image.full()
            _around(nearest, around)
            T = inverse(image.T_map_lidar)
            T[:3, 3] += T[:3, :3] @ origin
            T = T.astype(np.float32)
            spans = groups.near(image.T_map_lidar[:2, 3] - origin[:2], config.radius_m)
            # the parts hold different points, so the threads never write to the same place
            jobs = [
                pool.submit(_judge, groups.points, part, T, nearest, around, radius, margin, hits, passes)
                for part in np.array_split(spans, _JOBS)
            ]
            for job in jobs:
                job.result()
    moving = np.zeros(len(points), bool)
    moving[groups.order] = (passes >= config.min_passes) & (passes > config.passes_per_hit * hits)
    return moving
