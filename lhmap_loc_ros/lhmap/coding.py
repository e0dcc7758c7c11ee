# SPDX-License-Identifier: Apache-2.0
"""The points of a tile as bytes and back; docs/map-format.md describes the encodings for other readers."""

from __future__ import annotations

import zlib

import numba
import numpy as np

from . import cells

SORTED, CELLS = 2, 3
"""Encodings: points sorted by position, and cells of an octree. 0 and 1 were those of format 1.0."""
_CODE_BITS = 48
_CUBE_BITS = 3
_SCATTER = np.uint64(0x9E3779B97F4A7C15)
_DEFLATE = -zlib.MAX_WBITS


def encode_tile(quanta: np.ndarray, heat: np.ndarray, intensity: np.ndarray) -> tuple[bytes, int]:
    """The bytes of a tile and their encoding, from quanta (N, 3) uint16, heat and intensity (N,) uint8.

    As cells where the points lie in such, else, or where that takes fewer bytes, as points sorted by position. The
    order of the points is not kept: decoded, they are in that of `_best_first`.
    """
    quanta = np.ascontiguousarray(quanta, np.uint16)
    of_points, of_cells = _encode_sorted(quanta, heat, intensity), _encode_cells(quanta, heat, intensity)
    if of_cells is None or len(of_points) < len(of_cells):
        return of_points, SORTED
    return of_cells, CELLS


def decode_tile(data: bytes, count: int, encoding: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quanta, heat and intensity as `encode_tile` takes them, best heat first.

    Raises ValueError when the bytes do not hold `count` points.
    """
    if encoding == SORTED:
        return _decode_sorted(data, count)
    if encoding == CELLS:
        return _decode_cells(data, count)
    raise ValueError(f"encoding {encoding} found, expected {SORTED} or {CELLS}")


def _encode_cells(quanta: np.ndarray, heat: np.ndarray, intensity: np.ndarray) -> bytes | None:
    codes = morton_codes(quanta >> np.uint16(cells.CELL_BITS))
    order = np.argsort(codes, kind="stable")
    offsets = (quanta & np.uint16(cells.CELL_STEPS - 1)).astype(np.uint8)
    return cells.encode(codes[order], offsets[order], heat[order], intensity[order])


def _decode_cells(data: bytes, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    codes, offsets, heat, intensity = cells.decode(data, count)
    # cells of a cube stay together: points that are neighbours in memory are rendered a fifth faster
    order = _best_first(codes >> np.uint64(_CUBE_BITS), heat)
    quanta = (_separate(codes) << np.uint16(cells.CELL_BITS)) + offsets
    return quanta[order], heat[order], intensity[order]


def _encode_sorted(quanta: np.ndarray, heat: np.ndarray, intensity: np.ndarray) -> bytes:
    codes = morton_codes(quanta)
    order = np.lexsort((intensity, heat, codes))
    lengths, bits = _pack_steps(np.diff(codes[order], prepend=np.uint64(0)))
    return b"".join([*map(_deflate, (lengths, heat[order], intensity[order])), bits.tobytes()])


def _decode_sorted(data: bytes, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = []
    for _ in range(3):
        row, data = _inflate(data, count)
        rows.append(np.frombuffer(row, np.uint8))
    lengths, heat, intensity = rows
    if count and lengths.max() > _CODE_BITS:
        raise ValueError(f"a step of {lengths.max()} bits found, expected at most {_CODE_BITS}")
    expected = _bytes_of(lengths)
    if len(data) != expected:
        raise ValueError(f"{len(data)} bytes of steps found, expected {expected}")
    codes = np.cumsum(_unpack_steps(lengths, np.frombuffer(data, np.uint8)), dtype=np.uint64)
    # a sum beyond 64 bits wraps around to less than the one before, since each step is far smaller
    if count and (codes[-1] >> np.uint64(_CODE_BITS) or (codes[1:] < codes[:-1]).any()):
        raise ValueError(f"steps beyond {_CODE_BITS} bits found")
    order = _best_first(codes, heat)
    return _separate(codes[order]), heat[order], intensity[order]


def _best_first(codes: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Indices of the points, hottest first; points of equal heat scattered, so that the first few are an even sample.

    Points of equal heat and code keep their order.
    """
    return np.lexsort((codes * _SCATTER, ~heat))


def _deflate(row: np.ndarray) -> bytes:
    # runs and Huffman codes alone: longer repetitions hardly occur, and references to them would cost symbols
    stream = zlib.compressobj(9, zlib.DEFLATED, _DEFLATE, 9, zlib.Z_RLE)
    return stream.compress(row.tobytes()) + stream.flush()


def _inflate(data: bytes, expected: int) -> tuple[bytes, bytes]:
    """The first `expected` bytes of deflated data, and the data behind their end."""
    stream = zlib.decompressobj(_DEFLATE)
    try:
        # a bound: a forged tile must not fill the memory
        row = stream.decompress(data, expected + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(row) != expected or not stream.eof:
        raise ValueError(f"{len(row)} bytes found, {'' if stream.eof else 'not ended, '}expected {expected}")
    return row, stream.unused_data


def _bytes_of(lengths: np.ndarray) -> int:
    """Number of bytes of steps of these lengths in bits, each without its first bit, which is always 1."""
    return (int(np.maximum(lengths, 1).sum(dtype=np.int64)) - len(lengths) + 7) // 8


def _pack_steps(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The length in bits of each step (N,) uint64, and the bits of all behind the first, most significant first."""
    lengths = np.zeros(len(steps), np.uint8)
    _measure(steps, lengths)
    bits = np.zeros(_bytes_of(lengths), np.uint8)
    _pack(steps, lengths, bits)
    return lengths, bits


@numba.njit(cache=True, nogil=True)
def _measure(steps: np.ndarray, lengths: np.ndarray) -> None:
    for i in range(len(steps)):
        while lengths[i] < 64 and steps[i] >> np.uint64(lengths[i]):
            lengths[i] += 1


@numba.njit(cache=True, nogil=True)
def _pack(steps: np.ndarray, lengths: np.ndarray, bits: np.ndarray) -> None:
    at = 0
    for i in range(len(steps)):
        for k in range(int(lengths[i]) - 2, -1, -1):
            bits[at >> 3] |= np.uint8(((steps[i] >> np.uint64(k)) & np.uint64(1)) << np.uint64(7 - (at & 7)))
            at += 1


@numba.njit(cache=True, nogil=True)
def _unpack_steps(lengths: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """The inverse of `_pack_steps`."""
    steps = np.zeros(len(lengths), np.uint64)
    at = 0
    for i in range(len(lengths)):
        step = np.uint64(lengths[i] > 0)
        for _ in range(int(lengths[i]) - 1):
            bit = (bits[at >> 3] >> np.uint8(7 - (at & 7))) & np.uint8(1)
            step = (step << np.uint64(1)) | np.uint64(bit)
            at += 1
        steps[i] = step
    return steps


@numba.njit(cache=True, nogil=True)
def morton_codes(quanta: np.ndarray) -> np.ndarray:
    """Morton codes (N,) uint64 of quanta (N, 3) uint16: bit k of x, y and z is bit 3k, 3k + 1 and 3k + 2."""
    codes = np.zeros(len(quanta), np.uint64)
    for i in range(len(quanta)):
        for axis in range(3):
            value = np.uint64(quanta[i, axis])
            for k in range(16):
                codes[i] |= ((value >> np.uint64(k)) & np.uint64(1)) << np.uint64(3 * k + axis)
    return codes


@numba.njit(cache=True, nogil=True)
def _separate(codes: np.ndarray) -> np.ndarray:
    """The inverse of `morton_codes`."""
    quanta = np.zeros((len(codes), 3), np.uint16)
    for i in range(len(codes)):
        quanta[i, 0], quanta[i, 1], quanta[i, 2] = cells.place_of(np.int64(codes[i]), 16)
    return quanta
