# SPDX-License-Identifier: Apache-2.0
"""Maps and point clouds turn into one another."""

import re

import numpy as np
import pytest
from helpers.tiny_bag import write_truth, write_walls
from scipy.spatial import cKDTree
from typer.testing import CliRunner

from lhmap_loc_ros import cli
from lhmap_loc_ros.datasets.clouds import Cloud, write_cloud
from lhmap_loc_ros.lhmap import LHMap


@pytest.fixture(scope="module")
def walls(tmp_path_factory):
    return write_walls(tmp_path_factory.mktemp("walls") / "walls.lhmap")


def lhmap(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def rows(path):
    with LHMap.open(path) as opened:
        points = opened.all_points()
    return np.column_stack([points.points + points.origin, points.heat, points.intensity])


@pytest.mark.parametrize("name", ("walls.ply", "walls.pcd", "walls.laz", "tiles"))
def test_exported_map_comes_back_the_same(tmp_path, walls, name):
    result = lhmap("export", walls, tmp_path / name)
    assert result.exit_code == 0 and "20000 points" in result.stdout
    (tmp_path / "fine.yaml").write_text("{resolution_m: 0.005}")
    result = lhmap("import", "cloud", tmp_path / name, tmp_path / "back.lhmap", "-c", tmp_path / "fine.yaml")
    assert result.exit_code == 0 and "20000 points" in result.stdout
    back, there = rows(tmp_path / "back.lhmap"), rows(walls)
    for columns, most in ((slice(3), 0.005), (slice(5), 0.05)):  # heat and intensity are rounded to 16 values
        a, b = back[:, columns], there[:, columns]
        assert cKDTree(a).query(b)[0].max() < most and cKDTree(b).query(a)[0].max() < most


def test_a_path_takes_an_exported_map_none_of_its_points(tmp_path, walls):
    write_truth(tmp_path / "path.tum", frames=40)
    assert lhmap("export", walls, tmp_path / "w.laz").exit_code == 0
    for budget, all_of_them in (((), True), (("--budget", 1), False)):
        run = ("import", "cloud", tmp_path / "w.laz", tmp_path / "back.lhmap", "--path", tmp_path / "path.tum", *budget)
        assert lhmap(*run).exit_code == 0
        with LHMap.open(tmp_path / "back.lhmap") as back:
            assert (back.metadata.points == 20_000) == all_of_them and len(back.metadata.path)


def test_coordinates_around_the_origin_fit_pcd(tmp_path, walls):
    with LHMap.open(walls) as opened:
        low = np.array(opened.metadata.bounds[0]) - opened.metadata.origin
    assert lhmap("export", walls, tmp_path / "w.pcd", "--around-origin").exit_code == 0
    assert lhmap("import", "cloud", tmp_path / "w.pcd", tmp_path / "w.lhmap").exit_code == 0
    with LHMap.open(tmp_path / "w.lhmap") as opened:
        np.testing.assert_allclose(opened.metadata.bounds[0], low, atol=0.01)


def test_foreign_cloud_is_merged_and_a_path_gives_heat_and_budget(tmp_path):
    rng = np.random.default_rng(0)
    n = 60_000
    along, side, up = rng.uniform(-10, 40, n), rng.choice([-6.0, 6.0], n), rng.uniform(0, 4, n)
    ground = rng.random(n) < 0.5
    xyz = np.column_stack([along, np.where(ground, rng.uniform(-6, 6, n), side), np.where(ground, 0, up)])
    write_cloud(tmp_path / "survey.las", Cloud(xyz + [1000, 2000, 5]))
    write_truth(tmp_path / "path.tum", frames=40)
    assert lhmap("import", "cloud", tmp_path / "survey.las", tmp_path / "plain.lhmap").exit_code == 0
    budget = ("--path", tmp_path / "path.tum", "--budget", 0.2)
    assert lhmap("import", "cloud", tmp_path / "survey.las", tmp_path / "valued.lhmap", *budget).exit_code == 0
    with LHMap.open(tmp_path / "plain.lhmap") as plain, LHMap.open(tmp_path / "valued.lhmap") as valued:
        assert 20_000 < plain.metadata.points < n and plain.metadata.heat_model is None
        assert valued.metadata.heat_model is not None and valued.metadata.path_length_m == pytest.approx(23.4, abs=0.1)
        heat = valued.all_points().heat
        assert len(heat) < plain.metadata.points / 3 and heat.std() > 0.02
        assert valued.path.stat().st_size < 4000 + 0.2e6 * valued.metadata.path_length_m / 1000


@pytest.mark.parametrize("heat", (None, np.ones(3000, np.float32)))
@pytest.mark.parametrize("far", (2e5, 1e12))
def test_a_cloud_with_an_outlier_is_named(tmp_path, heat, far):
    wall = np.random.default_rng(0).uniform((0, 0.04, 0), (8, 0.06, 4), (3000, 3))
    wall[1500] = far
    write_cloud(tmp_path / "a.ply", Cloud(wall, None, heat))
    result = lhmap("import", "cloud", tmp_path / "a.ply", tmp_path / "m")
    assert result.exit_code == (0 if heat is not None and far < 1e6 else 2) and "Traceback" not in result.output
    assert result.exit_code == 0 or "a.ply" in result.stderr


@pytest.mark.parametrize("budget", ((), ("--budget", 1)))
def test_a_path_in_another_frame_leaves_the_old_map(tmp_path, walls, budget):
    wall = np.random.default_rng(0).uniform((455_000, 5_428_000, 0), (455_050, 5_428_000.1, 4), (3000, 3))
    write_cloud(tmp_path / "utm.las", Cloud(wall))
    (tmp_path / "good.lhmap").write_bytes(walls.read_bytes())
    write_truth(tmp_path / "path.tum")
    result = lhmap(
        "import", "cloud", tmp_path / "utm.las", tmp_path / "good.lhmap", "--path", tmp_path / "path.tum", *budget
    )
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert re.search("utm.las: a cloud of x 45.* and y 542.* and a path of x 1000.0 to 100.* and y 2000", result.stderr)
    assert (tmp_path / "good.lhmap").read_bytes() == walls.read_bytes()


def test_a_path_that_passes_no_point_leaves_the_old_map(tmp_path, walls):
    """Within the extent of the cloud and still too far from all of it."""
    corners = np.random.default_rng(0).uniform(0, 2, (2000, 3))
    corners[::2] += (2000, 4000, 0)
    write_cloud(tmp_path / "far.las", Cloud(corners))
    (tmp_path / "good.lhmap").write_bytes(walls.read_bytes())
    (tmp_path / "plain.yaml").write_text("heat: none")
    write_truth(tmp_path / "path.tum")
    options = ("--path", tmp_path / "path.tum", "-c", tmp_path / "plain.yaml")
    result = lhmap("import", "cloud", tmp_path / "far.las", tmp_path / "good.lhmap", *options)
    assert result.exit_code == 2 and "good.lhmap: no point of" in result.stderr and "far.las" in result.stderr
    assert (tmp_path / "good.lhmap").read_bytes() == walls.read_bytes()


@pytest.mark.parametrize("heat", (None, np.ones(3000, np.float32)))
def test_a_cloud_does_not_go_on_with_what_was_begun_of_another(tmp_path, monkeypatch, heat):
    wall = np.random.default_rng(0).uniform((0, 0.04, 0), (8, 0.06, 4), (3000, 3))
    for name, side in (("a", 1.0), ("b", 5.0)):
        write_cloud(tmp_path / f"{name}.ply", Cloud(wall + (0, side, 0), np.full(3000, 0.4, np.float32), heat))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lhmap_loc_ros.mapping.builder.write_file", interrupted)
        assert lhmap("import", "cloud", tmp_path / "a.ply", tmp_path / "m.lhmap").exit_code == 130
    assert (tmp_path / "m.lhmap.work").exists()
    assert lhmap("import", "cloud", tmp_path / "b.ply", tmp_path / "m.lhmap").exit_code == 0
    assert rows(tmp_path / "m.lhmap")[:, 1] == pytest.approx(5.0, abs=0.1)


def test_wrong_requests_are_one_line_and_leave_no_file(tmp_path, walls):
    write_cloud(tmp_path / "empty.ply", Cloud(np.zeros((0, 3))))
    (tmp_path / "there").mkdir()
    for arguments, words in (
        (("import", "cloud", tmp_path / "empty.ply", tmp_path / "o.lhmap"), "no points"),
        (("import", "cloud", tmp_path / "none.ply", tmp_path / "o.lhmap"), "no such file"),
        (("import", "cloud", tmp_path / "none.ply", tmp_path / "there"), "is a folder, expected a name"),
        (("import", "cloud", walls, tmp_path / "o.lhmap"), "expected one of .ply"),
        (("import", "cloud", tmp_path / "empty.ply", tmp_path / "o.lhmap", "--budget", 1), "--path"),
        (("export", walls, tmp_path / "o.obj"), "expected one of .ply"),
        (("export", walls, tmp_path / "there"), "exists already"),
    ):
        result = lhmap(*arguments)
        assert result.exit_code == 2 and words in result.stderr and "Traceback" not in result.output, arguments
    assert not list(tmp_path.glob("o.*"))


@pytest.mark.parametrize("scale", (1000, 0.001))
def test_a_cloud_that_is_not_in_metres_is_refused(tmp_path, scale):
    wall = np.random.default_rng(0).uniform((0, 0.04, 0), (120, 0.06, 8), (3000, 3)) * scale
    write_cloud(tmp_path / "a.ply", Cloud(wall))
    result = lhmap("import", "cloud", tmp_path / "a.ply", tmp_path / "m")
    assert result.exit_code == 2 and "expected metres" in result.stderr and not (tmp_path / "m").exists()
