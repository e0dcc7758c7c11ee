# SPDX-License-Identifier: Apache-2.0
"""The bytes of an LHMap file; docs/map-format.md describes them for other readers.

Preamble (fixed), JSON header, tile index, tiles, sections. The preamble's checksum covers everything before the
tiles; each tile's checksum, kept in the index, covers its place in the grid and its bytes; each section's, kept in the
header, its bytes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace

import numpy as np

from ..errors import MapFormatError

MAGIC = b"\x89LHMAP\r\n"
VERSION = (1, 3)
PREAMBLE = struct.Struct("<8sHHIIIQ")
INDEX = np.dtype(
    [
        ("ix", "<i4"), ("iy", "<i4"),     # place in the grid of tiles
        ("offset", "<u8"),                # of the tile's bytes in the file
        ("size", "<u4"),                  # of the tile's bytes
        ("count", "<u4"),                 # points in the tile
        ("z_base", "<i4"),                # height of z = 0 in the tile, steps above the origin
        ("crc", "<u4"),
        ("encoding", "<u4"),
        ("reserved", "<u4"),
    ]
)  # fmt: skip
MAX_STEPS = 65535
"""Largest edge and height of a tile, in steps: coordinates have 16 bits."""
_SEED = struct.Struct("<iiiII")


@dataclass(frozen=True)
class Preamble:
    """The fixed start of the file, as read."""

    header_bytes: int
    tiles: int
    file_bytes: int
    crc: int = 0
    version: tuple[int, int] = VERSION

    def pack(self) -> bytes:
        return PREAMBLE.pack(MAGIC, *self.version, self.header_bytes, self.tiles, self.crc, self.file_bytes)

    @property
    def tiles_offset(self) -> int:
        """Where the first tile starts."""
        return PREAMBLE.size + self.header_bytes + self.tiles * INDEX.itemsize


def parse_preamble(data: bytes, path: object) -> Preamble:
    """Reads the preamble; raises MapFormatError for foreign files and versions."""
    if data[: len(MAGIC)] != MAGIC:
        found = f"starts with {data[: len(MAGIC)]!r}" if data else "is empty"
        raise MapFormatError(f"{path}: not an LHMap: {found}, expected {MAGIC!r}")
    if len(data) < PREAMBLE.size:
        raise MapFormatError(f"{path}: truncated: {len(data)} bytes found, expected at least {PREAMBLE.size}")
    _, major, minor, header_bytes, tiles, crc, file_bytes = PREAMBLE.unpack(data)
    if major != VERSION[0]:
        raise MapFormatError(f"{path}: LHMap version {major}.{minor} found, expected {VERSION[0]}.x")
    return Preamble(header_bytes, tiles, file_bytes, crc, (major, minor))


def head_crc(preamble: Preamble, header_and_index: bytes) -> int:
    """Checksum of everything before the tiles, the checksum's own field taken as zero."""
    return zlib.crc32(header_and_index, zlib.crc32(replace(preamble, crc=0).pack()))


def tile_crc(data: bytes, ix: int, iy: int, z_base: int, count: int, encoding: int) -> int:
    """Checksum of a tile: its bytes and its place, so that swapped tiles are noticed."""
    return zlib.crc32(data, zlib.crc32(_SEED.pack(ix, iy, z_base, count, encoding)))
