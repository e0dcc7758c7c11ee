# SPDX-License-Identifier: Apache-2.0
"""Trajectories in memory and as text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lhmap_loc_ros.datasets import trajectory as trajectory_module
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import (
    read_kitti_poses,
    read_trajectory,
    read_tum,
    write_kitti_poses,
    write_tum,
)
from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import pose_error, se3_exp


def random_trajectory(seed: int, n: int) -> Trajectory:
    rng = np.random.default_rng(seed)
    stamps = 1_700_000_000 * 10**9 + np.cumsum(rng.integers(1, 10**9, n))
    return Trajectory(stamps, np.array([se3_exp(rng.normal(0, 1, 6) * (10, 10, 1, 1, 1, 1)) for _ in range(n)]))


@given(seed=st.integers(0, 1000), n=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_tum_round_trip(tmp_path_factory, seed, n):
    path = tmp_path_factory.mktemp("tum") / "t.tum"
    trajectory = random_trajectory(seed, n)
    write_tum(path, trajectory)
    back = read_tum(path)
    np.testing.assert_array_equal(back.stamps_ns, trajectory.stamps_ns)
    np.testing.assert_allclose(back.poses, trajectory.poses, atol=2e-6)


@given(seed=st.integers(0, 1000), w=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_between_poses(seed, w):
    trajectory = random_trajectory(seed, 4)
    t0, t1 = trajectory.stamps_ns[1:3]
    pose = trajectory.at(t0 + int(w * (t1 - t0)))
    w = int(w * (t1 - t0)) / (t1 - t0)
    position, turn = pose_error(trajectory.poses[1], trajectory.poses[2])
    near = pose_error(trajectory.poses[1], pose)
    np.testing.assert_allclose(near, (w * position, w * turn), atol=1e-4)
    np.testing.assert_allclose(trajectory.at(trajectory.stamps_ns), trajectory.poses, atol=1e-12)


def test_poses_around_a_span():
    trajectory = random_trajectory(2, 6)
    stamps = trajectory.stamps_ns
    np.testing.assert_array_equal(trajectory.between(stamps[2], stamps[3]).stamps_ns, stamps[2:4])
    part = trajectory.between(stamps[2] + 1, stamps[3] + 1)
    np.testing.assert_array_equal(part.stamps_ns, stamps[2:5])
    np.testing.assert_array_equal(part.poses, trajectory.poses[2:5])
    np.testing.assert_array_equal(trajectory.between(stamps[0] - 9, stamps[-1] + 9).stamps_ns, stamps)


def test_a_pose_costs_the_same_of_any_number_of_poses(monkeypatch):
    trajectory, turned = random_trajectory(3, 500), []

    class Counting:
        from_rotvec = Rotation.from_rotvec

        @staticmethod
        def from_matrix(matrix):
            turned.append(len(matrix))
            return Rotation.from_matrix(matrix)

    expected = trajectory.at(trajectory.stamps_ns[40:43])
    monkeypatch.setattr(trajectory_module, "Rotation", Counting)
    np.testing.assert_array_equal(trajectory.at(trajectory.stamps_ns[40:43]), expected)
    assert max(turned) == 3


@pytest.mark.parametrize("begin", ["", "\ufeff", "timestamp,x,y,z,qx,qy,qz,qw\r\n", "# stamp x y z\n"])
def test_tables_of_other_programs(tmp_path, begin):
    (tmp_path / "t.csv").write_text(begin + "1.5, 1, 2, 3, 0, 0, 0, 1\r\n2.5,2,2,3,0,0,0,1\n", encoding="utf-8")
    read = read_tum(tmp_path / "t.csv")
    assert read.stamps_ns.tolist() == [1_500_000_000, 2_500_000_000] and read.poses[0, 2, 3] == 3


@pytest.mark.parametrize(
    "heading",
    [
        "timestamp,x,y,z,qw,qx,qy,qz\n", "# from a motion capture\n# timestamp tx ty tz qw qx qy qz\n",
        "#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z []\n",
        "% t; x; y; z; q_w; q_x; q_y; q_z\n",
    ],
)  # fmt: skip
def test_a_heading_tells_that_the_quaternion_begins_with_w(tmp_path, heading):
    (tmp_path / "t.csv").write_text(heading + "1.5,1,2,3,0,1,0,0\n2.5;2;2;3;1;0;0;0\n")
    read = read_tum(tmp_path / "t.csv")
    np.testing.assert_array_equal(np.diagonal(read.poses[0]), [1, -1, -1, 1])
    np.testing.assert_array_equal(read.poses[1][:3, :3], np.eye(3))


@pytest.mark.parametrize("unit", [10**6, 10**3, 1])
def test_stamps_of_milli_micro_and_nanoseconds_are_told_by_their_size(tmp_path, unit, caplog):
    stamps = [1_700_000_000_500_000_000, 1_700_000_000_600_000_000]
    (tmp_path / "t.tum").write_text("".join(f"{stamp // unit} 1 2 3 0 0 0 1\n" for stamp in stamps))
    assert read_tum(tmp_path / "t.tum").stamps_ns.tolist() == stamps
    assert caplog.text.count("seconds") == 1


def test_covers_and_length():
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = (0, 3, 5)
    trajectory = Trajectory([10, 20, 30], poses)
    assert trajectory.length_m == 5 and trajectory.at(25)[0, 3] == pytest.approx(4)
    np.testing.assert_array_equal(trajectory.covers([9, 10, 30, 31]), [False, True, True, False])
    np.testing.assert_array_equal(trajectory.covers([4, 5, 35, 36], 5), [False, True, True, False])


def test_the_motion_goes_on_beyond_the_ends_as_poses_tell_that_are_some_time_apart():
    ms, poses = 1_000_000, np.tile(np.eye(4), (4, 1, 1))
    poses[:, 0, 3] = (0, 3, 5, 5.002)
    drive = Trajectory([0, 1000 * ms, 2000 * ms, 2000 * ms + 1000], poses)
    assert drive.at(2500 * ms)[0, 3] == pytest.approx(6, abs=0.01)
    assert drive.at(-500 * ms)[0, 3] == pytest.approx(-1.5)


def test_kitti_poses(tmp_path):
    trajectory = random_trajectory(0, 5)
    write_kitti_poses(tmp_path / "k.txt", trajectory.poses)
    np.testing.assert_allclose(read_kitti_poses(tmp_path / "k.txt"), trajectory.poses, atol=1e-7)
    back = read_trajectory(tmp_path / "k.txt", trajectory.stamps_ns)
    np.testing.assert_array_equal(back.stamps_ns, trajectory.stamps_ns)
    with pytest.raises(InputError, match="5 KITTI poses found, but there are 3 scans"):
        read_trajectory(tmp_path / "k.txt", trajectory.stamps_ns[:3])


@pytest.mark.parametrize(
    "text, message",
    [
        ("1 0 0 0 0 0 0\n", "t.tum:1: 7 values found, expected 8"),
        ("# header\n1 0 0 nan 0 0 0 1\n", "t.tum:2: pose is not finite"),
        ("1 0 0 0 0 0 0 0\n", "norm zero"),
        ("nan 0 0 0 0 0 0 1\n", "'nan' found, expected finite"),
        ("1 0 0 zero 0 0 0 1\n", "'1 0 0 zero 0 0 0 1' found, expected 8 numbers"),
        (f"1 0 0 {5000 * 'x'} 0 0 0 1\n", "^.{,300}found, expected 8 numbers$"),
        ("# nothing\n", "holds no poses"),
        ("1 0 0 0 0 0 0 1\n1700000000123456789 0 0 0 0 0 0 1\n", "t.tum:2: stamp '1700000000123456789' found, .* sec"),
        ("1e30 0 0 0 0 0 0 1\n", "t.tum:1: stamp '1e30' found, expected seconds"),
        ("-1e999999 0 0 0 0 0 0 1\n", "t.tum:1: stamp '-1e999999' found, expected seconds"),
    ],
)
def test_bad_tum_files(tmp_path, text, message):
    (tmp_path / "t.tum").write_text(text)
    with pytest.raises(InputError, match=message):
        read_trajectory(tmp_path / "t.tum")


@pytest.mark.parametrize(
    "text, message",
    [
        ("1 0 0 0 0 1 0 0 0 0 1 inf\n", "pose is not finite"),
        ("2 0 0 0 0 1 0 0 0 0 1 0\n", "not a rotation"),
        ("1 2 3\n", "3 values found, expected the 12"),
        ("", "holds no poses"),
    ],
)
def test_bad_kitti_files(tmp_path, text, message):
    (tmp_path / "k.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_kitti_poses(tmp_path / "k.txt")


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_tum(tmp_path / "nowhere")
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not text"):
        read_tum(tmp_path / "b")


def test_trajectories_that_make_no_sense():
    eye = np.eye(4)[None]
    with pytest.raises(InputError, match="no poses"):
        Trajectory([], np.zeros((0, 4, 4)))
    with pytest.raises(InputError, match="do not increase: 5 then 5"):
        Trajectory([5, 5], np.repeat(eye, 2, axis=0))
    with pytest.raises(InputError, match="pose 1 .* not finite"):
        Trajectory([5, 6], np.concatenate([eye, eye * np.nan]))
    assert Trajectory.sorted([7, 5, 7], np.concatenate([eye, eye, 2 * eye])).poses[1, 0, 0] == 2
