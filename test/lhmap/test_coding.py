# SPDX-License-Identifier: Apache-2.0
"""Tiles as bytes: what goes in comes out, in a fixed order, and what no writer wrote is refused."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lhmap_loc_ros.lhmap import coding
from lhmap_loc_ros.lhmap.cells import BLOCK_CELLS, CELL_STEPS
from lhmap_loc_ros.lhmap.coding import CELLS, SORTED, decode_tile, encode_tile
from lhmap_loc_ros.mapping.quantization import quantize


def tile(rng, n=2000, top=1250):
    """Ground and a wall, in steps of 2 cm."""
    xyz = rng.integers(0, top, (n, 3)).astype(np.uint16)
    xyz[: n // 2, 2] = rng.integers(0, 10, n // 2)
    xyz[n // 2 :, 1] = 400
    return xyz, rng.integers(0, 16, n).astype(np.uint8) * 17, rng.integers(0, 16, n).astype(np.uint8) * 17


def rows(quanta, heat, intensity):
    """Points as rows in a canonical order."""
    all_ = np.column_stack([quanta, heat, intensity]).astype(int)
    return all_[np.lexsort(all_.T)]


@given(data=st.data(), n=st.integers(0, 60), top=st.sampled_from([1, 30, 65535]))
@settings(max_examples=100, deadline=None)
def test_points_come_back_hottest_first_whatever_they_are(data, n, top):
    quanta = data.draw(arrays.arrays(np.uint16, (n, 3), elements=st.integers(0, top)))
    heat, intensity = (data.draw(arrays.arrays(np.uint8, n)) for _ in range(2))
    packed, encoding = encode_tile(quanta, heat, intensity)
    back = decode_tile(packed, n, encoding)
    np.testing.assert_array_equal(rows(*back), rows(quanta, heat, intensity))
    assert (np.diff(back[1].astype(int)) <= 0).all()


def test_the_order_of_the_points_makes_no_difference():
    quanta, heat, intensity = tile(np.random.default_rng(0))
    shuffled = np.random.default_rng(1).permutation(len(heat))
    assert encode_tile(quanta, heat, intensity) == encode_tile(quanta[shuffled], heat[shuffled], intensity[shuffled])


def test_the_first_of_equally_hot_points_are_an_even_sample():
    quanta, heat, intensity = tile(np.random.default_rng(0))
    heat[:] = 255
    first = decode_tile(*_encoded(quanta, heat, intensity))[0][:200]
    for axis in (0, 1):
        # the wall is half of the points, all at one y
        found, expected = (np.histogram(q[:, axis], 4, (0, 1250))[0] / len(q) for q in (first, quanta))
        np.testing.assert_allclose(found, expected, atol=0.1)


def _encoded(quanta, heat, intensity):
    data, encoding = encode_tile(quanta, heat, intensity)
    return data, len(heat), encoding


def test_sorted_points_take_three_quarters_of_the_bytes_of_rows():
    quanta, heat, intensity = tile(np.random.default_rng(0))
    packed = encode_tile(quanta, heat, intensity)[0]
    assert len(packed) < 0.75 * len(zlib.compress(as_rows(quanta, heat, intensity), 9))


def as_rows(quanta, heat, intensity) -> bytes:
    return b"".join(part.astype(np.uint8).tobytes() for part in (quanta.T & 0xFF, quanta.T >> 8, heat, intensity))


@pytest.mark.parametrize("count", (1999, 2001))
def test_another_number_of_points_is_refused(count):
    data, _, encoding = _encoded(*tile(np.random.default_rng(0)))
    with pytest.raises(ValueError, match=f"expected {count}"):
        decode_tile(data, count, encoding)


def test_bytes_that_no_writer_wrote_are_refused():
    data, n, encoding = _encoded(*tile(np.random.default_rng(0)))
    with pytest.raises(ValueError, match="encoding 7 found"):
        decode_tile(data, n, 7)
    with pytest.raises(ValueError, match="bytes of steps found"):
        decode_tile(data + b"\0", n, encoding)
    for end in (0, 100, len(data) - 1):
        with pytest.raises(ValueError, match="expected"):
            decode_tile(data[:end], n, encoding)


@pytest.mark.parametrize("lengths", ([49], [48, 48], [48] * 70_000))
def test_places_outside_of_a_tile_are_refused(lengths):
    def deflated(row: bytes) -> bytes:
        stream = zlib.compressobj(wbits=-15)
        return stream.compress(row) + stream.flush()

    n, empty = len(lengths), deflated(bytes(len(lengths)))
    data = deflated(bytes(lengths)) + empty + empty + b"\xff" * -(-sum(k - 1 for k in lengths) // 8)
    with pytest.raises(ValueError, match="bits found"):
        decode_tile(data, n, SORTED)


# --- cells ----------------------------------------------------------------------------------------------------


def settled_tile(points, heat, intensity, levels=(4, 4)):
    """Points (N, 3), in cells, as what `encode_tile` takes, of heats and intensities of so many bits."""
    quantized, *values = quantize(points, heat, intensity, 1.0)
    tops = [2**bits - 1 for bits in levels]
    values = [np.round(np.round(v * top) / top * 255).astype(np.uint8) for v, top in zip(values, tops, strict=True)]
    return np.round(quantized * CELL_STEPS).astype(np.uint16), *values


def street(rng, n=4000):
    """Ground that rises, and a wall, with noise, in cells."""
    xyz = rng.uniform(0, 250, (n, 3))
    xyz[: n // 2, 2] = xyz[: n // 2, 0] / 40 + rng.normal(0, 0.2, n // 2) + 2
    xyz[n // 2 :, 1] = 80.0 + rng.normal(0, 0.2, n - n // 2)
    return xyz


@given(data=st.data(), n=st.integers(1, 80), reach=st.sampled_from([1.0, 9.0, 60.0, 511.0]), bits=st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_cells_come_back_whatever_is_in_them(data, n, reach, bits):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    tile = settled_tile(rng.uniform(0, reach, (n, 3)), rng.random(n), rng.random(n), (bits, 9 - bits))
    packed = coding._encode_cells(*tile)
    back = decode_tile(packed, len(tile[0]), CELLS)
    np.testing.assert_array_equal(rows(*back), rows(*tile))
    assert (np.diff(back[1].astype(int)) <= 0).all()


def test_a_street_of_cells_takes_a_third_of_the_bytes_of_sorted_points():
    rng = np.random.default_rng(0)
    points = street(rng, 60_000)
    heat, intensity = np.round(points[:, 0] / 250, 1), (points[:, 1] > 79) * 0.5
    tile = settled_tile(points, heat, intensity)
    packed, encoding = encode_tile(*tile)
    as_bytes = [(values * 255).astype(np.uint8) for values in (heat, intensity)]
    exact = encode_tile((points * CELL_STEPS).astype(np.uint16), *as_bytes)
    assert encoding == CELLS and exact[1] == SORTED
    assert len(packed) / len(tile[0]) < len(exact[0]) / len(points) / 3


def test_points_settle_near_where_they_were_and_walls_on_the_border_of_cells_stay():
    points = street(np.random.default_rng(0))
    points[2000:, 1] = 80 + np.random.default_rng(1).normal(0, 1e-6, 2000)
    quantized, heat, intensity = quantize(points, np.ones(4000), np.ones(4000), 1.0)
    wall = quantized[quantized[:, 2] > 12]
    assert np.abs(wall[:, 1] - 80).max() <= 1 / CELL_STEPS
    assert len(quantized) == len(np.unique(np.floor(quantized), axis=0))
    assert (heat == 1).all() and (intensity == 1).all()
    blocks, block = np.unique(np.floor(quantized / BLOCK_CELLS), axis=0, return_inverse=True)
    for k in range(len(blocks)):
        assert (np.ptp(quantized[block.ravel() == k] % 1, axis=0) < 1e-9).all()
    assert len(quantize(points[:0], np.ones(0), np.ones(0), 1.0)[0]) == 0


@given(data=st.binary(max_size=200), count=st.integers(0, 500))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_decoded_or_refused(data, count):
    try:
        points = decode_tile(data, count, CELLS)
    except ValueError as error:
        assert "found" in str(error)
    else:
        assert [len(part) for part in points] == [count] * 3


def test_cells_cut_short_or_too_many_are_refused():
    tile = settled_tile(street(np.random.default_rng(0)), np.ones(4000), np.ones(4000))
    count, (packed, encoding) = len(tile[0]), encode_tile(*tile)
    assert encoding == CELLS
    for wrong in (count - 1, count + 1):
        with pytest.raises(ValueError, match=f"expected {wrong}"):
            decode_tile(packed, wrong, encoding)
    for other in (packed[:1], packed[: len(packed) // 2], packed + b"12345", b"\x0a" + packed[1:]):
        with pytest.raises(ValueError, match="found"):
            decode_tile(other, count, encoding)
