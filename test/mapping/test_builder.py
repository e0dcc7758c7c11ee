# SPDX-License-Identifier: Apache-2.0
"""Maps built from a street whose every surface is known."""

import re
import shutil

import numpy as np
import pytest
from helpers import box_world as world
from scipy.spatial import cKDTree

from lhmap_loc_ros.configuration import load, validate
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import write_kitti_poses, write_tum
from lhmap_loc_ros.errors import BagError, ConfigError, InputError, ModelError
from lhmap_loc_ros.geometry import pose_error, se3_exp, to_quaternion, transform
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.mapping import compensation, moving, noise, scans
from lhmap_loc_ros.mapping.builder import build_map
from lhmap_loc_ros.mapping.config import BuildConfig
from lhmap_loc_ros.mapping.poses import find_poses
from lhmap_loc_ros.mapping.scans import gaps, jumps, lidar_extrinsics, place_points
from lhmap_loc_ros.mapping.stages import plan
from lhmap_loc_ros.mapping.stages.pack import INTENSITY_LEVELS

CELLS = BuildConfig(heat="none", budget_mb_per_km=None)
PLAIN = CELLS.model_copy(update={"resolution_m": 0.02})
SCANS = 20


@pytest.fixture(autouse=True, scope="module")
def close_keyframes():
    """The drive is short: neighbouring scans have to show what moved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "KEYFRAME_SPACING_S", 0.15)
        yield


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return world.write_bag(tmp_path_factory.mktemp("bags") / "drive", SCANS, odometry=True)


@pytest.fixture(scope="module")
def built(bag):
    out = bag.parent / "street.lhmap"
    stages = []
    return build_map(bag, out, PLAIN, lambda *step: stages.append(step)), stages


def map_points(lhmap) -> np.ndarray:
    everything = lhmap.all_points()
    return everything.points + everything.origin


def near_the_moving_car(points: np.ndarray) -> np.ndarray:
    """Points in the lane where only the car has been, above the ground."""
    return (np.abs(points[:, 1] + 2.65) < 1.0) & (points[:, 2] > 0.3) & (points[:, 0] > 2) & (points[:, 0] < 28)


def surface_distance(lhmap) -> np.ndarray:
    points = map_points(lhmap)
    assert len(points) > 10_000
    # but for a few of the car's last positions, which no scan has looked through
    return world.surface_distance(points[np.abs(points[:, 1] + 2.65) > 1.0])


def test_points_lie_on_the_surfaces(built):
    distance = surface_distance(built[0])
    assert np.quantile(distance, 0.99) < 0.03 and distance.max() < 0.2


def test_cells_leave_surfaces_where_they_were_for_a_third_of_the_bytes(built, bag, tmp_path):
    lhmap, exact = build_map(bag, tmp_path / "cells.lhmap", CELLS), built[0]
    distance = surface_distance(lhmap)
    assert np.quantile(distance, 0.95) < 0.015 and np.quantile(distance, 0.99) < 0.04 and distance.max() < 0.2
    # some points meet
    assert 0.9 * exact.metadata.points < lhmap.metadata.points < exact.metadata.points
    assert lhmap.path.stat().st_size < exact.path.stat().st_size / 3


def test_the_map_describes_itself(built, bag):
    lhmap, stages = built
    info = lhmap.info()
    assert info["frame"] == "map" and info["sources"] == ["drive"] and info["build"]["heat"] == "none"
    assert info["build"]["poses"] == "tf"
    assert info["heat_model"] is None and info["points"] == len(map_points(lhmap))
    assert info["path_length_m"] == pytest.approx(world.trajectory(SCANS).length_m, abs=0.01)
    path = np.array(lhmap.metadata.path)
    assert path[0, :3] == pytest.approx(world.pose_at(world.START)[:3, 3], abs=0.1) and len(path) == 2
    assert [s for s in stages if s[0] == "accumulate"][-1] == ("accumulate", 1, 1)
    assert stages[-1] == ("write", 1, 1)


def test_intensity_is_the_rank_of_the_surface_among_all_returns(built, bag):
    everything = built[0].all_points()
    points = everything.points + everything.origin
    wall = (points[:, 1] > 7.9) & (points[:, 2] > 0.5)
    step = 1 / (INTENSITY_LEVELS - 1)
    with BagReader(bag) as reader:
        returns = np.concatenate([scan.intensity for scan in reader.messages(["/points"])])
    rank = (returns < 0.49).mean() + 0.5 * (np.abs(returns - 0.5) < 0.01).mean()
    assert np.median(everything.intensity[wall]) == pytest.approx(rank, abs=step / 2 + 0.02)
    assert built[0].metadata.intensity == "rank"
    assert np.allclose(everything.intensity / step, np.round(everything.intensity / step), atol=0.05)


def test_what_moved_is_gone_and_what_stood_is_there(built, bag, tmp_path):
    points = map_points(built[0])
    everything = BuildConfig(heat="none", budget_mb_per_km=None, remove_moving=False)
    naive = map_points(build_map(bag, tmp_path / "m", everything))
    before, after = near_the_moving_car(naive).sum(), near_the_moving_car(points).sum()
    assert before > 200 and after < 0.03 * before

    def parked(p):
        return ((p > (7.9, 3.9, 0.1)) & (p < (10.1, 6.1, 1.6))).all(axis=1).sum()

    assert parked(points) > 0.97 * parked(naive) > 100
    # nothing else went
    assert (world.surface_distance(points) < 0.02).sum() > 0.985 * (world.surface_distance(naive) < 0.02).sum()


def test_scans_without_compensation_smear(bag, tmp_path, monkeypatch):
    """The check above would notice: the same bag with the times ignored."""
    from lhmap_loc_ros.datasets import decoding

    monkeypatch.setattr(decoding, "time_offsets_ns", lambda *_: None)
    points = map_points(build_map(bag, tmp_path / "m", PLAIN))
    assert np.quantile(world.surface_distance(points), 0.99) > 0.1


def test_scans_without_times(tmp_path):
    bag = world.write_bag(tmp_path / "b", 4, with_car=False, times=False)
    points = map_points(build_map(bag, tmp_path / "m", PLAIN))
    assert np.quantile(world.surface_distance(points), 0.99) < 0.02


def test_poses_from_every_source(tmp_path):
    bag = world.write_bag(tmp_path / "b", 6, chain=True, odometry=True)
    stamps = world.START + np.arange(6) * world.SWEEP_NS
    truth = world.trajectory(6)
    write_tum(tmp_path / "t.tum", truth)
    write_kitti_poses(tmp_path / "k.txt", truth.at(stamps))
    cases = {
        "file": BuildConfig(poses=str(tmp_path / "t.tum")),
        "tf": BuildConfig(),
        "odometry": BuildConfig(tf_topic="/none"),
    }
    with BagReader(bag) as reader:
        for source, config in cases.items():
            found, origin = find_poses(reader, config, lidar_extrinsics(reader, config))
            assert origin == source
            for stamp in stamps:
                assert pose_error(found.at(stamp), world.pose_at(stamp))[0] < 0.01
        kitti, _ = find_poses(reader, BuildConfig(poses=str(tmp_path / "k.txt")), world.T_BASE_LIDAR)
    np.testing.assert_array_equal(kitti.stamps_ns, stamps)


def write_moves(path, links, fixed, odometry_child=None):
    """A bag of one scan and two moments of a drive: {(parent, child): moves?} and the transforms that do not move."""
    moves = [se3_exp([k, 0.5, 0, 0, 0, 0.3]) for k in (1, 2)]
    with BagWriter(path) as writer:
        writer.tf_static(world.START, {("base_link", "lidar"): world.T_BASE_LIDAR, **fixed})
        for k, pose in enumerate(moves):
            if links:
                writer.tf(world.START + k * world.SWEEP_NS, dict.fromkeys(links, pose))
            if odometry_child is not None:
                writer.odometry("/odom", world.START + k * world.SWEEP_NS, "odom", odometry_child, pose)
        writer.points("/points", world.START + world.SWEEP_NS, "lidar", np.ones((200, 3)))
    return path, np.array(moves)


def poses_of(path, **settings):
    with BagReader(path) as reader:
        trajectory, origin = find_poses(reader, BuildConfig(**settings), world.T_BASE_LIDAR)
    return trajectory.poses, origin


def test_poses_by_tf_go_through_frames_that_do_not_move(tmp_path):
    above, below, wrong = se3_exp([7, 8, 0, 0, 0, 1]), se3_exp([0.1, 0, 0.3, 0, 0.2, 0]), se3_exp([9, 9, 9, 0, 0, 0])
    fixed = {("map", "odom"): above, ("base_footprint", "base_link"): below}
    path, moves = write_moves(tmp_path / "a", [("odom", "base_footprint")], fixed)
    poses, origin = poses_of(path)
    assert origin == "tf"
    np.testing.assert_allclose(poses, above @ moves @ below, atol=1e-9)
    # what moves counts, whatever was announced as fixed before
    path, moves = write_moves(tmp_path / "b", [("odom", "base_link")], {**fixed, ("odom", "base_link"): wrong})
    np.testing.assert_allclose(poses_of(path)[0], above @ moves, atol=1e-9)
    # transforms that never move are no drive
    path, _ = write_moves(tmp_path / "c", [("elsewhere", "else")], {("map", "base_link"): wrong}, "base_link")
    assert poses_of(path)[1] == "odometry"
    with pytest.raises(BagError, match="/tf has no transforms from map to base_link, with those of /tf_static neither"):
        poses_of(path, poses="tf")


def test_poses_of_another_source_than_tf_are_told_where_there_is_one(tmp_path, caplog):
    bag, _ = write_moves(tmp_path / "b", {("map", "base_link")}, {}, "base_link")
    assert poses_of(bag, map_frame="world")[1] == "odometry"
    assert "no transforms from world to base_link (map_frame, base_frame), but map -> base_link" in caplog.text


def test_odometry_of_another_frame_of_the_vehicle(tmp_path):
    behind = se3_exp([-1.5, 0.2, 0, 0, 0, 0.4])
    path, moves = write_moves(tmp_path / "a", [], {("base_link", "imu"): behind}, "imu")
    np.testing.assert_allclose(poses_of(path)[0], moves @ np.linalg.inv(behind), atol=1e-9)
    for child in ("base_link", ""):
        path, moves = write_moves(tmp_path / f"b{child}", [], {}, child)
        np.testing.assert_allclose(poses_of(path)[0], moves, atol=1e-9)
    path, _ = write_moves(tmp_path / "c", [], {}, "wheels")
    with pytest.raises(BagError, match="/odom tells the poses of 'wheels', expected those of 'base_link'"):
        poses_of(path)
    with pytest.raises(BagError, match="/odom tells the poses of 'wheels'"):
        poses_of(path, tf_static_topic="/none")


def test_poses_from_the_scans_alone(tmp_path):
    pytest.importorskip("kiss_icp")
    bag = world.write_bag(tmp_path / "b", 8, tf=False, with_car=False, rings=48)
    with BagReader(bag) as reader:
        found, origin = find_poses(reader, BuildConfig(), lidar_extrinsics(reader, BuildConfig()))
    assert origin == "icp" and len(found) == 8
    start = world.pose_at(found.stamps_ns[0])
    moved = start @ found.poses[-1]
    distance, angle = pose_error(moved, world.pose_at(found.stamps_ns[-1]))
    # few features and few scans: what counts is that frames and times are those of kiss-icp
    assert distance < 0.5 and angle < 2.5


@pytest.mark.parametrize("max_gap_s, left_out", [(0.3, 4), (2.0, 0)])
def test_scans_where_the_poses_are_far_apart_are_left_out(bag, tmp_path, caplog, monkeypatch, max_gap_s, left_out):
    """Poses of 1 Hz are few, those of a vehicle that drove on without any for longer are gone."""
    drive = world.trajectory(SCANS)
    start, stop = world.START + np.array([12, 16]) * world.SWEEP_NS
    known = (drive.stamps_ns <= start) | (drive.stamps_ns >= stop)
    write_tum(tmp_path / "t.tum", Trajectory(drive.stamps_ns[known], drive.poses[known]))
    monkeypatch.setattr(scans, "MAX_GAP_S", max_gap_s)
    config = PLAIN.model_copy(update={"poses": str(tmp_path / "t.tum")})
    build_map(bag, tmp_path / "m", config)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [words.split(" are left out")[0] for words in said] == [f"{left_out} of 20 scans"] * bool(left_out)


def test_who_stands_for_long_has_poses_all_the_time():
    stamps = np.array([0, 1, 6, 12, 40]) * 10**9
    poses = np.array([se3_exp([x, 0, 0, 0, 0, turn]) for x, turn in ((0, 0), (8, 0), (8.1, 0.1), (8.2, 0.6), (9, 0.6))])
    drive = Trajectory(stamps, poses)
    np.testing.assert_array_equal(gaps(drive, 2.0), [[6 * 10**9, 12 * 10**9]])  # it turned
    np.testing.assert_array_equal(gaps(drive, 0.9), [[0, 10**9], [6 * 10**9, 12 * 10**9]])
    assert gaps(drive, 6.0).shape == (0, 2)


def test_two_bags_make_one_map(bag, tmp_path):
    more = world.write_bag(tmp_path / "more", 4, with_car=False, first=SCANS)
    lhmap = build_map([bag, more], tmp_path / "m", PLAIN)
    assert lhmap.metadata.sources == ("drive", "more")
    points = map_points(lhmap)
    assert np.quantile(world.surface_distance(points), 0.99) < 0.03
    assert near_the_moving_car(points).sum() < 10


def test_bags_of_one_run_take_their_parts_of_its_file_of_poses(tmp_path):
    parts = [world.write_bag(tmp_path / str(k), 5, with_car=False, tf=False, first=5 * k) for k in range(2)]
    write_tum(tmp_path / "run.tum", world.trajectory(10))
    lhmap = build_map(parts, tmp_path / "m", PLAIN.model_copy(update={"poses": str(tmp_path / "run.tum")}))
    stamps = np.linspace(world.START, world.START + 10 * world.SWEEP_NS, 101).astype(np.int64)
    whole = Trajectory(stamps, world.pose_at(stamps))
    assert lhmap.metadata.path_length_m == pytest.approx(whole.length_m, abs=0.1)
    drives = []
    for part in parts:
        with BagReader(part) as reader:
            drives.append(find_poses(reader, BuildConfig(poses=str(tmp_path / "run.tum")), world.T_BASE_LIDAR)[0])
    # from the last pose before the first point to the first one after the last point
    borders = world.START + np.array([[0, 5], [5, 10]]) * world.SWEEP_NS
    np.testing.assert_array_equal([[d.stamps_ns[0], d.stamps_ns[-1]] for d in drives], borders)


def test_bags_over_the_very_same_poses_lose_no_points(bag, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SEGMENT_M", 0.7)  # of a short drive several
    config = BuildConfig(heat="none", budget_mb_per_km=5.0, remove_moving=False)
    twin = shutil.copytree(bag, tmp_path / "twin")
    once, twice = build_map(bag, tmp_path / "1", config), build_map([bag, twin], tmp_path / "2", config)
    a, b = map_points(once), map_points(twice)
    # the path driven twice pays twice
    assert twice.metadata.points > 1.3 * once.metadata.points > 100
    assert cKDTree(b).query(a)[0].max() < 0.2


@pytest.mark.parametrize("budget", (10.0, 3.0, 1.0))
def test_the_file_takes_what_the_budget_pays_for(bag, tmp_path, budget):
    # as coordinates of 2 cm, points take ten megabytes and more; as cells, three
    step = 0.02 if budget > 3 else None
    lhmap = build_map(bag, tmp_path / "m", BuildConfig(heat="none", budget_mb_per_km=budget, resolution_m=step))
    facts = lhmap.info()
    header = len(lhmap.metadata.model_dump_json()) + 32
    assert 0.8 < (facts["bytes"] - header) / (budget * 1000 * facts["path_length_m"]) < 1.02


def test_same_bag_same_bytes(built, bag, tmp_path, monkeypatch):
    monkeypatch.chdir(bag)
    build_map(".", tmp_path / "again", PLAIN)
    assert (tmp_path / "again").read_bytes() == built[0].path.read_bytes()


# --- what can be wrong -----------------------------------------------------------------------------------------


def test_a_map_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a folder, expected a name for a file"):
        build_map(tmp_path / "no bag", tmp_path)
    with pytest.raises(InputError, match="file: is a file, expected a folder"):
        build_map(tmp_path / "no bag", tmp_path / "file" / "m")


def test_folders_on_the_way_to_the_map_are_made(tmp_path):
    bag = world.write_bag(tmp_path / "b", 4, with_car=False)
    assert len(map_points(build_map(bag, tmp_path / "new" / "m", PLAIN, work=tmp_path / "work"))) > 1000


def test_a_missing_heat_network_is_told_at_once(bag, tmp_path):
    config = BuildConfig(heat=str(tmp_path / "none.onnx"))
    with pytest.raises(ModelError, match="onnx"):
        build_map(bag, tmp_path / "m", config)
    assert not (tmp_path / "m").exists()


def test_a_failing_stage_leaves_the_old_map(built, bag, tmp_path, monkeypatch):
    old = tmp_path / "m"
    old.write_bytes(built[0].path.read_bytes())

    def fails(_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr("lhmap_loc_ros.mapping.stages.pack.PackJob.run", fails)
        build_map(bag, old, PLAIN)
    LHMap.open(old).verify()
    # what was done before is there, to go on with; nothing else is
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m.work"]
    build_map(bag, old, PLAIN)
    assert list(tmp_path.iterdir()) == [old]


def test_a_map_of_no_points_does_not_replace_one(built, bag, tmp_path, monkeypatch):
    old = tmp_path / "m"
    old.write_bytes(built[0].path.read_bytes())
    monkeypatch.setattr(noise, "MIN_NEIGHBOURS", 100_000)
    with pytest.raises(InputError, match=r"m: no point of .*drive is left.* within 60 m of the path"):
        build_map(bag, old, PLAIN)
    assert old.read_bytes() == built[0].path.read_bytes()


def test_what_was_done_before_bad_input_is_kept(bag, tmp_path, monkeypatch):
    def refuses(_):
        raise InputError("points of tile (0, 0) lie between 0 and 90 m")

    with monkeypatch.context() as patch:
        patch.setattr("lhmap_loc_ros.mapping.stages.pack.PackJob.run", refuses)
        with pytest.raises(InputError, match=r"between 0 and 90 m; .*m\.work keeps the results so far"):
            build_map(bag, tmp_path / "m", PLAIN)
    # nor does a slip of the next command cost it
    with pytest.raises(BagError, match=r"no topic /velodyne.*m\.work keeps"):
        build_map(bag, tmp_path / "m", BuildConfig(heat="none", points_topic="/velodyne"))
    stages = {}
    build_map(bag, tmp_path / "m", PLAIN, lambda stage, done, total: stages.setdefault(stage, (done, total)))
    assert stages["accumulate"] == (1, 1) and stages["clean"][0] == stages["clean"][1] > 0
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


def test_bags_that_cannot_be_mapped(bag, tmp_path):
    with pytest.raises(BagError, match=r"no topic /velodyne; the bag has: .*/points .*FILE set points_topic: /points"):
        build_map(bag, tmp_path / "m", BuildConfig(heat="none", points_topic="/velodyne"))
    with BagWriter(tmp_path / "query") as query:
        query.tf_static(0, {("base_link", "camera"): np.eye(4)})
    with pytest.raises(BagError, match=r"no topic /points; .*: is it the bag of the mapping run\?"):
        build_map(tmp_path / "query", tmp_path / "m", BuildConfig(heat="none"))
    with pytest.raises(BagError, match="no transforms from world to base_link"):
        build_map(bag, tmp_path / "m", BuildConfig(heat="none", poses="tf", map_frame="world"))
    with pytest.raises(BagError, match="no transform from 'lidar' to 'chassis'"):
        build_map(bag, tmp_path / "m", BuildConfig(heat="none", base_frame="chassis"))
    with pytest.raises(BagError, match="no scan on /points has points in range"):
        build_map(bag, tmp_path / "m", BuildConfig(heat="none", min_range_m=90, max_range_m=95))
    with pytest.raises(
        ConfigError, match="poses: found 'gps', expected auto, tf, odometry, icp, or a TUM or KITTI file"
    ):
        build_map(bag, tmp_path / "m", BuildConfig(heat="none", poses="gps"))
    with pytest.raises(ConfigError, match="needs poses in one map frame"):
        build_map([bag, bag], tmp_path / "m", BuildConfig(heat="none", poses="odometry"))
    (tmp_path / "early.tum").write_text("1 0 0 0 0 0 0 1\n2 0 0 0 0 0 0 1\n")
    with pytest.raises(InputError, match="early.tum: poses from 1000000000 to 2000000000 ns do not cover"):
        build_map(bag, tmp_path / "m", BuildConfig(heat="none", poses=str(tmp_path / "early.tum")))
    assert not (tmp_path / "m").exists() and not (tmp_path / "m.work").exists()


@pytest.mark.parametrize(
    "values, message",
    [
        ({"voxel_m": -1}, "voxel_m: found -1"),
        ({"voxels": 0.1}, "voxels"),
        ({"poses_file": "a.tum"}, "poses_file: no longer a setting: `poses` is the path of the file"),
        ({"resolution_m": 0.0003}, "resolution_m: 0.0003 found, expected at least 0.00039: a tile of 25.6 m"),
        ({"voxel_m": 0.003}, "voxel_m: 0.003 found, expected at least 0.0031: a tile of 25.608 m"),
    ],
)
def test_impossible_configurations_name_the_field(values, message):
    with pytest.raises(ConfigError, match=message):
        validate(BuildConfig, values, "build.yaml")


@pytest.mark.parametrize("name", ("stretch_m", "tile_m", "fair_share", "heat_levels"))
def test_a_setting_that_was_decided_by_measurement_is_refused_in_one_line(tmp_path, name):
    (tmp_path / "build.yaml").write_text(f"voxel_m: 0.1\n{name}: 7\n")
    with pytest.raises(ConfigError, match=rf"build.yaml: {name}: no longer a setting: .*; delete the line$"):
        load(BuildConfig, tmp_path / "build.yaml")


def test_parts_that_were_settings_before_name_the_setting_to_use():
    with pytest.raises(ConfigError, match="moving: no longer a part: `remove_moving: false` keeps what moved"):
        validate(BuildConfig, {"moving": {"enabled": False}})
    with pytest.raises(ConfigError, match="heat_views: no longer a part: `heat: NAME`"):
        validate(BuildConfig, {"heat_views": {"model": "mine"}})


def test_every_setting_describes_itself():
    for name, field in BuildConfig.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert field.annotation not in (float, int) or re.search("metres|seconds|megabytes", field.description), name


# --- what people really bring --------------------------------------------------------------------------------------


def compensated_bag(path, scans=12, standing=0):
    """A bag whose points lie where a sensor would have measured them that stood as at the stamp; with times.

    Before it drives on, it stands for some scans.
    """
    raw = world.write_bag(path.with_name(f"{path.name}_raw"), scans, with_car=False)
    drive = world.trajectory(scans).moved(world.T_BASE_LIDAR)
    with BagReader(raw) as reader, BagWriter(path) as writer:
        writer.tf_static(world.START, {("base_link", "lidar"): world.T_BASE_LIDAR})
        at_rest = world.START - 10**9 - np.arange(standing + 2, -1, -1) * world.SWEEP_NS
        for stamp in at_rest.tolist():
            writer.tf(stamp, {("map", "base_link"): world.pose_at(world.START)})
        for stamp, pose in zip(world.trajectory(scans).stamps_ns.tolist(), world.trajectory(scans).poses, strict=True):
            writer.tf(stamp, {("map", "base_link"): pose})
        first = next(iter(reader.messages(["/points"])))
        for stamp in at_rest[1 : standing + 1].tolist():
            writer.points("/points", stamp, "lidar", first.points, first.intensity, time=first.offsets_ns / 1e9)
        for scan in reader.messages(["/points"]):
            there = place_points(scan.points, scan.offsets_ns, scan.stamp_ns, drive)
            points = transform(np.linalg.inv(drive.at(scan.stamp_ns)), there)
            time = scan.offsets_ns / 1e9
            writer.points("/points", scan.stamp_ns, "lidar", points, scan.intensity, time=time)
    return path


def is_compensated_after_standing(folder):
    """What is told of a vehicle that stands for longer than scans of a drive are looked at."""
    standing = compensated_bag(folder / "s", standing=8)
    with pytest.MonkeyPatch.context() as patch, BagReader(standing) as reader:
        patch.setattr(compensation, "_MAX_READ", 8)
        poses, _ = find_poses(reader, PLAIN, world.T_BASE_LIDAR)
        return compensation.is_compensated(reader, PLAIN, poses.moved(world.T_BASE_LIDAR))


def test_clouds_that_were_compensated_before_are_not_compensated_twice(tmp_path, caplog):
    bag = compensated_bag(tmp_path / "b")
    points = map_points(build_map(bag, tmp_path / "m", PLAIN))
    assert np.quantile(world.surface_distance(points), 0.98) < 0.05
    assert "compensated for motion already" in caplog.text
    assert is_compensated_after_standing(tmp_path)
    # whoever knows better
    forced = map_points(build_map(bag, tmp_path / "f", PLAIN.model_copy(update={"point_times": "s"})))
    assert np.quantile(world.surface_distance(forced), 0.98) > 0.1


def test_clouds_as_they_were_measured_keep_their_times(bag, tmp_path, caplog):
    config = PLAIN.model_copy(update={"max_range_m": 40.0})
    build_map(bag, tmp_path / "m", config)
    assert "compensated" not in caplog.text


@pytest.mark.parametrize("jump", ([6, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, np.radians(35)]))
def test_scans_where_the_poses_jump_are_left_out(tmp_path, caplog, jump):
    bag = world.write_bag(tmp_path / "b", 10, with_car=False, tf=False)
    drive = world.trajectory(10)
    poses = drive.poses.copy()
    middle = np.searchsorted(drive.stamps_ns, world.START + 5 * world.SWEEP_NS + world.SWEEP_NS // 2)
    poses[middle] = poses[middle] @ se3_exp(jump)
    write_tum(tmp_path / "t.tum", Trajectory(drive.stamps_ns, poses))
    build_map(bag, tmp_path / "m", PLAIN.model_copy(update={"poses": str(tmp_path / "t.tum")}))
    assert "1 of 10 scans are left out" in caplog.text and "jump" in caplog.text


def test_nobody_drove_over_a_jump_of_the_poses(tmp_path):
    """As of a receiver that says 0, 0 until it knows."""
    bag = world.write_bag(tmp_path / "b", 20, with_car=False, tf=False)
    drive = world.trajectory(20)
    poses = drive.poses.copy()
    poses[:60, :2, 3] += 20_000
    write_tum(tmp_path / "t.tum", Trajectory(drive.stamps_ns, poses))
    lhmap = build_map(bag, tmp_path / "m", PLAIN.model_copy(update={"poses": str(tmp_path / "t.tum")}))
    assert 6.0 < lhmap.metadata.path_length_m < drive.length_m
    assert sorted({round(x / 1000) for x, *_ in lhmap.metadata.path}) == [0, 20]


def test_sparse_poses_of_a_vehicle_that_speeds_up_do_not_jump():
    seconds = np.arange(12.0)
    along = 0.5 * 3 * np.minimum(seconds, 6) ** 2 + 18 * np.maximum(seconds - 6, 0)
    turn = np.radians(45) * np.clip(seconds - 4, 0, 2)
    turns = [se3_exp([0, 0, 0, 0, 0, t]) for t in turn]
    poses = np.array([se3_exp([x, 0, 0, 0, 0, 0]) @ T for x, T in zip(along, turns, strict=True)])
    assert not len(jumps(Trajectory((seconds * 1e9).astype(np.int64), poses)))


def test_the_place_of_the_lidar_from_the_settings(tmp_path):
    source = world.write_bag(tmp_path / "with", 4, with_car=False)
    position, quaternion = to_quaternion(world.T_BASE_LIDAR)
    config = PLAIN.model_copy(update={"lidar_in_base": (*position, *quaternion)})
    with BagReader(source) as reader, BagWriter(tmp_path / "without") as writer:
        for scan in reader.messages(["/points"]):
            time = scan.offsets_ns / 1e9
            writer.points("/points", scan.stamp_ns, "lidar", scan.points, scan.intensity, time=time)
    write_tum(tmp_path / "t.tum", world.trajectory(4))
    bag = tmp_path / "without"
    points = map_points(build_map(bag, tmp_path / "m", config.model_copy(update={"poses": str(tmp_path / "t.tum")})))
    assert np.quantile(world.surface_distance(points), 0.99) < 0.03
    with pytest.raises(BagError, match="no topic /tf_static"):
        build_map(bag, tmp_path / "n", PLAIN.model_copy(update={"poses": str(tmp_path / "t.tum")}))
