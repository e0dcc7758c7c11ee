# SPDX-License-Identifier: Apache-2.0
"""tools/map_size.py on a small map."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, write_map

TOOL = Path(__file__).parent.parent / "tools" / "map_size.py"


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("map_size", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def wall(tmp_path):
    """A wall across two tiles, a point in every cell of 0.1 m, not at the map's origin."""
    y, z = (n.ravel() for n in np.meshgrid(np.arange(0, 40, 0.1), np.arange(0, 4, 0.1)))
    points = np.column_stack([np.full(len(y), 5.0), y, z]).astype(np.float32)
    levels = np.random.default_rng(0).integers(0, 16, (2, len(y))).astype(np.float32) / 15
    metadata = MapMetadata(origin=(100.0, 0.0, 0.0), tile_m=25.6, resolution_m=0.0125)
    write_map(tmp_path / "wall.lhmap", MapPoints(points, *levels, np.array([100.0, 0, 0])), metadata)
    return tmp_path / "wall.lhmap"


def test_every_format_gets_the_points_of_the_map(tool, wall):
    pytest.importorskip("lazrs")
    with LHMap.open(wall) as lhmap:
        grid, heat, intensity = tool.columns_of(lhmap)
        everything = lhmap.all_points()
    expected = np.round((everything.points - everything.points.min(axis=0)) / 0.0125)
    assert len(grid) == 16000 and heat.max() == intensity.max() == 15
    np.testing.assert_array_equal(grid[np.lexsort(grid.T)], expected[np.lexsort(expected.T)])
    rows = {row["format"]: row for row in tool.sizes(wall)}
    assert rows["LHMap"]["bytes"] == wall.stat().st_size and rows["LHMap"]["points"] == 16000
    for row in rows.values():
        assert row["bytes"] is None or row["bytes"] > row["positions_bytes"] > 0
    assert rows["LAZ"]["bytes"] is not None


def test_a_format_that_is_not_installed_has_no_size(tool, wall, monkeypatch, capsys):
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["map_size.py", str(wall)])
    tool.main()
    printed = capsys.readouterr().out
    assert printed.count("not installed") == 3 and "16,000 points" in printed and "wall.lhmap" in printed
