# SPDX-License-Identifier: Apache-2.0
"""Localization of a bag: the same bag gives the same poses, and nothing is left behind when it fails."""

import numpy as np
import pytest
from helpers.tiny_bag import SECOND, START, KnowingRefiner, NearRefiner, truth_at, write_bag, write_world

from lhmap_loc_ros.configuration import validate
from lhmap_loc_ros.datasets.tum import read_tum
from lhmap_loc_ros.errors import BagError, InputError
from lhmap_loc_ros.geometry import make_pose, pose_error
from lhmap_loc_ros.lhmap import LHMap, MapMetadata, write_map
from lhmap_loc_ros.localization.inputs import BagInputs
from lhmap_loc_ros.localization.offline import LocalizeConfig, localize_bag, write_run
from lhmap_loc_ros.localization.start import StartPose, given, near_truth
from lhmap_loc_ros.outputs import filling


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


def run(world, **arguments):
    truth = read_tum(world / "bag.tum")
    with LHMap.open(world / "walls.lhmap") as lhmap:
        return localize_bag(
            arguments.pop("bag", world / "bag"), lhmap,
            arguments.pop("start", lambda stamp: near_truth(truth, stamp, 3)), refiner=KnowingRefiner(), **arguments
        )  # fmt: skip


def test_poses_near_the_truth_and_the_same_twice(world):
    seen = []
    record = run(world, report=lambda *stage: seen.append(stage))
    assert seen[-1] == ("localize", 12, 12)
    assert pose_error(record.poses[-1], truth_at(int(record.stamps_ns[-1])))[0] < 0.15
    assert record.states[-1] == "TRACKING"
    assert (np.diff(record.arrival_s) > 0).all()
    np.testing.assert_array_equal(run(world).poses, record.poses)


def test_writes_poses_table_and_settings(world, tmp_path):
    record = run(world, max_images=5)
    (tmp_path / "out").mkdir()
    for name in ("metrics.json", "report.html"):
        (tmp_path / "out" / name).write_text("of another run")
    write_run(tmp_path / "out", record, LocalizeConfig())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"poses.tum", "poses.csv", "config.yaml"}
    np.testing.assert_allclose(read_tum(tmp_path / "out/poses.tum").poses, record.poses, atol=1e-5)
    assert len((tmp_path / "out/poses.csv").read_text().splitlines()) == 6
    assert "translation_per_metre" in (tmp_path / "out/config.yaml").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_odometry_is_optional_unless_named(world, tmp_path):
    bag = write_bag(tmp_path / "blind", without=("/odom",))
    assert len(run(world, bag=bag)) == 12
    with pytest.raises(BagError, match="/wheels"):
        run(world, config=LocalizeConfig(inputs=BagInputs(odometry="/wheels")))
    assert len(run(world, config=LocalizeConfig(inputs=BagInputs(odometry="")))) == 12


def test_a_lost_track_finds_its_place_along_the_mapped_path(world, tmp_path):
    with LHMap.open(world / "walls.lhmap") as lhmap:
        points = lhmap.all_points()
        poses = [truth_at(START + k * SECOND // 6) for k in range(-12, 40)]
        path = tuple((*T[:3, 3].tolist(), float(np.arctan2(T[1, 0], T[0, 0]))) for T in poses)
        write_map(tmp_path / "path.lhmap", points, MapMetadata(origin=lhmap.metadata.origin, path=path))
    beside = truth_at(START)
    start = StartPose(beside @ make_pose(np.eye(3), (8.0, 0, 0)), np.diag([0.04] * 3 + [1e-3] * 3))

    def states(**relocalize):
        config = validate(LocalizeConfig, {"tracker": {"states": {"lost_after_s": 0.3}}, "relocalize": relocalize})
        with LHMap.open(tmp_path / "path.lhmap") as lhmap:
            return localize_bag(world / "bag", lhmap, start, config, refiner=NearRefiner())

    record = states()
    assert "LOST" in record.states and record.states[-1] == "TRACKING"
    assert pose_error(record.poses[-1], truth_at(int(record.stamps_ns[-1])))[0] < 0.3
    assert states(enabled=False).states[-1] == "LOST"


def test_start_beside_the_map_is_an_error(world):
    with pytest.raises(InputError, match="0 points within 60 m"):
        run(world, start=given((0, 0, 0, 0)))


def test_start_errors_are_of_known_size():
    from lhmap_loc_ros.datasets.trajectory import Trajectory

    truth = Trajectory(np.array([START, START + 10**9]), np.array([truth_at(START), truth_at(START + 10**9)]))
    for seed in range(3):
        start = near_truth(truth, START, seed)
        assert pose_error(start.T_map_base, truth_at(START)) == pytest.approx((1.0, 3.0))
    assert not np.allclose(near_truth(truth, START, 1).T_map_base, near_truth(truth, START, 2).T_map_base)
    with pytest.raises(InputError, match="outside the truth"):
        near_truth(truth, START - 10**10, 0)
    with pytest.raises(InputError, match="four finite numbers"):
        given((1, 2, 3, float("nan")))


def test_wrong_kinds_and_frames_are_named(world):
    for inputs, words in (
        (BagInputs(image="/odom"), "expected an image"),
        (BagInputs(camera_frame="front_camera"), "front_camera"),
        (BagInputs(base_frame="robot"), "robot"),
    ):
        with pytest.raises(BagError, match=words):
            run(world, config=LocalizeConfig(inputs=inputs))


def test_folder_is_filled_at_once_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), filling(tmp_path / "a" / "b") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"), filling(tmp_path / "file"):
        pass
    for text in ("old", "new"):
        with filling(tmp_path / "out") as folder:
            (folder / "poses").write_text(text)
    assert (tmp_path / "out/poses").read_text() == "new"
