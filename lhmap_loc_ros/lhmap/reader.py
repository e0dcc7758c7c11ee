# SPDX-License-Identifier: Apache-2.0
"""Opening an LHMap costs its index; cropping reads the tiles it needs and keeps them for the next crop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike

from ..errors import MapFormatError
from .cache import TileCache
from .points import MapPoints
from .source import VALUE_STEP, Tile, TileSource, tile_key

_GOLDEN = np.uint32(2654435769)
"""The golden section of 32 bits: its multiples are spread evenly, however many there are."""

_PUT_ASIDE = 100_000
"""Points of tiles that wait until the best of them are sorted out."""

FULL_DENSITY_M = 25.0
"""So far from its centre a crop has all points; beyond, their density falls with the square of the distance."""


@numba.njit(cache=True, nogil=True)
def _near(
    quanta: np.ndarray, step: np.float32, shift: np.ndarray, radius2: np.float32, dense2: np.float32,
    chosen: np.ndarray,
) -> int:  # fmt: skip
    """Fills `chosen` with the numbers of a tile's points within the radius, thinned from `dense2` on; returns how many.

    `shift` leads from the crop's centre to the tile. Of consecutive points, which are neighbours where there are many,
    a sequence without clusters tells which stay.
    """
    keep = np.empty(quanta.shape[1], np.uint8)
    for i in range(quanta.shape[1]):
        x, y = np.float32(quanta[0, i]) * step + shift[0], np.float32(quanta[1, i]) * step + shift[1]
        distance2 = x * x + y * y
        luck = np.float32(np.uint32(np.uint32(i) * _GOLDEN))
        keep[i] = (distance2 <= radius2) & (luck * distance2 < dense2)
    count = 0
    for i in range(quanta.shape[1]):
        # written in any case, and over if it does not stay: a branch that none can foresee takes longer
        chosen[count] = i
        count += keep[i]
    return count


@numba.njit(cache=True, nogil=True)
def _gather(
    quanta: np.ndarray, heat: np.ndarray, intensity: np.ndarray, step: np.float32, shift: np.ndarray,
    chosen: np.ndarray, start: int, points: np.ndarray, heats: np.ndarray, intensities: np.ndarray,
) -> None:  # fmt: skip
    """Writes the chosen points of a tile behind `start`."""
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
        """Hash of header and index, and by their checksums of the tiles: another for every other map."""
        self._source = source
        self._keys = tile_key(self.index["ix"].astype(np.int64), self.index["iy"].astype(np.int64))
        self._cache = TileCache(source, cache_bytes)

    @classmethod
    def open(cls, path: str | os.PathLike[str], cache_bytes: int = 6 << 20) -> LHMap:
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
        """The points at most `radius` metres from `center` (3,) in the horizontal plane, map frame.

        Beyond `full_density_m` they are thinned, so that a camera at the centre sees far surfaces as dense as near
        ones; infinity gives all. Their origin is the corner of the tile below the centre. With `max_points`, only that
        many points of the greatest heat. The same crop always lists its points in the same order. Raises
        MapFormatError for a damaged tile; with a list `damaged`, leaves it out and adds the error to the list.
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
        """Reads the tiles within `radius` metres of `center` (3,) in the background, for crops to come."""
        center = np.asarray(center, dtype=np.float64)[:2] - self.metadata.origin[:2]
        self._cache.prefetch(self._tiles_near(center, radius).tolist())

    @property
    def tiles_waited_for(self) -> int:
        """How many tiles crops have had to wait for because they were not in memory."""
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

    def pieces(
        self, low: ArrayLike = (-np.inf, -np.inf), high: ArrayLike = (np.inf, np.inf)
    ) -> Iterator[MapPoints]:
        """The points of each tile that meets the rectangle from `low` to `high` (2,), map frame, around its origin."""
        corner = self._corners(np.arange(len(self.index))) + self.metadata.origin[:2]
        # as in `_distance2`, rounded outwards
        step = self.metadata.resolution_m
        meets = (corner <= np.add(high, step)) & (corner + self.metadata.tile_m >= np.subtract(low, step))
        for number in np.flatnonzero(meets.all(axis=1)).tolist():
            yield self._placed(self.tile(number))

    def hottest(self, count: int, damaged: list[MapFormatError] | None = None) -> MapPoints:
        """`best_points` of all, around the map's origin, in the memory of a few times as many.

        Damaged tiles are as in `crop`.
        """
        parts: list[MapPoints] = []
        for number in range(len(self.index)):
            try:
                parts.append(self._placed(self.tile(number)))
            except MapFormatError as error:
                if damaged is None:
                    raise
                damaged.append(error)
            if sum(map(len, parts[1:])) > max(count, _PUT_ASIDE):
                parts = [best_points(MapPoints.joined(parts, self.metadata.origin), count)]
        return best_points(MapPoints.joined(parts, self.metadata.origin), count)

    def _placed(self, tile: Tile) -> MapPoints:
        """The points of a tile around the map's origin."""
        origin = np.array(self.metadata.origin)
        points = tile.points + (tile.corner - origin).astype(np.float32)
        return MapPoints(points, tile.intensity, tile.heat, origin)

    def tile(self, number: int) -> Tile:
        """Tile `number` of the index, read anew and not kept; raises MapFormatError if it is damaged."""
        return self._source.read(number)

    def tile_bytes(self, number: int) -> bytes:
        """Tile `number` of the index as it is stored; raises MapFormatError if it is damaged."""
        return self._source.read_bytes(number)

    def section(self, name: str) -> tuple[int, bytes] | None:
        """Version and bytes of what is stored behind the tiles as `name`; None if there is nothing of that name.

        Raises MapFormatError if it is damaged.
        """
        return self._source.read_section(name)

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
        """The points of tiles that a crop keeps."""
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
        """Numbers of the tiles whose square comes within `radius` of `center` (2,), metres from the origin."""
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
        # points at the rim may be rounded outwards by half a step
        return (np.maximum(gap - self.metadata.resolution_m, 0) ** 2).sum(axis=1)


def best_points(points: MapPoints, count: int) -> MapPoints:
    """The `count` points of the greatest heat, in their order; ties go to the earlier point."""
    if len(points) <= count:
        return points
    order = np.argsort(-points.heat, kind="stable")[: max(count, 0)]
    return points.select(np.sort(order))
