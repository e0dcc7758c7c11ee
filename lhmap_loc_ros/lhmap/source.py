# SPDX-License-Identifier: Apache-2.0
"""The head and the tiles of an LHMap file, read and checked."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import ValidationError

from ..errors import MapFormatError
from . import layout
from .coding import SORTED, decode_tile
from .metadata import MapMetadata

VALUE_STEP = np.float32(1 / 255)
"""Step of the stored heat and intensity."""


@dataclass(frozen=True)
class Tile:
    """A decoded tile, hottest points first, in the integers of the file: less than half the memory of floats."""

    quanta: np.ndarray
    """(3, N) uint16, steps from the tile's corner and its base height."""
    heat_steps: np.ndarray
    """(N,) uint8."""
    intensity_steps: np.ndarray
    """(N,) uint8."""
    step_m: float
    """Step of the quanta, metres."""
    corner: np.ndarray
    """(3,) float64, metres in the map frame."""

    def __len__(self) -> int:
        return len(self.heat_steps)

    @property
    def points(self) -> np.ndarray:
        """(N, 3) float32, metres from the corner."""
        return np.ascontiguousarray(self.quanta.T, np.float32) * np.float32(self.step_m)

    @property
    def heat(self) -> np.ndarray:
        """(N,) float32 in [0, 1]."""
        return self.heat_steps * VALUE_STEP

    @property
    def intensity(self) -> np.ndarray:
        """(N,) float32 in [0, 1]."""
        return self.intensity_steps * VALUE_STEP

    @property
    def bytes(self) -> int:
        return self.quanta.nbytes + self.heat_steps.nbytes + self.intensity_steps.nbytes


class TileSource:
    """An open map file: metadata and index in memory, tiles read on demand."""

    def __init__(self, path: str | os.PathLike[str]):
        """Opens the file and checks everything before the tiles; raises MapFormatError."""
        self.path = Path(path)
        try:
            self._file = open(path, "rb")
        except OSError as error:
            bag = (self.path / "metadata.yaml").exists()
            why = "a bag found" if bag else f"cannot be opened: {error.strerror}"
            raise MapFormatError(f"{path}: {why}, expected an LHMap") from None
        try:
            self.metadata, self.index, self.identity = _read_head(self.path, self._file)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def read(self, number: int) -> Tile:
        """Tile `number` of the index; raises MapFormatError if it is damaged."""
        ix, iy, count, encoding, z_base = self.index[number][["ix", "iy", "count", "encoding", "z_base"]].tolist()
        try:
            quanta, heat, intensity = decode_tile(self.read_bytes(number), count, encoding)
        except ValueError as error:
            raise MapFormatError(f"{self.path}: tile ({ix}, {iy}) cannot be decoded: {error}") from None
        step, tile_m = self.metadata.resolution_m, self.metadata.tile_m
        corner = np.array(self.metadata.origin) + (ix * tile_m, iy * tile_m, z_base * step)
        return Tile(np.ascontiguousarray(quanta.T), heat, intensity, step, corner)

    def read_bytes(self, number: int) -> bytes:
        """Tile `number` as it is stored; raises MapFormatError if it is damaged."""
        record = self.index[number]
        size, ix, iy, *others = record[["size", "ix", "iy", "z_base", "count", "encoding"]].tolist()
        data = os.pread(self._file.fileno(), size, int(record["offset"]))
        where = f"{self.path}: tile ({ix}, {iy})"
        if len(data) != size:
            raise MapFormatError(f"{where} is truncated: {len(data)} bytes found, expected {size}")
        crc = layout.tile_crc(data, ix, iy, *others)
        if crc != record["crc"]:
            raise MapFormatError(f"{where} is damaged: checksum {crc:08x} found, expected {int(record['crc']):08x}")
        return data

    def read_section(self, name: str) -> tuple[int, bytes] | None:
        """Version and bytes of a section, None if there is none of that name; raises MapFormatError if damaged."""
        end = os.fstat(self._file.fileno()).st_size
        for section in reversed(self.metadata.sections):
            end -= section.bytes
            if section.name == name:
                data = os.pread(self._file.fileno(), section.bytes, end)
                crc = zlib.crc32(data)
                if crc != section.crc:
                    checksums = f"checksum {crc:08x} found, expected {section.crc:08x}"
                    raise MapFormatError(f"{self.path}: section {name!r} is damaged: {checksums}")
                return section.version, data
        return None


def tile_key(ix: np.ndarray, iy: np.ndarray) -> np.ndarray:
    """Tiles as numbers that sort by (iy, ix)."""
    return (iy << 32) + (ix + 2**31)


def _read_head(path: Path, file: BinaryIO) -> tuple[MapMetadata, np.ndarray, str]:
    """The checked header and tile index of a map, and their hash."""
    size = os.fstat(file.fileno()).st_size
    preamble = layout.parse_preamble(file.read(layout.PREAMBLE.size), path)
    if size != preamble.file_bytes or size < preamble.tiles_offset:
        expected = max(preamble.file_bytes, preamble.tiles_offset)
        kind = "truncated" if size < expected else "damaged"
        raise MapFormatError(f"{path}: {kind}: {size} bytes found, expected {expected}")
    head = file.read(preamble.tiles_offset - layout.PREAMBLE.size)
    crc = layout.head_crc(preamble, head)
    if crc != preamble.crc:
        raise MapFormatError(f"{path}: header is damaged: checksum {crc:08x} found, expected {preamble.crc:08x}")
    try:
        metadata = MapMetadata.model_validate(json.loads(head[: preamble.header_bytes]))
    except (ValueError, ValidationError) as error:
        raise MapFormatError(f"{path}: header is not understood: {error}") from None
    # a copy: a view would keep the header's text
    index = np.frombuffer(head, layout.INDEX, offset=preamble.header_bytes).copy()
    if (index["encoding"] < SORTED).any():
        raise MapFormatError(
            f"{path}: tiles of format 1.0 found, which are no longer read; build the map again, or convert it: "
            "`lhmap export MAP MAP.ply` of version 0.1.0, then `lhmap import cloud MAP.ply NEW.lhmap`"
        )
    keys = tile_key(index["ix"].astype(np.int64), index["iy"].astype(np.int64))
    ends = index["offset"] + index["size"]
    tiles_end = size - sum(section.bytes for section in metadata.sections)
    outside = (index["offset"] < preamble.tiles_offset).any() or (ends > max(tiles_end, 0)).any()
    if (np.diff(keys) <= 0).any() or outside or tiles_end < preamble.tiles_offset:
        raise MapFormatError(f"{path}: tile index is not sorted or points outside of the file's {size} bytes")
    # the index holds the checksums of the tiles
    return metadata, index, hashlib.sha256(head).hexdigest()
