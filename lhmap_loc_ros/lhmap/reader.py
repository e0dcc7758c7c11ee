# SPDX-License-Identifier: Apache-2.0
"""Reading an LHMap: opening reads its index, cropping the tiles it needs, which are cached for the next crop."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError, MapFormatError
from .cache import TileCache
from .points import MapPoints
from .source import VALUE_STEP, Tile, TileSource, tile_key

T = TypeVar("T")

_GOLDEN = np.uint32(2654435769)
"""2^32 over the golden ratio: its multiples modulo 2^32 are evenly spread, however many there are."""

_MAX_PENDING = 100_000
"""Points that are collected before `hottest` keeps the best of them."""

FULL_DENSITY_M = 25.0
"""Distance from its centre up to which a crop has all points, metres; beyond, density falls with distance squared."""


@numba.njit(cache=True, nogil=True)
def _near(
    quanta: np.ndarray, step: np.float32, shift: np.ndarray, radius2: np.float32, dense2: np.float32,
    chosen: np.ndarray,
) -> int:  # fmt: skip
    """Fills `chosen` with the indices of a tile's points in the radius, thinned from `dense2` on; returns their number.

    `shift` is the vector from the crop's centre to the tile. Consecutive points are neighbours where the map is dense;
    a low-discrepancy sequence thins them evenly.
    """
    keep = np.empty(quanta.shape[1], np.uint8)
    for i in range(quanta.shape[1]):
        x, y = np.float32(quanta[0, i]) * step + shift[0], np.float32(quanta[1, i]) * step + shift[1]
        distance2 = x * x + y * y
        priority = np.float32(np.uint32(np.uint32(i) * _GOLDEN))
        keep[i] = (distance2 <= radius2) & (priority * distance2 < dense2)
    count = 0
    for i in range(quanta.shape[1]):
        # written in any case and overwritten if it is dropped: faster than an unpredictable branch
        chosen[count] = i
        count += keep[i]
    return count


@numba.njit(cache=True, nogil=True)
def _gather(
    quanta: np.ndarray, heat: np.ndarray, intensity: np.ndarray, step: np.float32, shift: np.ndarray,
    chosen: np.ndarray, start: int, points: np.ndarray, heats: np.ndarray, intensities: np.ndarray,
) -> None:  # fmt: skip
    """Copies the chosen points of a tile, from index `start` on."""
    for k in range(chosen.shape[0]):
        i, at = chosen[k], start + k
        for axis in range(3):
            points[at, axis] = np.float32(quanta[axis, i]) * step + shift[axis]
        heats[at] = np.float32(heat[i]) * VALUE_STEP
        intensities[at] = np.float32(intensity[i]) * VALUE_STEP


class LHMap:
    """A map file opened for reading; safe to use from several threads. `LHMap.open` makes one."""

    def __init__(self, source: TileSource, cache_bytes: int):
        self.path = source.path
        self.metadata = source.metadata
        self.index = source.index
        """One record per tile, in order of (iy, ix); fields as in `layout.INDEX`."""
        self.identity = source.identity
        """Hash of header and index, which has the checksums of the tiles: unique to the map."""
        self._source = source
        self._keys = tile_key(self.index["ix"].astype(np.int64), self.index["iy"].astype(np.int64))
        self._cache = TileCache(source, cache_bytes)

    @classmethod
    def open(cls, path: str | os.PathLike[str], cache_bytes: int = 16 << 20) -> LHMap:
        """Opens a map. `cache_bytes` bounds the decoded tiles kept in memory besides those prefetched last.

        Raises MapFormatError, naming what was found and expected, for a file that is missing, foreign,
        truncated, damaged before the tiles, or of an unknown version. Tiles are checked when they are read.
        """
        return cls(TileSource(path), cache_bytes)

    def close(self) -> None:
        """Closes the file; what was cropped stays valid."""
        self._cache.close()
        self._source.close()

    def __enter__(self) -> LHMap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def crop(
        self,
        center: ArrayLike,
        radius: float,
        max_points: int | None = None,
        damaged: list[MapFormatError] | None = None,
        full_density_m: float = FULL_DENSITY_M,
    ) -> MapPoints:
        """The points within `radius` metres of `center` (3,) in the horizontal plane, map frame.

        Beyond `full_density_m` they are thinned, so that far surfaces are as dense in a camera at the centre as near
        ones; infinity gives all points. Their origin is the corner of the tile at the centre. `max_points` limits them
        to those of the greatest heat. Equal crops have their points in the same order. Raises MapFormatError for a
        damaged tile; with a list `damaged`, leaves it out and adds the error to the list.
        """
        center = np.asarray(center, dtype=np.float64)
        size, base = self.metadata.tile_m, np.array(self.metadata.origin)
        origin = base + np.r_[np.floor((center[:2] - base[:2]) / size) * size, 0.0]
        tiles = []
        for number in self._tiles_near(center[:2] - base[:2], radius).tolist():
            try:
                tiles.append(self._cache.get(number))
            except MapFormatError as error:
                if damaged is None:
                    raise
                damaged.append(error)
        out = self._cut(tiles, center, radius, full_density_m, origin)
        return out if max_points is None else best_points(out, max_points)

    def prefetch(self, center: ArrayLike, radius: float) -> None:
        """Reads the tiles within `radius` metres of `center` (3,) in the background, for the next crops."""
        center = np.asarray(center, dtype=np.float64)[:2] - self.metadata.origin[:2]
        self._cache.prefetch(self._tiles_near(center, radius).tolist())

    @property
    def tiles_waited_for(self) -> int:
        """Number of tiles that crops had to read because they were not in memory."""
        return self._cache.waited

    def all_points(self) -> MapPoints:
        """Every point of the map, around the map's origin; large maps need the memory."""
        return MapPoints.joined(list(self.pieces()), self.metadata.origin)

    def to_open3d(self) -> Any:
        """Every point as an open3d.t.geometry.PointCloud: positions [m] in the map frame, heat, intensity.

        Raises ModuleNotFoundError where Open3D is not installed: it comes with the extra `open3d`.
        """
        from .open3d_cloud import to_open3d

        return to_open3d(self.all_points())

    def pieces(self, low: ArrayLike = (-np.inf, -np.inf), high: ArrayLike = (np.inf, np.inf)) -> Iterator[MapPoints]:
        """The points of each tile that meets the rectangle from `low` to `high` (2,), map frame, around its origin."""
        corner = self._corners(np.arange(len(self.index))) + self.metadata.origin[:2]
        # as in `_distance2`, rounded outwards
        step = self.metadata.resolution_m
        meets = (corner <= np.add(high, step)) & (corner + self.metadata.tile_m >= np.subtract(low, step))
        for number in np.flatnonzero(meets.all(axis=1)).tolist():
            yield self._placed(self.tile(number))

    def hottest(self, count: int, damaged: list[MapFormatError] | None = None) -> MapPoints:
        """The `count` points of the greatest heat, around the map's origin; needs memory for a few times as many.

        `damaged` as in `crop`.
        """
        parts: list[MapPoints] = []
        for number in range(len(self.index)):
            try:
                parts.append(self._placed(self.tile(number)))
            except MapFormatError as error:
                if damaged is None:
                    raise
                damaged.append(error)
            if sum(map(len, parts[1:])) > max(count, _MAX_PENDING):
                parts = [best_points(MapPoints.joined(parts, self.metadata.origin), count)]
        return best_points(MapPoints.joined(parts, self.metadata.origin), count)

    def _placed(self, tile: Tile) -> MapPoints:
        """The points of a tile around the map's origin."""
        origin = np.array(self.metadata.origin)
        points = tile.points + (tile.corner - origin).astype(np.float32)
        return MapPoints(points, tile.intensity, tile.heat, origin)

    def tile(self, number: int) -> Tile:
        """Tile `number` of the index, read from the file, not cached; raises MapFormatError if it is damaged."""
        return self._source.read(number)

    def tile_bytes(self, number: int) -> bytes:
        """Tile `number` of the index as it is stored; raises MapFormatError if it is damaged."""
        return self._source.read_bytes(number)

    def section(self, name: str) -> tuple[int, bytes] | None:
        """Version and bytes of the section `name`; None if there is none.

        Raises MapFormatError if it is damaged.
        """
        return self._source.read_section(name)

    def has_section(self, name: str) -> bool:
        """Whether there is a section of this name, whatever is in it."""
        return any(section.name == name for section in self.metadata.sections)

    def parsed_section(self, name: str, version: int, parse: Callable[[bytes], T]) -> T | None:
        """What `parse` makes of the bytes of a section; None if there is none.

        Raises MapFormatError if it is damaged, of another version, or not understood: `parse` then raises ValueError,
        KeyError, TypeError, OverflowError, struct.error or InputError.
        """
        found = self.section(name)
        if found is None:
            return None
        if found[0] != version:
            raise MapFormatError(f"{self.path}: section {name!r} of version {found[0]} found, expected {version}")
        try:
            return parse(found[1])
        except (ValueError, KeyError, TypeError, OverflowError, struct.error, InputError) as error:
            raise MapFormatError(f"{self.path}: section {name!r} is not understood: {error}") from None

    def verify(self) -> None:
        """Reads every tile and section; raises MapFormatError at the first damaged one."""
        for number in range(len(self.index)):
            self.tile(number)
        for section in self.metadata.sections:
            self.section(section.name)

    def info(self) -> dict[str, Any]:
        """The figures of `lhmap info`: header fields and sizes, ready for printing or JSON."""
        size, km = self.path.stat().st_size, self.metadata.path_length_m / 1000
        counts = self.index["count"]
        return {
            **self.metadata.model_dump(mode="json", exclude={"path", "sections"}),
            "file": str(self.path),
            "bytes": size,
            "bytes_per_km": round(size / km) if km else None,
            "points_per_km": round(self.metadata.points / km) if km else None,
            "tiles": len(self.index),
            "points_per_tile": {
                "median": float(np.median(counts)) if len(counts) else 0.0,
                "max": int(counts.max(initial=0)),
            },
            "section_bytes": {section.name: section.bytes for section in self.metadata.sections},
        }

    def _cut(
        self, tiles: list[Tile], center: np.ndarray, radius: float, full_density_m: float, origin: np.ndarray
    ) -> MapPoints:
        """The points of a crop from tiles."""
        step, radius2 = np.float32(self.metadata.resolution_m), np.float32(radius**2)
        dense2 = np.float32(min(full_density_m, radius) ** 2 * 2.0**32)
        chosen, ends = np.empty(sum(map(len, tiles)), np.int32), [0]
        for tile in tiles:
            shift = (tile.corner - center).astype(np.float32)
            ends.append(ends[-1] + _near(tile.quanta, step, shift, radius2, dense2, chosen[ends[-1] :]))
        n = ends[-1]
        points, heat, intensity = np.empty((n, 3), np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
        for tile, start, end in zip(tiles, ends, ends[1:], strict=False):
            shift = (tile.corner - origin).astype(np.float32)
            stored = tile.quanta, tile.heat_steps, tile.intensity_steps
            _gather(*stored, step, shift, chosen[start:end], start, points, heat, intensity)
        return MapPoints(points, intensity, heat, origin)

    def _tiles_near(self, center: np.ndarray, radius: float) -> np.ndarray:
        """Indices of the tiles whose square is within `radius` of `center` (2,), metres from the origin."""
        size = self.metadata.tile_m
        first, last = np.floor((center - radius) / size), np.floor((center + radius) / size)
        limit = 2.0**31 - 1
        first, last = np.clip(first, -limit, limit).astype(np.int64), np.clip(last, -limit, limit).astype(np.int64)
        if (last - first + 1).prod(dtype=float) > len(self._keys):
            return self._tiles_by_scan(center, radius)
        ix, iy = np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1))
        wanted = tile_key(ix.ravel(), iy.ravel())
        found = np.searchsorted(self._keys, wanted)
        found = found[(found < len(self._keys)) & (self._keys[np.minimum(found, len(self._keys) - 1)] == wanted)]
        return found[self._distance2(found, center) <= radius**2]

    def _tiles_by_scan(self, center: np.ndarray, radius: float) -> np.ndarray:
        numbers = np.arange(len(self._keys))
        return numbers[self._distance2(numbers, center) <= radius**2]

    def _corners(self, numbers: np.ndarray) -> np.ndarray:
        """The corners (N, 2) of tiles, metres from the origin."""
        return np.column_stack([self.index["ix"][numbers], self.index["iy"][numbers]]) * self.metadata.tile_m

    def _distance2(self, numbers: np.ndarray, center: np.ndarray) -> np.ndarray:
        """Squared distance from `center` to the squares of tiles."""
        corner = self._corners(numbers)
        gap = np.maximum(np.maximum(corner - center, center - corner - self.metadata.tile_m), 0)
        # rounding may move points out of the tile by half a step
        return (np.maximum(gap - self.metadata.resolution_m, 0) ** 2).sum(axis=1)


def best_points(points: MapPoints, count: int) -> MapPoints:
    """The `count` points of the greatest heat, in their order; ties go to the earlier point."""
    if len(points) <= count:
        return points
    order = np.argsort(-points.heat, kind="stable")[: max(count, 0)]
    return points.select(np.sort(order))
