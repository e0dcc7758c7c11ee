# SPDX-License-Identifier: Apache-2.0
"""Scans accumulated in voxels: one point a voxel, the mean of the points in it. Compiled by numba."""

from __future__ import annotations

import numba
import numpy as np

from ..errors import InputError
from ..lhmap import MapPoints

VOXEL = np.dtype([("grid", "<i4", 3), ("sum", "<f4", 3), ("intensity", "<f4"), ("hits", "<f4")])
"""Grid index; sums over the points of a voxel of their offsets inside it [voxels] and intensities; their number."""

_BITS = 21
_HALF = 1 << (_BITS - 1)
_EMPTY = -1
# One row a voxel, so that a point costs one cache line: sums of x, y, z inside the voxel, and these. Counts
# are exact in float32 up to 16 million.
_INTENSITY, _HITS, _COLUMNS = 3, 4, 5


@numba.njit(cache=True, nogil=True)
def _slot(key: np.int64, mask: int) -> np.int64:
    """Where the search for a key starts (a multiplicative hash; the table's size is a power of two)."""
    h = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((h >> np.uint64(20)) & np.uint64(mask))


@numba.njit(cache=True, nogil=True)
def _rehash(table: np.ndarray, grown: np.ndarray) -> None:
    """Copies the entries of a hash table into a larger one."""
    mask = grown.shape[0] - 1
    grown[:, 1] = _EMPTY
    for i in range(table.shape[0]):
        if table[i, 1] == _EMPTY:
            continue
        s = _slot(table[i, 0], mask)
        while grown[s, 1] != _EMPTY:
            s = (s + 1) & mask
        grown[s] = table[i]


@numba.njit(cache=True, nogil=True)
def _add(
    points: np.ndarray, intensity: np.ndarray, base: np.ndarray, voxel: float, table: np.ndarray, keys: np.ndarray,
    sums: np.ndarray, count: int, member: np.ndarray,
) -> int:  # fmt: skip
    """Adds points to the table; returns the number of voxels, or -1 for a point outside of the grid."""
    mask = table.shape[0] - 1
    inverse = 1.0 / voxel
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] * inverse, points[i, 1] * inverse, points[i, 2] * inverse
        if not (np.isfinite(x) and np.isfinite(y) and np.isfinite(z)):
            member[i] = _EMPTY
            continue
        fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
        ix, iy, iz = np.int64(fx) - base[0], np.int64(fy) - base[1], np.int64(fz) - base[2]
        if abs(ix) >= _HALF or abs(iy) >= _HALF or abs(iz) >= _HALF:
            return -1
        key = ((ix + _HALF) << (2 * _BITS)) | ((iy + _HALF) << _BITS) | (iz + _HALF)
        s = _slot(key, mask)
        while table[s, 1] != _EMPTY and table[s, 0] != key:
            s = (s + 1) & mask
        j = table[s, 1]
        if j == _EMPTY:
            j = count
            table[s, 0] = key
            table[s, 1] = j
            keys[j] = key
            sums[j, :] = 0
            count += 1
        # offsets inside the voxel keep float32 sums exact to a fraction of a millimetre
        sums[j, 0] += x - fx
        sums[j, 1] += y - fy
        sums[j, 2] += z - fz
        sums[j, _INTENSITY] += intensity[i]
        sums[j, _HITS] += 1
        member[i] = j
    return count


class VoxelCloud:
    """A growing set of voxels of equal size on a grid anchored at the origin of the map frame.

    Each voxel has the mean position and intensity of its points, and their number. Voxels are in the order of their
    first points, so the same scans in the same order give the same cloud.
    """

    def __init__(self, voxel: float = 0.1):
        """`voxel` is the edge length in metres; raises InputError unless positive."""
        if not voxel > 0:
            raise InputError(f"voxel size is {voxel}, expected a positive number of metres")
        self.voxel = float(voxel)
        self._base: np.ndarray | None = None
        self._count = 0
        # key and voxel number; the number is _EMPTY in a free slot
        self._table = np.full((1 << 16, 2), _EMPTY, np.int64)
        self._keys, self._sums = np.empty(1 << 15, np.int64), np.empty((1 << 15, _COLUMNS), np.float32)

    def __len__(self) -> int:
        return self._count

    def _grow(self, size: int) -> None:
        keys, sums = np.empty(size, np.int64), np.empty((size, _COLUMNS), np.float32)
        keys[: self._count], sums[: self._count] = self._keys[: self._count], self._sums[: self._count]
        self._keys, self._sums = keys, sums

    def _reserve(self, extra: int) -> None:
        need = self._count + extra
        if need > len(self._keys):
            self._grow(max(need, 2 * len(self._keys)))
        if 2 * need > len(self._table):
            size = len(self._table)
            while 2 * need > size:
                size *= 2
            grown = np.empty((size, 2), np.int64)
            _rehash(self._table, grown)
            self._table = grown

    def add(self, points: np.ndarray, intensity: np.ndarray | float = 0.0) -> np.ndarray:
        """Merges one scan and returns each point's voxel number (N,) int32, -1 where a point is not finite.

        `points` (N, 3) are metres in the map frame, `intensity` (N,) in [0, 1] or one value for all.
        Raises InputError for other shapes, or for points more than a million voxels from the first one.
        """
        points = np.ascontiguousarray(points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise InputError(f"scan has shape {points.shape}, expected (N, 3)")
        intensity = np.ascontiguousarray(np.broadcast_to(intensity, len(points)), dtype=np.float32)
        member = np.empty(len(points), np.int32)
        if self._base is None:
            finite = np.flatnonzero(np.isfinite(points).all(axis=1))
            if not len(finite):
                member.fill(_EMPTY)
                return member
            self._base = np.floor(points[finite[0]] / self.voxel).astype(np.int64)
        self._reserve(len(points))
        count = _add(
            points, intensity, self._base, self.voxel, self._table, self._keys, self._sums, self._count, member,
        )  # fmt: skip
        if count < 0:
            raise InputError(f"a point lies more than {_HALF * self.voxel / 1000:.0f} km from the first one")
        self._count = count
        return member

    @property
    def hits(self) -> np.ndarray:
        """Number of points in each voxel, (N,) int32."""
        return self._sums[: self._count, _HITS].astype(np.int32)

    def positions(self) -> np.ndarray:
        """The mean positions (N, 3) float64, metres in the map frame."""
        return self._corners() + self.voxel * self._sums[: self._count, :3] / self._sums[: self._count, _HITS, None]

    def voxels(self) -> np.ndarray:
        """All voxels (N,) of VOXEL, on the grid anchored at zero of the map frame."""
        out = np.zeros(self._count, VOXEL)
        out["grid"] = self._grid()
        out["sum"] = self._sums[: self._count, :3]
        out["intensity"] = self._sums[: self._count, _INTENSITY]
        out["hits"] = self._sums[: self._count, _HITS]
        return out

    def _corners(self) -> np.ndarray:
        return self._grid() * self.voxel

    def _grid(self) -> np.ndarray:
        keys = self._keys[: self._count]
        if self._base is None:
            return np.zeros((0, 3), np.int64)
        grid = np.stack([keys >> (2 * _BITS), keys >> _BITS, keys], axis=1) & ((1 << _BITS) - 1)
        return grid - _HALF + self._base

    def to_points(self, keep: np.ndarray | None = None, origin: np.ndarray | None = None) -> MapPoints:
        """The voxels' mean points, heat 1 everywhere; `keep` (N,) bool leaves voxels out.

        `origin` (3,) defaults to the corner of the first voxel rounded to whole metres.
        """
        keep = np.ones(self._count, bool) if keep is None else keep
        if origin is None:
            origin = np.zeros(3) if self._base is None else np.round(self._base * self.voxel)
        local = (self.positions()[keep] - origin).astype(np.float32)
        intensity = (self._sums[: self._count, _INTENSITY] / self._sums[: self._count, _HITS])[keep]
        return MapPoints(local, intensity, np.ones(len(local), np.float32), origin)


def merge_voxels(parts: list[np.ndarray]) -> np.ndarray:
    """Voxels (N,) of VOXEL of several clouds as one, each grid index once, in the order of these."""
    voxels = np.concatenate(parts) if parts else np.zeros(0, VOXEL)
    if not len(voxels):
        return voxels
    grid = voxels["grid"]
    # stable, so that sums are always added in the order of the parts
    order = np.lexsort((grid[:, 0], grid[:, 1], grid[:, 2]))
    voxels = voxels[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(voxels["grid"], axis=0) != 0).any(axis=1)])
    merged = voxels[starts].copy()
    for name in ("sum", "intensity", "hits"):
        merged[name] = np.add.reduceat(voxels[name], starts, axis=0)
    return merged
