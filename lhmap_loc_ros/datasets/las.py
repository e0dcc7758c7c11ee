# SPDX-License-Identifier: Apache-2.0
"""LAS and LAZ files: points in metres, without noise, from headers that were checked before they are believed."""

from __future__ import annotations

import logging
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import laspy
import lazrs
import numpy as np

_log = logging.getLogger(__name__)
STEP_M = 0.001
FULL_SCALE = 65535.0
"""Of the intensity in files as we write them; those of others use what part of it they like."""
SOFTWARE = "lhmap_loc_ros"
_NOISE = 7, 18
_UNITS = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937}
"""Metres in a unit, by its number in the GeoTIFF keys."""
_LENGTH = re.compile(r'(?<![A-Z])(?:LENGTH)?UNIT\["([^"]*)",\s*([\d.eE+-]+)', re.IGNORECASE)
_NO_LENGTH = re.compile(r"deg|rad|grad|gon|arc|unity|ppm|second|coefficient", re.IGNORECASE)
_CHUNK = 1_000_000
"""Points that are read at once: a count that lies asks for no more memory than this."""
_MIN_HEADER, _WHOLE_HEADER, _VLR, _EVLR = 227, 375, 54, 60
_LASZIP = 22204
_VARIABLE_CHUNKS = 2**32 - 1
_LAYERS, _BYTES_IN_LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}, 14
"""How many layers the parts of a point take, by the number of the part; extra bytes one each."""


def read_las(path: Path) -> tuple[dict[str, np.ndarray], float | None]:
    """Fields x, y, z [m], intensity and heat by name, and the full scale of the intensity where the file tells.

    Noise and withheld points are left out. Raises ValueError, or what laspy raises, for a file that cannot be used.
    """
    check_header(path)
    with laspy.open(path) as reader:
        header = reader.header
        to_m = _units(header)
        parts = [_fields(chunk) for chunk in _chunks(reader)]
    found = sum(count for _, count in parts)
    if found != header.point_count:
        raise ValueError(f"{found} points found, expected {header.point_count}")
    names = _names(header.point_format)
    fields = {name: np.concatenate([part[name] for part, _ in parts] or [np.zeros(0)]) for name in names}
    if len(fields["x"]) < found:
        _log.warning("%s: %d of %d points are noise or withheld and left out", path, found - len(fields["x"]), found)
    for name, factor in zip("xyz", to_m, strict=True):
        fields[name] = fields[name] * factor
    # another program that saved it again put its own name there, and kept the values
    ours = header.generating_software == SOFTWARE or "heat" in fields
    return fields, FULL_SCALE if ours else None


def _chunks(reader: laspy.LasReader) -> Iterator:
    """The points of a file, some at a time."""
    try:
        yield from reader.chunk_iterator(_CHUNK)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what Rust raises, and no Exception
            raise
        raise ValueError(f"compressed points are damaged: {error}") from None


def _fields(points) -> tuple[dict[str, np.ndarray], int]:
    """What is kept of some points, and how many there were."""
    kept = ~np.isin(np.asarray(points["classification"]), _NOISE)
    if "withheld" in points.point_format.dimension_names:
        kept &= ~np.asarray(points["withheld"]).astype(bool)
    return {name: np.asarray(points[name])[kept] for name in _names(points.point_format)}, len(kept)


def _names(points: laspy.PointFormat) -> tuple[str, ...]:
    return ("x", "y", "z", "intensity", *(["heat"] if "heat" in points.extra_dimension_names else []))


def check_header(path: Path) -> None:
    """Raises ValueError for a header that tells of more than the file holds: laspy would believe it, for hours."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(_WHOLE_HEADER)
        if len(head) < _MIN_HEADER or head[:4] != b"LASF":
            raise ValueError(f"{head[:4]!r} and {size} bytes found, expected LASF and a header")
        header_size, offset, records, kind, length, points = struct.unpack_from("<HIIBHI", head, 94)
        if not _MIN_HEADER <= header_size <= offset <= size:
            raise ValueError(f"points at byte {offset} of {size} found, behind a header of {header_size}")
        laszip = _check_records(file, header_size, offset, records)
        if head[25] >= 4:
            if len(head) < _WHOLE_HEADER:
                raise ValueError(f"a header of {len(head)} bytes found, expected {_WHOLE_HEADER}")
            start, extended, points = struct.unpack_from("<QIQ", head, 235)
            _check_extended(file, start, size, extended)
        if not kind & 0xC0:
            if offset + points * length > size:
                raise ValueError(f"{(size - offset) // max(length, 1)} points found, expected {points}")
        elif points:
            _check_laszip(file, laszip, offset, size, points, length)


def _check_records(file, at: int, end: int, count: int) -> bytes:
    """Of the variable length records before the points; returns that of LASzip."""
    laszip = b""
    for number in range(count):
        file.seek(at)
        record = file.read(_VLR)
        at += _VLR
        if at <= end:
            length = struct.unpack_from("<H", record, 20)[0]
            at += length
        if at > end:
            raise ValueError(f"{number} records found before the points, expected {count}")
        if struct.unpack_from("<H", record, 18)[0] == _LASZIP:
            laszip = file.read(length)
    return laszip


def _check_extended(file, at: int, size: int, count: int) -> None:
    """Of the records behind the points."""
    for number in range(count):
        file.seek(min(at, size))
        record = file.read(_EVLR)
        at += _EVLR + (struct.unpack_from("<Q", record, 20)[0] if len(record) == _EVLR else 0)
        if len(record) < _EVLR or at > size:
            raise ValueError(f"{number} records found behind the points, expected {count}")


def _check_laszip(file, record: bytes, offset: int, size: int, points: int, length: int) -> None:
    """Of compressed points: their size, and how many chunks there are."""
    if len(record) < 34:
        raise ValueError("compressed points without a record of LASzip found")
    chunk, items = struct.unpack_from("<I", record, 12)[0], struct.unpack_from("<H", record, 32)[0]
    parts = record[34 : 34 + 6 * items]
    kinds = [(kind, of) for kind, of, _ in struct.iter_unpack("<HHH", parts)] if len(parts) == 6 * items else []
    if sum(of for _, of in kinds) != length:
        raise ValueError(f"compressed points of {sum(of for _, of in kinds)} bytes found, expected {length}")
    file.seek(offset)
    table = struct.unpack("<q", file.read(8).ljust(8, b"\0"))[0]
    if table == -1:  # written to a pipe
        file.seek(size - 8)
        table = struct.unpack("<q", file.read(8))[0]
    if not offset + 8 <= table <= size - 8:
        raise ValueError(f"a table of chunks at byte {table} of {size} found")
    file.seek(table)
    chunks = struct.unpack("<II", file.read(8))[1]
    # each begins with a point that is not compressed
    if chunks * length > size or (chunk != _VARIABLE_CHUNKS and points > chunks * chunk):
        raise ValueError(f"{chunks} chunks of {chunk} points found in {size} bytes, expected {points} points")
    file.seek(offset)
    _check_chunks(file, offset + 8, lazrs.read_chunk_table(file, lazrs.LazVlr(record)), kinds, length)


def _check_chunks(file, at: int, chunks: list[tuple[int, int]], kinds: list[tuple[int, int]], length: int) -> None:
    """Of the layers of each chunk, which come after its first point and the number of points, their sizes first."""
    layers = sum(of if kind == _BYTES_IN_LAYERS else _LAYERS.get(kind, 0) for kind, of in kinds)
    for _, chunk_bytes in chunks if layers else ():
        file.seek(at + length + 4)
        sizes = file.read(4 * layers)
        found = sum(struct.unpack(f"<{layers}I", sizes)) if len(sizes) == 4 * layers else chunk_bytes + 1
        if found > chunk_bytes:
            raise ValueError(f"layers of {found} bytes found in a chunk of {chunk_bytes}")
        at += chunk_bytes


def _units(header: laspy.LasHeader) -> tuple[float, float, float]:
    """Metres in the units of x, y and z by the file's reference system; raises ValueError for degrees."""
    text, keys = "", {}
    for record in header.vlrs:
        text += getattr(record, "string", "") if record.record_id == 2112 else ""
        if record.record_id == 34735:
            keys = {key.id: key.value_offset for key in record.geo_keys}
    projected = re.search(r"PROJCS|PROJCRS", text) or keys.get(1024) == 1
    geocentric = re.search(r"GEOCCS|CS\[Cartesian,\s*3", text, re.IGNORECASE) or keys.get(1024) == 3
    if geocentric and not projected:
        raise ValueError("coordinates from the centre of the earth found, expected z up: project them first, as to UTM")
    # seven decimals are centimetres of degrees, and a hundredth of a hair of metres
    small = header.scales[0] <= 1e-6 and np.abs([header.mins[:2], header.maxs[:2]]).max() <= 180
    if not projected and (re.search(r"GEOGCS|GEOGCRS|GEODCRS", text) or keys.get(1024) == 2 or small):
        raise ValueError("coordinates in degrees found, expected metres: project them first, as to UTM")
    # newer texts have units of the ellipsoid, too, before those of the axes
    systems = re.split(r"\bCS\[", text)[1:] or [text]
    units = [[float(n) for name, n in _LENGTH.findall(system) if not _NO_LENGTH.search(name)] for system in systems]
    told = [of_system[0] for of_system in units if of_system] if len(systems) > 1 else units[0]
    across = told[0] if told else _UNITS.get(keys.get(3076), 1.0)
    up = told[-1] if told else _UNITS.get(keys.get(4099), across)
    return across, across, up


def write_las(path: Path, xyz: np.ndarray, intensity: np.ndarray | None, heat: np.ndarray | None) -> None:
    """Writes points (N, 3) [m], intensity and heat (N,) in [0, 1]."""
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.generating_software = SOFTWARE
    header.scales = np.full(3, STEP_M)
    header.offsets = np.floor(xyz.min(axis=0)) if len(xyz) else np.zeros(3)
    if heat is not None:
        header.add_extra_dim(laspy.ExtraBytesParams(name="heat", type=np.float32, description="worth for localization"))
    las = laspy.LasData(header)
    las.x, las.y, las.z = xyz.T
    if intensity is not None:
        las.intensity = np.round(intensity * FULL_SCALE).astype(np.uint16)
    if heat is not None:
        las["heat"] = heat
    las.write(path)
