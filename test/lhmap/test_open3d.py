# SPDX-License-Identifier: Apache-2.0
"""A map for Open3D's algorithms: every point where it is in the map frame, with heat and intensity."""

import sys

import numpy as np
import pytest
from helpers.open3d_standin import open3d_or_standin

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, write_map
from lhmap_loc_ros.lhmap.open3d_cloud import load_open3d

ORIGIN = np.array([443_000.0, 5_400_000.0, 210.0])


@pytest.fixture
def opened(tmp_path):
    random = np.random.default_rng(0)
    columns = random.uniform(0, 60, (500, 3)), random.random(500), random.random(500)
    write_map(tmp_path / "m.lhmap", MapPoints(*columns, ORIGIN), MapMetadata(origin=tuple(ORIGIN)))
    with LHMap.open(tmp_path / "m.lhmap") as lhmap:
        yield lhmap


def test_a_cloud_of_open3d_has_positions_in_the_map_frame_heat_and_intensity(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "open3d", open3d_or_standin())
    cloud, points = opened.to_open3d(), opened.all_points()
    positions = cloud.point["positions"].numpy()
    assert positions.dtype == np.float64
    np.testing.assert_allclose(positions, points.points + ORIGIN, atol=1e-9)
    np.testing.assert_array_equal(cloud.point["heat"].numpy(), points.heat[:, None])
    np.testing.assert_array_equal(cloud.point["intensity"].numpy(), points.intensity[:, None])


def test_without_open3d_one_line_says_what_to_install(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(ModuleNotFoundError, match=r"open3d is not installed: pip install 'lhmap_loc_ros\[open3d\]'"):
        opened.to_open3d()


def test_system_libraries_that_open3d_misses_are_named(tmp_path, monkeypatch):
    (tmp_path / "open3d.py").write_text("raise ImportError('libusb-1.0.so.0: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    with pytest.raises(InputError, match=r"libusb-1\.0\.so\.0.*sudo apt install .*libusb-1\.0-0"):
        load_open3d()
