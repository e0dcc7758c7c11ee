#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the size of a map with other compressed formats, on the same points at the same precision.

    tools/map_size.py MAP [--json]

Every format gets the map's points on the grid of its stored coordinates, heat and intensity as their levels, and the
order of points that suits it (Morton); LAZ and Draco are decoded again and compared. LAZ needs laspy and lazrs
(pip install 'lhmap_loc_ros[clouds]'), Draco DracoPy, the plain rows zstandard; what is not installed has no size.
"""

import argparse
import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lhmap_loc_ros.console import print_table
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.lhmap.coding import encode_tile, morton_codes

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Grid places (N, 3) int64 from zero, levels of heat and of intensity (N,) uint8."""


def columns_of(lhmap: LHMap) -> Columns:
    """All points of a map, in Morton order within each tile."""
    step, origin, parts = lhmap.metadata.resolution_m, np.array(lhmap.metadata.origin), []
    for number in range(len(lhmap.index)):
        tile = lhmap.tile(number)
        order = np.argsort(morton_codes(np.ascontiguousarray(tile.quanta.T)), kind="stable")
        grid = np.round((tile.corner - origin) / step).astype(np.int64) + tile.quanta.T
        parts.append((grid[order], tile.heat_steps[order], tile.intensity_steps[order]))
    grid, heat, intensity = (np.concatenate(column) for column in zip(*parts, strict=True))
    return grid - grid.min(axis=0), _levels(heat), _levels(intensity)


def _levels(values: np.ndarray) -> np.ndarray:
    """The number of each value among those that occur."""
    return np.unique(values, return_inverse=True)[1].astype(np.uint8)


def lhmap_bytes(lhmap: LHMap, values: bool) -> int:
    """The file without sections, or its tiles with heat and intensity zero."""
    if values:
        return lhmap.path.stat().st_size - sum(section.bytes for section in lhmap.metadata.sections)
    size = 0
    for number in range(len(lhmap.index)):
        tile = lhmap.tile(number)
        same = np.zeros(len(tile), np.uint8)
        size += len(encode_tile(tile.quanta.T, same, same)[0])
    return size


def laz_bytes(columns: Columns, step: float, values: bool) -> int:
    import laspy

    grid, heat, intensity = columns
    header = laspy.LasHeader(point_format=0, version="1.2")
    header.scales = (step,) * 3
    las = laspy.LasData(header)
    las.X, las.Y, las.Z = grid.T.astype(np.int32)
    if values:
        las.user_data, las.intensity = heat, intensity.astype(np.uint16)
    file = io.BytesIO()
    las.write(file, do_compress=True, laz_backend=laspy.LazBackend.Lazrs)
    back = laspy.read(io.BytesIO(file.getvalue()))
    _check("LAZ", np.column_stack([back.X, back.Y, back.Z]), grid)
    return len(file.getvalue())


def draco_bytes(columns: Columns, step: float, values: bool) -> int:
    import DracoPy

    grid, heat, intensity = columns
    bits = int(grid.max()).bit_length()
    data = DracoPy.encode(
        grid * step, quantization_bits=bits, quantization_range=(2**bits - 1) * step, quantization_origin=[0, 0, 0],
        compression_level=10, colors=np.column_stack([heat, intensity]) if values else None,
    )  # fmt: skip
    _check("Draco", np.round(DracoPy.decode(data).points / step).astype(np.int64), grid)
    return len(data)


def plain_bytes(columns: Columns, step: float, values: bool) -> int:
    """float32 x, y, z and a byte each of heat and intensity, column by column."""
    import zstandard

    grid, heat, intensity = columns
    rows = [*(grid * step).T.astype(np.float32), *((heat, intensity) if values else ())]
    return len(zstandard.ZstdCompressor(level=19).compress(b"".join(row.tobytes() for row in rows)))


def _check(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    if not np.array_equal(*(rows[np.lexsort(rows.T)] for rows in (found, expected))):
        raise SystemExit(f"{name}: other points came back")


FORMATS: dict[str, tuple[str, Callable[[Columns, float, bool], int]]] = {
    "LAZ": ("lazrs", laz_bytes),
    "Draco, level 10": ("DracoPy", draco_bytes),
    "float32, zstd -19": ("zstandard", plain_bytes),
}
"""The module that each needs, and its size of some columns, with or without values."""


def sizes(path: Path) -> list[dict]:
    """One row a format: `format`, `bytes`, `positions_bytes`; None where its module is not installed."""
    with LHMap.open(path) as lhmap:
        rows = [{"format": "LHMap", "bytes": lhmap_bytes(lhmap, True), "positions_bytes": lhmap_bytes(lhmap, False)}]
        columns, step = columns_of(lhmap), lhmap.metadata.resolution_m
    for name, (module, measure) in FORMATS.items():
        there = importlib.util.find_spec(module) is not None
        both = [measure(columns, step, values) if there else None for values in (True, False)]
        rows.append({"format": name, "bytes": both[0], "positions_bytes": both[1]})
    return [row | {"points": len(columns[0])} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = sizes(args.map)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    first, cells = rows[0], []
    for row in rows:
        if row["bytes"] is None:
            cells.append((f"{row['format']}: not installed", "", "", "", ""))
            continue
        whole, positions = (row[key] / row["points"] for key in ("bytes", "positions_bytes"))
        ratio = row["bytes"] / first["bytes"]
        cells.append((row["format"], f"{row['bytes']:,}", f"{whole:.2f}", f"{positions:.2f}", f"{ratio:.1f}"))
    header = ("format", "bytes", "bytes a point", "positions alone", "times LHMap")
    print_table(f"{args.map.name}: {first['points']:,} points", header, cells)


if __name__ == "__main__":
    main()
