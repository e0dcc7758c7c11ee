# SPDX-License-Identifier: Apache-2.0
"""A map of any length out of the tiles of a small one: what a large city asks of the format, without one at hand."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..lhmap import LHMap
from ..lhmap.writer import write_tiles

_PLACE_LIMIT = 2**31


def repeat_map(lhmap: LHMap, out, km: float) -> None:
    """Writes the tiles of a map side by side, in a square, until their paths add up to `km` kilometres.

    The tiles' bytes are those of the map; only their places and what depends on them differ. Raises InputError
    for a map without tiles or path.
    """
    metadata, index = lhmap.metadata, lhmap.index
    if not len(index) or len(metadata.path) < 2 or not metadata.path_length_m:
        raise InputError(f"{lhmap.path}: no tiles or no path found, expected a map of a drive")
    copies = max(1, round(1000 * km / metadata.path_length_m))
    low = np.array([index["ix"].min(), index["iy"].min()])
    size = np.array([index["ix"].max(), index["iy"].max()]) + 1 - low
    columns = max(1, round(np.sqrt(copies * size[1] / size[0])))
    steps = np.array([(k % columns, k // columns) for k in range(copies)]) * size
    if np.abs(steps + low).max() >= _PLACE_LIMIT:
        raise InputError(f"{km:g} km: {copies} copies of {lhmap.path} do not fit the grid of tiles")
    # 1. every tile of every copy, in the order of the format
    records = np.concatenate([_moved(index, step) for step in steps])
    source = np.tile(np.arange(len(index)), copies)
    order = np.lexsort((records["ix"], records["iy"]))
    records, source = records[order], source[order]
    # 2. the header: all paths, one after the other
    paths = np.concatenate([metadata.path + np.r_[step * metadata.tile_m, 0, 0] for step in steps])
    header = metadata.model_copy(
        update={
            "points": int(records["count"].sum()),
            "bounds": None,
            "heat_histogram": tuple(copies * count for count in metadata.heat_histogram),
            "path_length_m": round(copies * metadata.path_length_m, 2),
            "path": paths.round(2),
        }
    )
    tiles = [lhmap.tile_bytes(number) for number in range(len(index))]
    write_tiles(out, header, records, (tiles[number] for number in source))


def _moved(index: np.ndarray, step: np.ndarray) -> np.ndarray:
    records = index.copy()
    records["ix"] += step[0]
    records["iy"] += step[1]
    return records
