# SPDX-License-Identifier: Apache-2.0
"""Writing an LHMap: sort into tiles, quantise, compress, checksum."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from . import layout
from .atomic import replacing
from .cells import BLOCK_STEPS
from .coding import encode_tile
from .metadata import MapMetadata, Section
from .points import MapPoints

if TYPE_CHECKING:
    from .reader import LHMap

HEAT_BINS = 10


def write_map(path: str | os.PathLike[str], points: MapPoints, metadata: MapMetadata) -> None:
    """Writes `points` as an LHMap named `path`; the same points and metadata give the same bytes.

    The counts and bounds of `metadata` are filled in. An existing file is replaced only when the new one is
    complete. Raises InputError for values that are not finite, or points that do not fit the format.
    """
    _check(points)
    local = points.points.astype(np.float64) + (points.origin - metadata.origin)
    records, tiles = _tiles(local, points, metadata)
    bounds = None
    if len(local):
        low, high = local.min(axis=0) + metadata.origin, local.max(axis=0) + metadata.origin
        bounds = (tuple(low.tolist()), tuple(high.tolist()))
    histogram = np.histogram(points.heat, HEAT_BINS, (0, 1))[0]
    counted = {"points": len(local), "bounds": bounds, "heat_histogram": tuple(histogram.tolist())}
    write_tiles(path, metadata.model_copy(update=counted), records, tiles)


@dataclass(frozen=True)
class SectionData:
    """A section to be written, see `metadata.Section`."""

    name: str
    version: int
    data: bytes


def write_tiles(
    path: str | os.PathLike[str],
    metadata: MapMetadata,
    records: np.ndarray,
    tiles: Iterable[bytes],
    sections: Sequence[SectionData] = (),
) -> None:
    """Writes encoded tiles, taken one by one, as an LHMap named `path`.

    `records` are in the order of the format, one a tile, complete except for offsets and checksums.
    `metadata` is written as given, except for its `sections`.
    """
    told = [Section(name=s.name, version=s.version, bytes=len(s.data), crc=zlib.crc32(s.data)) for s in sections]
    header = metadata.model_copy(update={"sections": tuple(told)}).model_dump_json().encode()
    preamble = layout.Preamble(len(header), len(records), 0)
    records = records.copy()
    ends = np.cumsum(records["size"], dtype=np.uint64)
    records["offset"] = preamble.tiles_offset + ends - records["size"]
    file_bytes = preamble.tiles_offset + int(ends[-1] if len(ends) else 0) + sum(len(s.data) for s in sections)
    preamble = replace(preamble, file_bytes=file_bytes)
    with replacing(path) as file:
        # the index stands before the tiles and is written last, with their checksums
        file.seek(preamble.tiles_offset)
        for record, data in zip(records, tiles, strict=True):
            record["crc"] = layout.tile_crc(data, *record[["ix", "iy", "z_base", "count", "encoding"]].tolist())
            file.write(data)
        for section in sections:
            file.write(section.data)
        head = header + records.tobytes()
        file.seek(0)
        file.write(replace(preamble, crc=layout.head_crc(preamble, head)).pack())
        file.write(head)


def write_with_section(lhmap: LHMap, out: str | os.PathLike[str], section: SectionData) -> None:
    """Writes an open map to `out`, which may be its own file, with a section that replaces any of its name.

    Tiles and other sections stay as they are, byte for byte. Raises MapFormatError for a map that is damaged.
    """
    others = [other for other in lhmap.metadata.sections if other.name != section.name]
    kept = [SectionData(other.name, *content) for other in others if (content := lhmap.section(other.name))]
    tiles = (lhmap.tile_bytes(number) for number in range(len(lhmap.index)))
    write_tiles(out, lhmap.metadata, lhmap.index, tiles, [*kept, section])


def _check(points: MapPoints) -> None:
    for name in ("points", "intensity", "heat", "origin"):
        values = getattr(points, name)
        if not np.isfinite(values).all():
            raise InputError(f"map {name} holds values that are not finite")
        if name in ("intensity", "heat") and len(values) and (values.min() < 0 or values.max() > 1):
            raise InputError(f"map {name} spans {values.min():g} to {values.max():g}, expected 0 to 1")


def _tiles(local: np.ndarray, points: MapPoints, metadata: MapMetadata) -> tuple[np.ndarray, list[bytes]]:
    """The index records but for offsets and checksums, and the tiles' bytes, in order of (iy, ix)."""
    grid = np.floor(local[:, :2] / metadata.tile_m).astype(np.int64)
    if len(grid) and np.abs(grid).max() >= 2**31:
        raise InputError(f"points lie up to {np.abs(local).max():g} m from the origin: too far for tiles")
    order = np.lexsort((grid[:, 0], grid[:, 1]))
    grid = grid[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(grid, axis=0) != 0).any(axis=1)]) if len(grid) else np.zeros(0, int)
    records = np.zeros(len(starts), layout.INDEX)
    tiles = []
    for number, members in enumerate(np.split(order, starts[1:]) if len(starts) else ()):
        tile = tuple(grid[starts[number]].tolist())
        inside = local[members] - (tile[0] * metadata.tile_m, tile[1] * metadata.tile_m, 0.0)
        data, encoding, z_base = pack_tile(
            inside, points.heat[members], points.intensity[members], tile, metadata.resolution_m
        )
        records[number] = (*tile, 0, len(data), len(members), z_base, 0, encoding, 0)
        tiles.append(data)
    return records, tiles


def pack_tile(
    points: np.ndarray, heat: np.ndarray, intensity: np.ndarray, tile: tuple[int, int], step: float
) -> tuple[bytes, int, int]:
    """The bytes of a tile, their encoding, and the height of the zero of its heights in steps.

    `points` (N, 3) are metres from the tile's corner, heights above the origin; `heat` and `intensity` (N,) in [0, 1].
    Raises InputError for a tile too high.
    """
    heat, intensity = (np.round(values * 255).astype(np.uint8) for values in (heat, intensity))
    steps = np.round(points.astype(np.float64) / step)
    # blocks of cells begin at the origin's height in every tile
    z_base = int(steps[:, 2].min()) // BLOCK_STEPS * BLOCK_STEPS if len(steps) else 0
    if len(steps) and (steps[:, 2].max() - z_base > layout.MAX_STEPS or abs(z_base) >= 2**31):
        raise InputError(
            f"points of tile {tile} lie between {points[:, 2].min():g} and {points[:, 2].max():g} m; "
            f"a tile may be {layout.MAX_STEPS * step:g} m high at a resolution of {step} m"
        )
    quanta = (steps - (0, 0, z_base)).astype(np.uint16)
    data, encoding = encode_tile(quanta, heat, intensity)
    return data, encoding, z_base
