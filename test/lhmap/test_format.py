# SPDX-License-Identifier: Apache-2.0
"""The map file: what goes in comes out, and nothing damaged gets in."""

import dataclasses
import errno
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhmap_loc_ros.errors import InputError, MapFormatError
from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, best_points, layout, reader, write_map
from lhmap_loc_ros.lhmap.coding import CELLS, SORTED
from lhmap_loc_ros.lhmap.writer import write_tiles
from lhmap_loc_ros.mapping.quantization import quantize

ORIGINS = [(0.0, 0.0, 0.0), (455_123.4, 5_428_765.25, 112.0)]


def random_points(seed: int, n: int, extent: float = 70.0, origin=(0.0, 0.0, 0.0)) -> MapPoints:
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-extent, extent, (n, 3)) * (1, 1, 0.1)
    return MapPoints(xyz, rng.random(n), rng.random(n), origin)


def in_order(points: MapPoints) -> np.ndarray:
    """The points as rows (x, y, z, heat, intensity), map frame, in a canonical order."""
    rows = np.column_stack([points.points + points.origin, points.heat, points.intensity])
    return rows[np.lexsort(rows.T[::-1])]


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 400), tile=st.sampled_from([5.0, 25.0, 60.0]),
       resolution=st.sampled_from([0.001, 0.005, 0.02]), origin=st.sampled_from(ORIGINS))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_round_trip_within_quantisation(tmp_path_factory, seed, n, tile, resolution, origin):
    path = tmp_path_factory.mktemp("map") / "m.lhmap"
    points = random_points(seed, n, origin=origin)
    write_map(path, points, MapMetadata(tile_m=tile, resolution_m=resolution, origin=origin))
    with LHMap.open(path) as lhmap:
        back = lhmap.all_points()
        assert len(back) == n == lhmap.metadata.points
    # every point has its partner: match by nearest in the three coordinates
    if n:
        from scipy.spatial import cKDTree

        distance, match = cKDTree(points.points.astype(float)).query(back.points + (back.origin - points.origin))
        assert distance.max() <= resolution / 2 * 3**0.5 + 2e-5
        np.testing.assert_allclose(back.heat, points.heat[match], atol=0.5 / 255 + 1e-6)
        np.testing.assert_allclose(back.intensity, points.intensity[match], atol=0.5 / 255 + 1e-6)


@given(seed=st.integers(0, 1000), x=st.floats(-120, 120), y=st.floats(-120, 120), radius=st.floats(0, 90))
@settings(max_examples=60, deadline=None)
def test_crop_equals_brute_force(map_file, seed, x, y, radius):
    with LHMap.open(map_file) as lhmap:
        everything, crop = lhmap.all_points(), lhmap.crop((x, y, 3.0), radius, full_density_m=np.inf)
    rows = in_order(everything)
    distance = np.hypot(rows[:, 0] - x, rows[:, 1] - y)
    got = in_order(crop)
    # float32 coordinates decide differently only within a hair of the rim
    assert (distance < radius - 1e-4).sum() <= len(got) <= (distance < radius + 1e-4).sum()
    if len(got) == (distance < radius).sum():
        np.testing.assert_allclose(got, rows[distance < radius], atol=1e-4)


def test_crop_thins_what_is_far_so_that_a_camera_sees_it_as_dense_as_what_is_near(tmp_path):
    rng = np.random.default_rng(2)
    n = 60000
    ground = np.column_stack([rng.uniform(-50, 50, (n, 2)), np.zeros(n)]).astype(np.float32)
    same = np.full(n, 0.5, np.float32)
    write_map(tmp_path / "m.lhmap", MapPoints(ground, same, same, np.zeros(3)), MapMetadata())
    with LHMap.open(tmp_path / "m.lhmap") as lhmap:
        full, thin = (lhmap.crop((0, 0, 0), 50, full_density_m=reach) for reach in (np.inf, 10.0))
    assert {tuple(p) for p in thin.points} <= {tuple(p) for p in full.points}
    rings = np.array([0, 10, 15, 20, 30, 40, 50])
    distances = (np.hypot(*(crop.points + crop.origin)[:, :2].T) for crop in (full, thin))
    of_full, of_thin = (np.histogram(distance, rings)[0] for distance in distances)
    assert of_thin[0] == of_full[0]
    # the mean of (10 / d)^2 over a ring
    share = 2 * 10**2 * np.log(rings[2:] / rings[1:-1]) / (rings[2:] ** 2 - rings[1:-1] ** 2)
    np.testing.assert_allclose(of_thin[1:] / of_full[1:], share, rtol=0.1)


@pytest.fixture(scope="module")
def map_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "m.lhmap"
    write_map(path, random_points(1, 3000), MapMetadata(path_length_m=500.0, sources=("drive",)))
    return path


def test_tiles_are_ordered_by_heat_and_crops_by_budget(map_file):
    with LHMap.open(map_file) as lhmap:
        for number in range(len(lhmap.index)):
            assert (np.diff(lhmap.tile(number).heat) <= 0).all()
        crop = lhmap.crop((0, 0, 0), 60)
        best = lhmap.crop((0, 0, 0), 60, max_points=100)
        assert len(best) == 100
        assert best.heat.min() >= np.sort(crop.heat)[-100]
        assert best_points(best, 500) is best


@pytest.mark.parametrize("count", [0, 1, 700, 10_000])
def test_the_hottest_points_are_found_tile_by_tile(map_file, monkeypatch, count):
    monkeypatch.setattr(reader, "_MAX_PENDING", 100)
    with LHMap.open(map_file) as lhmap:
        expected, found = best_points(lhmap.all_points(), count), lhmap.hottest(count)
    for name in ("points", "intensity", "heat", "origin"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@given(seed=st.integers(0, 1000), x=st.floats(-90, 90), y=st.floats(-90, 90), size=st.floats(0, 60))
@settings(max_examples=30, deadline=None)
def test_pieces_of_a_rectangle_hold_all_in_it_and_no_tile_beside_it(map_file, seed, x, y, size):
    with LHMap.open(map_file) as lhmap:
        middle = np.mean(lhmap.metadata.bounds, axis=0)[:2]
        low, high = middle + (x, y), middle + (x + size, y + size / 2)
        everything, parts = lhmap.all_points(), list(lhmap.pieces(low, high))
        found = MapPoints.joined(parts, lhmap.metadata.origin)
        assert len(list(lhmap.pieces())) == len(lhmap.index)
    inside = [((p.points[:, :2] + p.origin[:2] > low) & (p.points[:, :2] + p.origin[:2] < high)).all(axis=1)
              for p in (everything, found)]  # fmt: skip
    np.testing.assert_array_equal(in_order(everything.select(inside[0])), in_order(found.select(inside[1])))
    reach = lhmap.metadata.tile_m + 0.1
    for part in parts:
        xy = part.points[:, :2] + part.origin[:2]
        assert (xy > low - reach).all() and (xy < high + reach).all()


def test_same_points_same_bytes(tmp_path, map_file):
    write_map(tmp_path / "again", random_points(1, 3000), MapMetadata(path_length_m=500.0, sources=("drive",)))
    assert (tmp_path / "again").read_bytes() == map_file.read_bytes()


def test_small_cache_gives_the_same_crop(map_file):
    with LHMap.open(map_file, cache_bytes=1) as small, LHMap.open(map_file) as large:
        for x in (0.0, 30.0, 0.0):
            a, b = small.crop((x, 0, 0), 50), large.crop((x, 0, 0), 50)
            np.testing.assert_array_equal(a.points, b.points)
            np.testing.assert_array_equal(a.origin, b.origin)


def test_what_was_prefetched_is_cropped_without_reading(map_file, monkeypatch):
    with LHMap.open(map_file) as lhmap:
        lhmap.prefetch((0, 0, 0), 60)
        lhmap._cache.wait()
        monkeypatch.setattr(lhmap._source, "read", lambda number: pytest.fail(f"tile {number} was read"))
        assert len(lhmap.crop((5, -5, 0), 50)) and lhmap.tiles_waited_for == 0


def test_what_was_prefetched_stays_whatever_the_limit_until_something_else_is(map_file):
    with LHMap.open(map_file, cache_bytes=1) as lhmap:
        everything = list(range(len(lhmap.index)))
        lhmap._cache.prefetch(everything)
        lhmap._cache.wait()
        for number in everything:
            lhmap._cache.get(number)
        assert lhmap.tiles_waited_for == 0
        lhmap._cache.prefetch(everything[-1:])
        lhmap._cache._evict(everything[-1])
        lhmap._cache.get(everything[-1])
        assert lhmap.tiles_waited_for == 0
        lhmap._cache.get(0)
        assert lhmap.tiles_waited_for == 1


def test_damaged_tile_is_refused_by_the_crop_that_needs_it_not_by_prefetching(tmp_path, map_file):
    path, content = tmp_path / "bad.lhmap", bytearray(map_file.read_bytes())
    with LHMap.open(map_file) as lhmap:
        content[int(lhmap.index["offset"][0]) + 5] ^= 1  # of the tile in the corner
    path.write_bytes(bytes(content))
    with LHMap.open(path) as lhmap:
        lhmap.prefetch((0, 0, 0), 200)
        lhmap._cache.wait()
        assert len(lhmap.crop((60, 60, 0), 10))
        with pytest.raises(MapFormatError, match="damaged"):
            lhmap.crop((-60, -60, 0), 20)


def test_crops_and_prefetching_in_several_threads_agree(map_file):
    with LHMap.open(map_file, cache_bytes=20_000) as lhmap, ThreadPoolExecutor(4) as pool:
        places = [(x, y, 0.0) for x in range(-60, 61, 20) for y in range(-60, 61, 20)]

        def visit(place):
            lhmap.prefetch(place, 40)
            return len(lhmap.crop(place, 30))

        assert list(pool.map(visit, places * 3)) == [len(lhmap.crop(place, 30)) for place in places] * 3


def test_metadata_and_info(map_file):
    with LHMap.open(map_file) as lhmap:
        info = lhmap.info()
        everything = lhmap.all_points()
    assert info["points"] == 3000 and info["frame"] == "map" and info["tiles"] == len(lhmap.index)
    assert info["bytes"] == os.path.getsize(map_file) and info["bytes_per_km"] == 2 * info["bytes"]
    np.testing.assert_allclose(info["bounds"][0], (everything.points + everything.origin).min(axis=0), atol=0.01)


def test_crop_of_empty_places(tmp_path, map_file):
    with LHMap.open(map_file) as lhmap:
        assert len(lhmap.crop((1e7, -1e7, 0), 100)) == 0
        assert len(lhmap.crop((0, 0, 0), 1e9, full_density_m=np.inf)) == 3000
    write_map(tmp_path / "empty", MapPoints.empty(), MapMetadata())
    with LHMap.open(tmp_path / "empty") as lhmap:
        assert len(lhmap.crop((0, 0, 0), 10)) == 0 == len(lhmap.all_points())
        assert lhmap.info()["bytes_per_km"] is None


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_flipped_bit_is_refused(tmp_path_factory, map_file, data):
    content = bytearray(map_file.read_bytes())
    # the head is small beside the tiles: half of the flips go there
    last = data.draw(st.sampled_from([1500, len(content) - 1]))
    position = data.draw(st.integers(0, last))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    assert_refused(tmp_path_factory.mktemp("bad") / "bad.lhmap", bytes(content))


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_truncation_is_refused(tmp_path_factory, map_file, data):
    content = map_file.read_bytes()
    assert_refused(tmp_path_factory.mktemp("bad") / "bad.lhmap", content[: data.draw(st.integers(0, len(content) - 1))])


def assert_refused(path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(MapFormatError, match="bad.lhmap"), LHMap.open(path) as lhmap:
        lhmap.verify()


@pytest.mark.parametrize("encoding", (0, 1))
def test_a_map_of_format_1_0_is_refused_with_the_way_to_convert_it(tmp_path, encoding):
    records = np.zeros(1, layout.INDEX)
    records["count"], records["size"], records["encoding"] = 1, 8, encoding
    write_tiles(tmp_path / "old.lhmap", MapMetadata(points=1), records, [bytes(8)])
    with pytest.raises(MapFormatError, match="old.lhmap: tiles of format 1.0 .*lhmap export.*lhmap import cloud"):
        LHMap.open(tmp_path / "old.lhmap")


def test_swapped_tiles_are_refused(tmp_path, map_file):
    with LHMap.open(map_file) as lhmap:
        index, start = lhmap.index.copy(), int(lhmap.index["offset"][0])
    content = map_file.read_bytes()
    # swap two tiles and forge a consistent index and head checksum
    index["offset"][[0, 1]] = index["offset"][[1, 0]]
    index["size"][[0, 1]] = index["size"][[1, 0]]
    index["crc"][[0, 1]] = index["crc"][[1, 0]]
    preamble = layout.parse_preamble(content[: layout.PREAMBLE.size], "map")
    head = content[layout.PREAMBLE.size : layout.PREAMBLE.size + preamble.header_bytes] + index.tobytes()
    preamble = dataclasses.replace(preamble, crc=layout.head_crc(preamble, head))
    path = tmp_path / "swapped.lhmap"
    path.write_bytes(preamble.pack() + head + content[start:])
    with LHMap.open(path) as lhmap, pytest.raises(MapFormatError, match=r"tile \(.*damaged"):
        lhmap.verify()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"# .PCD v0.7 - Point Cloud Data", "not an LHMap"),
        (layout.MAGIC, "truncated"),
        (struct.pack("<8sHHIIIQ", layout.MAGIC, 9, 1, 0, 0, 0, 32), "version 9.1 found, expected 1.x"),
    ],
)
def test_foreign_files_are_named(tmp_path, content, message):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(MapFormatError, match=message):
        LHMap.open(path)


def test_missing_file(tmp_path):
    with pytest.raises(MapFormatError, match="nowhere.*No such file"):
        LHMap.open(tmp_path / "nowhere")


def test_bad_points_leave_no_file(tmp_path):
    good = random_points(0, 10)
    for bad, message in (
        (MapPoints(good.points, good.intensity + 1, good.heat, good.origin), "intensity spans"),
        (MapPoints(good.points, good.intensity, np.full(10, np.nan), good.origin), "heat.*not finite"),
        (MapPoints(good.points * (0.01, 0.01, 100), good.intensity, good.heat, good.origin), "metres|m high"),
        (MapPoints(good.points * np.float32(1e12), good.intensity, good.heat, good.origin), "too far"),
    ):
        with pytest.raises(InputError, match=message):
            write_map(tmp_path / "m", bad, MapMetadata())
    with pytest.raises(InputError, match="shape"):
        MapPoints(good.points, good.intensity[:3], good.heat, good.origin)
    with pytest.raises(InputError, match="cannot be written"):
        write_map(tmp_path / "no" / "folder", good, MapMetadata())
    assert list(tmp_path.iterdir()) == []


def test_failed_write_keeps_the_old_map(tmp_path, map_file, monkeypatch):
    path = tmp_path / "m"
    path.write_bytes(map_file.read_bytes())
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(InputError, match=r"m: cannot be written \(disk full\)"):
        write_map(path, random_points(5, 50), MapMetadata())
    assert path.read_bytes() == map_file.read_bytes() and list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_or_a_folder_in_the_way_is_one_error(tmp_path, monkeypatch):
    (tmp_path / "m").mkdir()
    with pytest.raises(InputError, match=r"m: cannot be written \(Is a directory\)"):
        write_map(tmp_path / "m", random_points(5, 50), MapMetadata())
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(InputError, match=r"n: cannot be written \(No space left on device\)"):
        write_map(tmp_path / "n", random_points(5, 50), MapMetadata())
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


def test_path_of_the_mapping_drive_is_kept(tmp_path):
    driven = ((1.0, -2.5, 0.25, 3.1), (3.0, -2.5, 0.25, -3.1))
    write_map(tmp_path / "m", random_points(5, 50), MapMetadata(path=driven))
    with LHMap.open(tmp_path / "m") as lhmap:
        np.testing.assert_array_equal(lhmap.metadata.path, driven)
        with pytest.raises(ValueError, match="read-only"):
            lhmap.metadata.path[0] = 0.0


@pytest.mark.parametrize("path", ([(1.0, 2.0, 3.0)], [(0.0, 0.0, float("nan"), 0.0)], "north"))
def test_path_that_is_none_is_refused(path):
    with pytest.raises(ValueError, match="path"):
        MapMetadata(path=path)


def test_tile_too_large_for_16_bits():
    with pytest.raises(ValueError, match="16 bits"):
        MapMetadata(tile_m=100, resolution_m=0.001)


@pytest.fixture(scope="module")
def cells_file(tmp_path_factory):
    """A map of cells of 0.1 m: ground and a wall, over the borders of tiles and below zero."""
    rng = np.random.default_rng(0)
    xyz = rng.uniform((-4, -3, -0.3), (4, 3, -0.28), (4000, 3))
    xyz[:1500, 1:] = np.column_stack([np.full(1500, 1.03), rng.uniform(-0.3, 2, 1500)])
    xyz, heat, intensity = quantize(xyz, rng.integers(0, 4, 4000) / 3, rng.integers(0, 16, 4000) / 15, 0.1)
    path = tmp_path_factory.mktemp("map") / "cells.lhmap"
    levels = np.round(heat * 3) / 3, np.round(intensity * 15) / 15
    write_map(path, MapPoints(xyz, levels[1], levels[0], np.zeros(3)), MapMetadata(tile_m=25.6, resolution_m=0.0125))
    return path


@pytest.fixture(scope="module")
def empty_file(tmp_path_factory):
    """A map without points, and so without tiles."""
    path = tmp_path_factory.mktemp("map") / "empty.lhmap"
    write_map(path, random_points(0, 0), MapMetadata())
    return path


@pytest.mark.parametrize("kind, encoding", (("map_file", SORTED), ("cells_file", CELLS), ("empty_file", None)))
def test_the_reader_in_the_documentation_works(request, kind, encoding):
    map_file = request.getfixturevalue(kind)
    with LHMap.open(map_file) as lhmap:
        assert (lhmap.index["encoding"] == encoding).all()
    page = (Path(__file__).parents[2] / "docs" / "map-format.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    scope: dict = {}
    exec(code, scope)
    header, rows = scope["read"](map_file)
    with LHMap.open(map_file) as lhmap:
        everything = lhmap.all_points()
    assert header["points"] == len(rows) == len(everything)
    np.testing.assert_allclose(rows[:, :3], everything.points + everything.origin, atol=1e-4)
    np.testing.assert_allclose(rows[:, 3:], np.column_stack([everything.heat, everything.intensity]), atol=1e-6)
