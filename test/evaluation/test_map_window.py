# SPDX-License-Identifier: Apache-2.0
"""A map in a window: a stand-in of Open3D keeps what it is shown."""

import sys

import numpy as np
import pytest
from helpers.open3d_standin import Visualizer, standin
from typer.testing import CliRunner

from lhmap_loc_ros import cli
from lhmap_loc_ros.lhmap import MapMetadata, MapPoints, write_map

ORIGIN = np.array([443_000.0, 5_400_000.0, 210.0])


@pytest.fixture
def map_file(tmp_path):
    heat = np.linspace(0, 1, 300)
    points = np.column_stack([np.linspace(0, 60, 300), np.zeros(300), np.zeros(300)])
    path = np.column_stack([ORIGIN + np.arange(5)[:, None] * [10.0, 0, 0], np.zeros(5)])
    metadata = MapMetadata(origin=tuple(ORIGIN), path=path)
    write_map(tmp_path / "m.lhmap", MapPoints(points, heat, heat, ORIGIN), metadata)
    return tmp_path / "m.lhmap"


@pytest.fixture(autouse=True)
def screen(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setitem(sys.modules, "open3d", standin())


def view(*arguments):
    return CliRunner().invoke(cli.app, ["view", *map(str, arguments)])


def test_a_window_shows_points_coloured_by_heat_and_the_mapping_path_around_the_origin(map_file):
    result = view(map_file, "--window")
    assert result.exit_code == 0 and "300 points" in result.stdout
    cloud, line = Visualizer.shown
    assert cloud.points.min() >= -1 and cloud.points.max() < 61
    hottest, coldest = cloud.points[:, 0].argmax(), cloud.points[:, 0].argmin()
    assert cloud.colors[hottest].sum() > 2 > 0.5 > cloud.colors[coldest].sum()
    assert len(line.lines) == 4 and line.points[-1, 0] == pytest.approx(40)


def test_a_window_shows_at_most_so_many_points(map_file):
    view(map_file, "--window", "--points", 50)
    assert 25 <= len(Visualizer.shown[0].points) <= 50


def test_a_window_shows_a_map_without_points(tmp_path):
    write_map(tmp_path / "empty.lhmap", MapPoints(np.zeros((0, 3)), np.zeros(0), np.zeros(0), ORIGIN), MapMetadata())
    result = view(tmp_path / "empty.lhmap", "--window")
    assert result.exit_code == 0 and len(Visualizer.shown[0].points) == 0


@pytest.mark.parametrize(
    "broken, words",
    [
        (lambda patch: patch.setitem(sys.modules, "open3d", None), "pip install 'lhmap_loc_ros[open3d]'"),
        (lambda patch: patch.delenv("DISPLAY"), "no display found"),
        (lambda patch: patch.setattr(Visualizer, "opens", False), "opens no window"),
    ],
)
def test_without_a_window_one_line_says_why(map_file, monkeypatch, broken, words):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    broken(monkeypatch)
    result = view(map_file, "--window")
    assert result.exit_code == 2 and result.stderr.startswith("error:") and words in result.stderr


def test_a_window_writes_no_page(map_file, tmp_path):
    result = view(map_file, "--window", "--out", tmp_path / "page.html")
    assert result.exit_code == 2 and "--window and --out" in result.stderr
