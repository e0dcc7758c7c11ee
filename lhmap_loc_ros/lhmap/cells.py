# SPDX-License-Identifier: Apache-2.0
"""Encoding 3: the occupied cells of a tile as an octree, in an adaptive binary arithmetic code with contexts.

A cell is eight steps of the coordinates wide and holds one point; eight by eight by eight cells are a block, whose
points have the same offset in their cells and the same heat. One function encodes and decodes.
docs/map-format.md describes the bytes for other readers.
"""

from __future__ import annotations

import numba
import numpy as np

CELL_BITS, BLOCK_BITS = 3, 3
"""Binary logarithms of a cell's edge in steps and of a block's edge in cells."""
CELL_STEPS, BLOCK_CELLS, BLOCK_STEPS = 1 << CELL_BITS, 1 << BLOCK_BITS, 1 << CELL_BITS + BLOCK_BITS
"""The edges of a cell in steps, of a block in cells and in steps."""
MAX_DEPTH = 9
"""Levels of the octree: neighbours are looked up in a field of bits, which has eight times as many a level further."""
_LEVEL_BITS = range(1, 9)
_OFFSETS = 4 * 1024
_HEAT = _OFFSETS + 3 * 8 * 8
_INTENSITY = _HEAT + 16 * 256
_CONTEXTS = _INTENSITY + 16 * 256
_LOW, _HIGH, _VALUE, _AT, _WRITING = range(5)
_MAX_COUNT = 127
_MIN_PROBABILITY = 32
Number = int | np.int64
"""Of compiled functions, where both are the same."""


def encode(codes: np.ndarray, offsets: np.ndarray, heat: np.ndarray, intensity: np.ndarray) -> bytes | None:
    """The bytes of a tile; None if its points do not lie in cells and blocks.

    `codes` (N,) uint64 are the Morton codes of the cells, ascending; `offsets` (N, 3) uint8 the steps within the cell,
    `heat` and `intensity` (N,) uint8.
    """
    depth = max(BLOCK_BITS, -(-int(codes[-1]).bit_length() // 3)) if len(codes) else BLOCK_BITS
    begins, common = _block_begins(codes), np.column_stack([offsets, heat])
    if depth > MAX_DEPTH or (codes[1:] == codes[:-1]).any() or (common[1:] != common[:-1])[~begins[1:]].any():
        return None
    heat_bits, intensity_bits = _bits_of(heat), _bits_of(intensity)
    of_blocks = np.column_stack([offsets[begins], _levels(heat[begins], heat_bits)])
    # a decision takes at most eleven bits; a cell adds at most `depth` nodes
    space = 2 * len(codes) * (8 * depth + 8) + 2 * len(of_blocks) * 17 + 16
    data, state = np.zeros(space, np.uint8), np.array([0, 0xFFFFFFFF, 0, 0, 1], np.int64)
    _code_tile(codes, of_blocks, _levels(intensity, intensity_bits), depth, heat_bits, intensity_bits, data, state)
    return bytes([depth, heat_bits << 4 | intensity_bits]) + data[: state[_AT]].tobytes() + _flush(state)


def decode(data: bytes, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Codes, offsets, heat and intensity as `encode` takes them; raises ValueError for bytes without `count` cells."""
    if len(data) < 2:
        raise ValueError(f"{len(data)} bytes found, expected at least 2")
    depth, heat_bits, intensity_bits = data[0], data[1] >> 4, data[1] & 15
    if not BLOCK_BITS <= depth <= MAX_DEPTH or heat_bits not in _LEVEL_BITS or intensity_bits not in _LEVEL_BITS:
        raise ValueError(f"depth {depth} and levels of {heat_bits} and {intensity_bits} bits found")
    stream = np.array(bytearray(data[2:]), np.uint8)
    codes, of_blocks = np.zeros(count, np.uint64), np.zeros((count, 4), np.uint8)
    intensity, state = np.zeros(count, np.uint8), np.array([0, 0xFFFFFFFF, 0, 0, 0], np.int64)
    found = _code_tile(codes, of_blocks, intensity, depth, heat_bits, intensity_bits, stream, state)
    if found != count:
        raise ValueError(f"{'more' if found > count else found} cells found, expected {count}")
    if not state[_AT] - 4 <= len(stream) <= state[_AT]:
        raise ValueError(f"{len(stream)} bytes found, expected {state[_AT] - 4} to {state[_AT]}")
    of_points = of_blocks[np.cumsum(_block_begins(codes)) - 1]
    return codes, of_points[:, :3], _bytes_of(of_points[:, 3], heat_bits), _bytes_of(intensity, intensity_bits)


def _block_begins(codes: np.ndarray) -> np.ndarray:
    """Whether each of some cells, in the order of their codes (N,), is the first of its block."""
    blocks = codes >> np.uint64(3 * BLOCK_BITS)
    return np.r_[True, blocks[1:] != blocks[:-1]][: len(codes)]


def _bytes_of(levels: np.ndarray, bits: int) -> np.ndarray:
    top = 2**bits - 1
    return ((levels.astype(np.int64) * 510 + top) // (2 * top)).astype(np.uint8)


def _levels(values: np.ndarray, bits: int) -> np.ndarray:
    return np.round(values / 255 * (2**bits - 1)).astype(np.uint8)


def _bits_of(values: np.ndarray) -> int:
    """The least number of bits of evenly spaced levels from 0 to 255 that represent the values (N,) uint8 exactly."""
    return next(bits for bits in _LEVEL_BITS if (_bytes_of(_levels(values, bits), bits) == values).all())


def _flush(state: np.ndarray) -> bytes:
    """The fewest bytes that, followed by zeros, lie between the bounds of the code."""
    low, high = int(state[_LOW]), int(state[_HIGH])
    for count in range(5):
        kept = high >> (32 - 8 * count) << (32 - 8 * count)
        if kept >= low:
            return kept.to_bytes(4, "big")[:count]
    raise AssertionError("the last attempt keeps all four bytes of the upper bound")


@numba.njit(cache=True, nogil=True)
def _next_byte(data: np.ndarray, state: np.ndarray) -> None:
    value = np.int64(data[state[_AT]]) if state[_AT] < len(data) else np.int64(0)
    state[_VALUE] = (state[_VALUE] << 8 & 0xFFFFFFFF) | value
    state[_AT] += 1


@numba.njit(cache=True, nogil=True)
def _code_bit(
    bit: Number, context: Number, probs: np.ndarray, counts: np.ndarray, data: np.ndarray, state: np.ndarray
) -> Number:  # fmt: skip
    """Encodes a decision, or decodes it: returns it. `probs` are the contexts' probabilities of 1, times 65536."""
    low, high, p = state[_LOW], state[_HIGH], probs[context]
    span = high - low
    middle = low + (span >> 16) * p + ((span & 0xFFFF) * p >> 16)
    if not state[_WRITING]:
        bit = np.int64(state[_VALUE] <= middle)
    if bit:
        high = middle
        probs[context] = min(p + (65536 - p) * 2 // (2 * counts[context] + 3), 65536 - _MIN_PROBABILITY)
    else:
        low = middle + 1
        probs[context] = max(p - p * 2 // (2 * counts[context] + 3), _MIN_PROBABILITY)
    counts[context] = min(counts[context] + 1, _MAX_COUNT)
    while (low ^ high) & 0xFF000000 == 0:
        if state[_WRITING]:
            data[state[_AT]] = high >> 24
            state[_AT] += 1
        else:
            _next_byte(data, state)
        low, high = low << 8 & 0xFFFFFFFF, (high << 8 & 0xFFFFFFFF) | 255
    state[_LOW], state[_HIGH] = low, high
    return bit


@numba.njit(cache=True, nogil=True)
def _code_number(
    value: Number, bits: Number, context: Number, probs: np.ndarray, counts: np.ndarray, data: np.ndarray,
    state: np.ndarray,
) -> Number:  # fmt: skip
    """Encodes or decodes a number of some bits, most significant first: returns it."""
    node = np.int64(1)
    for k in range(bits - 1, -1, -1):
        node = node << 1 | _code_bit(value >> k & 1, context + node, probs, counts, data, state)
    return node - (np.int64(1) << bits)


@numba.njit(cache=True, nogil=True)
def _is_set(field: np.ndarray, edge: Number, x: Number, y: Number, z: Number) -> Number:
    """A bit of a field of `edge` places along each axis, from -1."""
    place = ((x + 1) * edge + y + 1) * edge + z + 1
    return np.int64(field[place >> 3] >> (place & 7) & 1)


@numba.njit(cache=True, nogil=True)
def _set(field: np.ndarray, edge: Number, x: Number, y: Number, z: Number) -> None:
    place = ((x + 1) * edge + y + 1) * edge + z + 1
    field[place >> 3] |= np.uint8(1 << (place & 7))


@numba.njit(cache=True, nogil=True)
def place_of(code: Number, levels: Number) -> tuple[Number, Number, Number]:
    """x, y and z of a Morton code of so many bits each."""
    x, y, z = np.int64(0), np.int64(0), np.int64(0)
    for k in range(levels):
        x |= (code >> 3 * k & 1) << k
        y |= (code >> 3 * k + 1 & 1) << k
        z |= (code >> 3 * k + 2 & 1) << k
    return x, y, z


@numba.njit(cache=True, nogil=True)
def _octree_context(
    parents: np.ndarray, wide: Number, children: np.ndarray, fine: Number, x: Number, y: Number, z: Number,
    child: Number,
) -> Number:  # fmt: skip
    """Context of a child of the node (x, y, z), one of 1024, from what is coded before it."""
    dx, dy, dz = child & 1, child >> 1 & 1, child >> 2
    # 1. the node's neighbours on the child's side: across faces, then across edges and the corner
    sx, sy, sz = x + 2 * dx - 1, y + 2 * dy - 1, z + 2 * dz - 1
    faces = (
        _is_set(parents, wide, sx, y, z) | _is_set(parents, wide, x, sy, z) << 1 | _is_set(parents, wide, x, y, sz) << 2
    )
    edges = (
        _is_set(parents, wide, sx, sy, z) + _is_set(parents, wide, sx, y, sz) + _is_set(parents, wide, x, sy, sz)
        + _is_set(parents, wide, sx, sy, sz)
    )  # fmt: skip
    # 2. neighbours of its own size that are coded already; the others are not set yet
    cx, cy, cz = 2 * x + dx, 2 * y + dy, 2 * z + dz
    before = (
        _is_set(children, fine, cx - 1, cy, cz) | _is_set(children, fine, cx, cy - 1, cz) << 1
        | _is_set(children, fine, cx, cy, cz - 1) << 2
    )  # fmt: skip
    near = (
        _is_set(children, fine, cx - 1, cy - 1, cz) + _is_set(children, fine, cx - 1, cy, cz - 1)
        + _is_set(children, fine, cx, cy - 1, cz - 1) + _is_set(children, fine, cx - 1, cy + 1, cz)
        + _is_set(children, fine, cx - 1, cy, cz + 1) + _is_set(children, fine, cx, cy - 1, cz + 1)
    )  # fmt: skip
    return faces << 7 | min(edges, 3) << 5 | before << 2 | min(near, 3)


@numba.njit(cache=True, nogil=True)
def _code_tile(
    codes: np.ndarray, of_blocks: np.ndarray, intensity: np.ndarray, depth: int, heat_bits: int, intensity_bits: int,
    data: np.ndarray, state: np.ndarray,
) -> int:  # fmt: skip
    """Encodes the arrays, or fills them with what is decoded; returns the number of cells.

    Stops as soon as there are more cells than `codes` has room for.
    """
    probs, counts = np.full(_CONTEXTS, 32768, np.int64), np.zeros(_CONTEXTS, np.int64)
    writing = state[_WRITING]
    if not writing:
        for _ in range(4):
            _next_byte(data, state)
    # 1. the cells, level by level, nodes in the order of their codes
    nodes = np.zeros(min(len(codes), 1), np.int64)
    parents, wide = np.zeros(4, np.uint8), 3
    if len(nodes):
        _set(parents, wide, 0, 0, 0)
    for level in range(depth):
        finer, found = np.empty(min(8 * len(nodes), len(codes)), np.int64), 0
        fine = 2 * (wide - 2) + 2
        children = np.zeros((fine**3 + 7) // 8, np.uint8)
        below, at = 3 * (depth - 1 - level), 0
        context: Number = 1024 * min(depth - 1 - level, 3)
        for node in nodes:
            x, y, z = place_of(node, level)
            any_yet = False
            for child in range(8):
                code = node << 3 | child
                bit: Number = np.int64(0)
                if writing:
                    bit = np.int64(at < len(codes) and np.int64(codes[at]) >> below == code)
                    while at < len(codes) and np.int64(codes[at]) >> below == code:
                        at += 1
                # a node has at least one child: if none yet, it is the last
                if child < 7 or any_yet:
                    neighbours = _octree_context(parents, wide, children, fine, x, y, z, child)
                    bit = _code_bit(bit, context + neighbours, probs, counts, data, state)
                else:
                    bit = np.int64(1)
                if bit:
                    any_yet = True
                    if found == len(codes):
                        return found + 1
                    finer[found] = code
                    found += 1
                    _set(children, fine, 2 * x + (child & 1), 2 * y + (child >> 1 & 1), 2 * z + (child >> 2))
        nodes, parents, wide = finer[:found], children, fine
    # 2. offset and heat of each block
    block, number = np.int64(-1), -1
    for k in range(len(nodes)):
        codes[k] = nodes[k]
        if nodes[k] >> 3 * BLOCK_BITS == block:
            continue
        block, number = nodes[k] >> 3 * BLOCK_BITS, number + 1
        for axis in range(4):
            last = np.int64(of_blocks[number - 1, axis]) if number else np.int64(0)
            context, bits = _OFFSETS + (axis * 8 + last) * 8, CELL_BITS
            if axis == 3:
                context, bits = _HEAT + (last >> max(heat_bits - 4, 0)) * 256, heat_bits
            value = np.int64(of_blocks[number, axis])
            of_blocks[number, axis] = _code_number(value, bits, context, probs, counts, data, state)
    # 3. intensity of each cell
    shift = max(intensity_bits - 3, 0)
    for k in range(len(nodes)):
        last = np.int64(intensity[k - 1]) if k else np.int64(0)
        earlier = np.int64(intensity[k - 2]) if k > 1 else last
        context = _INTENSITY + (last + earlier >> shift) * 256
        intensity[k] = _code_number(np.int64(intensity[k]), intensity_bits, context, probs, counts, data, state)
    return len(nodes)
