# SPDX-License-Identifier: Apache-2.0
"""Point cloud files: what is written is read again, by us and by the libraries others use; what is wrong is named."""

import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import laspy
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement
from pypcd4 import Encoding, PointCloud

from lhmap_loc_ros.datasets.clouds import TILES_INDEX, Cloud, read_cloud, write_cloud, write_tiles
from lhmap_loc_ros.errors import InputError

SUFFIXES = (".ply", ".pcd", ".las", ".laz")


def cloud(n=200, seed=0, origin=(0, 0, 0), heat=True, intensity=True) -> Cloud:
    rng = np.random.default_rng(seed)
    columns = rng.random((2, n)).astype(np.float32)
    return Cloud(rng.uniform(-50, 50, (n, 3)) + origin, columns[0] if intensity else None, columns[1] if heat else None)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(n=st.integers(0, 60), seed=st.integers(0, 2**32 - 1), heat=st.booleans(), intensity=st.booleans())
@settings(max_examples=15, deadline=None)
def test_round_trip(tmp_path_factory, suffix, n, seed, heat, intensity):
    path, written = tmp_path_factory.mktemp("cloud") / f"a{suffix}", cloud(n, seed, heat=heat, intensity=intensity)
    write_cloud(path, written)
    read = read_cloud(path)
    np.testing.assert_allclose(read.xyz, written.xyz, atol=6e-4)
    assert (read.heat is not None) == heat and (read.intensity is not None or not n) == (intensity or not n)
    if heat:
        np.testing.assert_allclose(read.heat, written.heat, atol=1e-6)
    if intensity and n:
        np.testing.assert_allclose(read.intensity, written.intensity, atol=1e-5)


@pytest.mark.parametrize("suffix", (".ply", ".las", ".laz"))
def test_utm_coordinates_keep_their_millimetres(tmp_path, suffix):
    written = cloud(origin=(455_123.4, 5_428_765.25, 112.0))
    write_cloud(tmp_path / f"a{suffix}", written)
    np.testing.assert_allclose(read_cloud(tmp_path / f"a{suffix}").xyz, written.xyz, atol=6e-4)


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.ply").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^a.ply: cannot be written"):
        write_cloud("a.ply", cloud(5))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.ply"]


def test_utm_coordinates_are_refused_by_pcd_and_leave_no_file(tmp_path):
    with pytest.raises(InputError, match="float32.*around-origin"):
        write_cloud(tmp_path / "a.pcd", cloud(origin=(455_123.4, 5_428_765.25, 112.0)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ("a.ply", "new/a.ply"))
def test_nothing_is_written_outside_of_a_clouds_folder(tmp_path, monkeypatch, to):
    """What a home folder or a disk's mount point lies in belongs to others, or to another disk."""
    home, places = tmp_path / "home", []
    home.mkdir()
    mkdtemp = tempfile.mkdtemp

    def remembered(*arguments, dir, **options):
        places.append(Path(dir))
        return mkdtemp(*arguments, dir=dir, **options)

    monkeypatch.setattr(tempfile, "mkdtemp", remembered)
    write_cloud(home / to, cloud(5))
    write_tiles(home, {(0.0, 0.0): cloud(5)}.items(), 25.0)
    assert places == [home, home] and not [path for path in home.rglob("*") if path.name.endswith(".part")]
    assert len(read_cloud(home / to)) == len(read_cloud(home)) == 5


def test_tiles_are_written_and_read_as_autoware_does(tmp_path):
    parts = {(0.0, 0.0): cloud(50, 1), (25.0, -25.0): cloud(30, 2)}
    write_tiles(tmp_path / "map", parts.items(), 25.0)
    index = yaml.safe_load((tmp_path / "map" / TILES_INDEX).read_text())
    assert index == {"x_resolution": 25.0, "y_resolution": 25.0, "0_0.pcd": [0.0, 0.0], "25_-25.pcd": [25.0, -25.0]}
    read = read_cloud(tmp_path / "map")
    np.testing.assert_allclose(read.xyz, np.concatenate([p.xyz for p in parts.values()]), atol=1e-5)
    (tmp_path / "map" / TILES_INDEX).unlink()
    assert len(read_cloud(tmp_path / "map")) == 80


def test_tile_that_the_index_names_but_is_not_there(tmp_path):
    write_tiles(tmp_path, {(0.0, 0.0): cloud(50)}.items(), 25.0)
    (tmp_path / "pointcloud_map.pcd" / "0_0.pcd").unlink()
    with pytest.raises(InputError, match="0_0.pcd"):
        read_cloud(tmp_path)


def test_points_that_are_not_finite_are_left_out(tmp_path):
    written = cloud(10)
    written.xyz[3] = np.nan
    write_cloud(tmp_path / "a.ply", written)
    assert len(read_cloud(tmp_path / "a.ply")) == 9


def test_ascii_pcd_of_another_program(tmp_path):
    path = tmp_path / "a.pcd"
    path.write_text(
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity\n"
        "SIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 2\nHEIGHT 1\n"
        "VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 2\nDATA ascii\n1 2 3 51\n4 5 6 255\n"
    )
    read = read_cloud(path)
    np.testing.assert_allclose(read.xyz, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(read.intensity, [0.2, 1.0])


@pytest.mark.parametrize("suffix", (".las", ".laz"))
def test_las_of_another_program_has_its_own_full_scale(tmp_path, suffix):
    las = laspy.LasData(laspy.LasHeader(point_format=1, version="1.2"))
    las.x, las.y, las.z = np.random.default_rng(0).uniform(0, 9, (3, 256))
    las.intensity = np.arange(256)
    las.write(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(read_cloud(tmp_path / f"a{suffix}").intensity, np.arange(256) / 255, atol=1e-6)
    dim = read_cloud(tmp_path / f"a{suffix}", scale=510).intensity
    np.testing.assert_allclose(dim, np.arange(256) / 510, atol=1e-6)


@pytest.mark.parametrize("heat", (False, True))
def test_our_own_las_of_dim_points_stays_dim(tmp_path, heat):
    written = cloud(50, heat=heat)
    written.intensity[:] *= 0.003
    write_cloud(tmp_path / "a.las", written)
    if heat:  # saved again by another program
        las = laspy.read(tmp_path / "a.las")
        las.header.generating_software = "CloudCompare"
        las.write(tmp_path / "a.las")
    np.testing.assert_allclose(read_cloud(tmp_path / "a.las").intensity, written.intensity, atol=1e-5)


def test_tiles_have_one_full_scale(tmp_path):
    bright, dim = cloud(50, 1), cloud(50, 2)
    dim.intensity[:] *= 0.9 / 255  # at most 0.9 in a file whose full scale is 255
    write_tiles(tmp_path / "map", {(0.0, 0.0): bright, (25.0, 0.0): dim}.items(), 25.0)
    written = np.concatenate([bright.intensity, dim.intensity])
    np.testing.assert_allclose(read_cloud(tmp_path / "map").intensity, written, atol=1e-5)


@pytest.mark.parametrize("names", (("scalar_Intensity", "scalar_heat"), ("Intensity", "Heat")))
def test_fields_are_found_as_other_programs_name_them(tmp_path, names):
    rows = np.array([(1, 2, 3, 51, 0.5), (4, 5, 6, 255, 1)], [(name, "f4") for name in ("x", "y", "z", *names)])
    PlyData([PlyElement.describe(rows, "vertex")]).write(tmp_path / "a.ply")
    read = read_cloud(tmp_path / "a.ply")
    np.testing.assert_allclose(read.intensity, [0.2, 1])
    np.testing.assert_allclose(read.heat, [0.5, 1])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", (b"", b"nothing of the kind", None))
def test_file_of_another_kind_is_named(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"a{suffix}"):
        read_cloud(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_file_is_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_cloud(path, cloud())
    whole = path.read_bytes()
    for kept in (150, len(whole) // 2, *range(len(whole) - 700, len(whole))):  # between two points, too
        path.write_bytes(whole[:kept])
        with pytest.raises(InputError, match=f"a{suffix}"):
            read_cloud(path)


def test_ascii_pcd_without_points_is_named(tmp_path):
    write_cloud(tmp_path / "a.pcd", cloud(5))
    PointCloud.from_path(tmp_path / "a.pcd").save(tmp_path / "b.pcd", encoding=Encoding.ASCII)
    head, data, _ = (tmp_path / "b.pcd").read_bytes().partition(b"DATA ascii\n")
    (tmp_path / "b.pcd").write_bytes(head + data + b"1")
    with pytest.raises(InputError, match=r"b\.pcd"):
        read_cloud(tmp_path / "b.pcd")


@pytest.mark.parametrize("content", (b"\xff\xfe: 1", b"- 1", b"{", b""))
def test_an_index_of_tiles_that_is_none_is_named(tmp_path, content):
    write_tiles(tmp_path, {(0.0, 0.0): cloud(50)}.items(), 25.0)
    (tmp_path / TILES_INDEX).write_bytes(content)
    with pytest.raises(InputError, match=TILES_INDEX):
        read_cloud(tmp_path)


def test_other_types_are_refused(tmp_path):
    for use in (read_cloud, lambda path: write_cloud(path, cloud())):
        with pytest.raises(InputError, match=r"\.xyz.*\.ply"):
            use(tmp_path / "a.xyz")


def pcd(path, header, rows="1 2 3 51\n4 5 6 255\n"):
    path.write_text(header + "data ascii\n" + rows)
    return read_cloud(path)


@pytest.mark.parametrize("count", ("", "COUNT 0 0 0 0\n"))
def test_pcd_as_people_write_it(tmp_path, count):
    head = "VERSION 0.7\nFIELDS X Y Z reflectivity\nSIZE 4 4 4 4\nTYPE F F F F\n" + count
    read = pcd(tmp_path / "a.pcd", head + "WIDTH 2\nHEIGHT 1\nPOINTS 2\n")
    np.testing.assert_allclose(read.xyz, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(read.intensity, [0.2, 1.0])
    one = pcd(tmp_path / "b.pcd", head + "WIDTH 1\nHEIGHT 1\nPOINTS 1\n", "1 2 3 51\n")
    np.testing.assert_allclose(one.xyz, [[1, 2, 3]])


def test_pcd_of_the_first_versions_and_with_tabs(tmp_path):
    head = "VERSION 0.5\nCOLUMNS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 2\nHEIGHT 1\n"
    read = pcd(tmp_path / "a.pcd", head, "1\t2\t 3\r\n\r\n 4 5  6 \r\n")
    np.testing.assert_array_equal(read.xyz, [[1, 2, 3], [4, 5, 6]])


def test_autowares_index_lies_one_level_above_the_tiles(tmp_path):
    write_tiles(tmp_path / "map", {(0.0, 0.0): cloud(50)}.items(), 25.0)
    assert (tmp_path / "map" / TILES_INDEX).exists() and (tmp_path / "map/pointcloud_map.pcd/0_0.pcd").exists()
    assert len(read_cloud(tmp_path / "map")) == len(read_cloud(tmp_path / "map/pointcloud_map.pcd")) == 50


def test_a_folder_of_laz_tiles_is_one_cloud(tmp_path):
    for k in (0, 1):
        write_cloud(tmp_path / f"{k}.laz", cloud(30, seed=k))
    assert len(read_cloud(tmp_path)) == 60
    # a tile of water alone does not take the intensity of the others away
    write_cloud(tmp_path / "9.laz", replace(cloud(3), intensity=np.zeros(3, np.float32)))
    assert read_cloud(tmp_path).intensity.max() > 0.5
    (tmp_path / "9.laz").unlink()
    write_cloud(tmp_path / "2.ply", cloud(5))
    with pytest.raises(InputError, match=r"no files of one kind \(.laz, .ply\) found"):
        read_cloud(tmp_path)
    write_cloud(tmp_path / "3.pcd", cloud(7))
    assert len(read_cloud(tmp_path)) == 7


def test_tiles_in_a_folder_of_another_name_and_in_capitals(tmp_path):
    write_tiles(tmp_path / "map", {(0.0, 0.0): cloud(50)}.items(), 25.0)
    tiles = (tmp_path / "map/pointcloud_map.pcd").rename(tmp_path / "map/tiles")
    assert len(read_cloud(tmp_path / "map")) == 50
    (tiles / "0_0.pcd").rename(tiles / "A.PCD")
    (tmp_path / "map" / TILES_INDEX).unlink()
    assert len(read_cloud(tiles)) == 50


def test_mgrs_coordinates_of_up_to_100_km_fit_pcd(tmp_path):
    written = cloud(origin=(99_900.0, 99_900.0, 40.0))
    write_tiles(tmp_path / "map", {(99_850.0, 99_850.0): written}.items(), 100.0)
    np.testing.assert_allclose(read_cloud(tmp_path / "map").xyz, written.xyz, atol=4e-3)


def las(path, vlr=None, scale=0.001, xyz=None, **columns):
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales = np.full(3, scale)
    if vlr is not None:
        header.vlrs.append(vlr)
    data = laspy.LasData(header)
    data.x, data.y, data.z = np.arange(30.0).reshape(3, 10) if xyz is None else xyz
    for name, values in columns.items():
        data[name] = values
    data.write(path)
    return path


def test_noise_and_withheld_points_of_las_are_left_out_and_counted(tmp_path, caplog):
    path = las(tmp_path / "a.las", classification=[2, 7, 18, 2, 2, 2, 2, 2, 2, 2], withheld=[0] * 9 + [1])
    np.testing.assert_allclose(read_cloud(path).xyz[:, 0], [0, 3, 4, 5, 6, 7, 8])
    assert "3 of 10 points are noise or withheld" in caplog.text


def wkt(text):
    return laspy.vlrs.known.WktCoordinateSystemVlr(text)


FEET = 'LENGTHUNIT["US survey foot",0.304800609601219]'
METRE = 'LENGTHUNIT["metre",1]'
NEWER = f'PROJCRS["x",BASEGEOGCRS["x",ELLIPSOID["x",6378137,298,{METRE}]],CS[Cartesian,2],AXIS["x",east,{FEET}]]'


@pytest.mark.parametrize(
    "system, across, up",
    [
        ('PROJCS["x",GEOGCS["x",UNIT["degree",0.01745]],UNIT["ft",0.3048]]', 0.3048, 0.3048),
        (NEWER, 0.3048006, 0.3048006),
        (f'COMPOUNDCRS["x",{NEWER},VERTCRS["x",CS[vertical,1],AXIS["h",up,{METRE}]]]', 0.3048006, 1.0),
    ],
)
def test_units_of_las_by_texts_old_and_new(tmp_path, system, across, up):
    cloud = read_cloud(write_las_of(tmp_path / "a.las", system))
    np.testing.assert_allclose(cloud.xyz, [[100 * across, 200 * across, 50 * up]], rtol=1e-6)


def test_las_of_geocentric_coordinates_is_refused(tmp_path):
    with pytest.raises(InputError, match="centre of the earth"):
        read_cloud(write_las_of(tmp_path / "a.las", 'GEOCCS["WGS 84",UNIT["metre",1]]'))


def write_las_of(path, system):
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.vlrs.append(laspy.vlrs.known.WktCoordinateSystemVlr(system))
    las = laspy.LasData(header)
    las.x, las.y, las.z = np.array([[100.0, 200.0, 50.0]]).T
    las.write(path)
    return path


@pytest.mark.parametrize("offset, value", [(96, 2**31), (100, 2**32 - 1), (243, 2**32 - 1), (247, 2**40)])
def test_a_header_of_las_that_tells_of_more_than_there_is_is_refused_at_once(tmp_path, offset, value):
    data = bytearray(write_las_of(tmp_path / "a.las", NEWER).read_bytes())
    struct.pack_into("<Q" if value >= 2**32 else "<I", data, offset, value)
    (tmp_path / "a.las").write_bytes(data)
    with pytest.raises(InputError, match="found"):
        read_cloud(tmp_path / "a.las")


def test_las_in_feet_becomes_metres_and_in_degrees_is_refused(tmp_path):
    feet = 'PROJCS["here",GEOGCS["WGS 84",UNIT["degree",0.0174532925]],UNIT["US survey foot",0.3048006096012192]]'
    read = read_cloud(las(tmp_path / "f.las", wkt(feet)))
    np.testing.assert_allclose(read.xyz[:, 2], np.arange(20, 30) * 0.3048006096, atol=1e-6)
    for name, system, scale in (("d", wkt('GEOGCS["WGS 84",UNIT["degree",0.0174532925]]'), 0.001), ("e", None, 1e-7)):
        with pytest.raises(InputError, match="degrees found, expected metres"):
            read_cloud(las(tmp_path / f"{name}.las", system, scale))
