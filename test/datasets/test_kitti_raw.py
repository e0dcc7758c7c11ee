# SPDX-License-Identifier: Apache-2.0
"""A tiny drive in the KITTI raw layout keeps its geometry, from the GPS/IMU packet to the pixel."""

from pathlib import Path

import numpy as np
import pytest
from helpers.drive_samples import (
    DATE,
    DRIVE,
    P2,
    R_RECT,
    RAW_FRAMES,
    T_CAMERA0_VELO,
    raw_velo_pose,
    spot,
    wall,
    write_raw,
)
from typer.testing import CliRunner

from lhmap_loc_ros import cli
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.importing import truth_path
from lhmap_loc_ros.datasets.kitti import read_scan
from lhmap_loc_ros.datasets.kitti_raw import RawDrive, read_timestamps
from lhmap_loc_ros.datasets.oxts import imu_poses
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import read_tum, write_kitti_poses, write_tum
from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import Camera, inverse, project, se3_exp, transform

FIRST_NS = 1_317_042_145_064_389_445  # 2011-09-26 13:02:25.064389445 UTC
FOLDER = Path(DATE) / DRIVE


@pytest.fixture
def root(tmp_path):
    return write_raw(tmp_path / "raw")


def test_oxts_angles_and_axes():
    one_metre = np.degrees(1 / 6378137)
    packets = np.array(
        [[0.0, 8, 10, 0, 0, 0], [one_metre, 8, 11, 0.1, 0, np.pi / 2], [0, 8 + one_metre, 10, 0, 0.1, 0]]
    )
    east, north, down = imu_poses(packets, 0.0)
    np.testing.assert_allclose(north[:3, 3] - east[:3, 3], [0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(down[:3, 3] - east[:3, 3], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(east[:3, 0], [1, 0, 0], atol=1e-9)  # yaw 0: forward is east
    np.testing.assert_allclose(north[:3, 0], [0, 1, 0], atol=1e-9)  # a quarter turn counter-clockwise: north
    assert north[2, 1] == pytest.approx(np.sin(0.1))  # roll: left side up
    assert down[2, 0] == pytest.approx(-np.sin(0.1))  # pitch: front down


def test_mercator_is_true_to_scale_at_the_first_frame():
    step = np.degrees(1 / 6378137)
    packets = np.array([[60.0, 8, 0, 0, 0, 0], [60 + step, 8 + step, 0, 0, 0, 0]])
    near, far = imu_poses(packets, 60.0)
    np.testing.assert_allclose((far - near)[:2, 3], [0.5, 1.0], atol=1e-6)


def test_oxts_gives_the_velodyne_in_its_first_pose(root):
    drive = RawDrive(root, DRIVE)
    assert drive.left_out == 0 and drive.stamps[0] == FIRST_NS and drive.stamps[1] == FIRST_NS + 100_000_000
    for k in range(RAW_FRAMES):
        np.testing.assert_allclose(drive.truth.poses[k], raw_velo_pose(k), atol=1e-4)
    last = drive.truth.poses[-1]
    assert last[0, 3] > 4 and last[1, 3] > 0.5 and last[1, 0] > 0.2  # forward, and to the left
    for k in range(RAW_FRAMES):
        np.testing.assert_allclose(
            transform(drive.truth.poses[k], drive.scan(k)[:, :3].astype(float)), wall(), atol=2e-3
        )


def test_the_motion_of_the_car_is_taken_out_of_its_scans(root):
    drive = RawDrive(root, DRIVE)
    measured = read_scan(root / FOLDER / "velodyne_points" / "data" / "0000000002.bin")
    placed = [transform(drive.truth.poses[2], s[:, :3].astype(float)) for s in (measured, drive.scan(2))]
    errors = [np.abs(points - wall()).max() for points in placed]
    assert errors[0] > 0.1 and errors[1] < 2e-3


def test_landmark_is_seen_where_the_picture_shows_it(root):
    drive = RawDrive(root, DRIVE)
    K = drive.calibration.matrix
    camera = Camera(160, 96, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    np.testing.assert_array_equal(drive.calibration.T_base_lidar, np.eye(4))
    for k in range(RAW_FRAMES):
        T_camera_map = inverse(drive.truth.poses[k] @ drive.calibration.T_base_camera)
        uv, _ = project(wall()[:1].astype(np.float32), T_camera_map, camera)
        np.testing.assert_allclose(uv[0], spot(drive.image(k)), atol=0.8)
    point = drive.scan(0)[0, :3]
    homogeneous = P2 @ np.r_[R_RECT @ (T_CAMERA0_VELO @ np.r_[point, 1])[:3], 1]
    uv, depth = project(point[None], inverse(drive.calibration.T_base_camera), camera)
    np.testing.assert_allclose(uv[0], homogeneous[:2] / homogeneous[2], atol=2e-3)
    np.testing.assert_allclose(depth[0], homogeneous[2], atol=1e-4)


def test_frames_without_a_scan_or_an_image_are_left_out(root):
    whole = RawDrive(root, DRIVE)
    (root / FOLDER / "velodyne_points" / "data" / "0000000000.bin").unlink()
    (root / FOLDER / "velodyne_points" / "data" / "0000000002.bin").unlink()
    (root / FOLDER / "image_02" / "data" / "0000000004.png").unlink()
    drive = RawDrive(root, DRIVE)
    assert drive.numbers.tolist() == [1, 3, 5] and drive.left_out == 3
    np.testing.assert_array_equal(drive.stamps, whole.stamps[[1, 3, 5]])
    # its motion is that between its neighbours, which are other ones now
    np.testing.assert_allclose(drive.scan(1), whole.scan(3), atol=2e-3)
    np.testing.assert_array_equal(drive.image(2), whole.image(5))
    # the map is still the Velodyne at frame 0
    np.testing.assert_allclose(drive.truth.poses, whole.truth.poses[[1, 3, 5]], atol=1e-9)


def test_images_may_be_jpeg(tmp_path):
    drive = RawDrive(write_raw(tmp_path / "raw", ".jpg"), DRIVE)
    assert drive.image(0).shape == (96, 160, 3) and len(drive.stamps) == RAW_FRAMES


def test_a_file_of_poses_replaces_the_oxts(root, tmp_path):
    stamps = RawDrive(root, DRIVE).stamps
    poses = np.array([se3_exp([10 + k, 0, 0, 0, 0, 0.1 * k]) for k in range(RAW_FRAMES)])
    # at other times than the frames, as far as a line reaches
    write_tum(tmp_path / "p.tum", Trajectory(stamps[::5], poses[[0, 5]]))
    (root / FOLDER / "velodyne_points" / "data" / "0000000002.bin").unlink()
    (root / DATE / "calib_imu_to_velo.txt").unlink()
    drive = RawDrive(root, DRIVE, tmp_path / "p.tum")
    np.testing.assert_allclose(drive.truth.poses[2, :3, 3], poses[0, :3, 3] * 0.4 + poses[5, :3, 3] * 0.6, atol=1e-5)
    write_kitti_poses(tmp_path / "p.txt", poses[[0, 1, 3, 4, 5]])
    np.testing.assert_allclose(RawDrive(root, DRIVE, tmp_path / "p.txt").truth.poses[2], poses[3], atol=1e-6)
    write_kitti_poses(tmp_path / "q.txt", poses)
    with pytest.raises(InputError, match="q.txt: 6 KITTI poses found, but there are 5"):
        RawDrive(root, DRIVE, tmp_path / "q.txt")
    write_tum(tmp_path / "s.tum", Trajectory(stamps[:3], poses[:3]))
    with pytest.raises(InputError, match="s.tum: poses from .* do not cover 3 of the 5 frames"):
        RawDrive(root, DRIVE, tmp_path / "s.tum")


def test_without_oxts_there_is_no_truth(root, tmp_path):
    for path in (root / FOLDER / "oxts" / "data").iterdir():
        path.unlink()
    (root / FOLDER / "oxts" / "data").rmdir()
    assert RawDrive(root, DRIVE).truth is None


def test_the_command_writes_a_bag_and_its_truth(root, tmp_path):
    (root / FOLDER / "velodyne_points" / "data" / "0000000004.bin").unlink()
    arguments = ["import", "kitti-raw", root, DRIVE, tmp_path / "even", "--frames", "even"]
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert "even: written" in result.output and "1 frames" in result.output
    with BagReader(tmp_path / "even") as reader:
        scans = list(reader.messages(["/points"]))
        poses = [message.pose for message in reader.messages(["/tf"])]
        assert reader.count("/camera/image_raw") == 3
    # frames 0, 2 and 5: the gap shifts what is even
    np.testing.assert_allclose(transform(poses[2], scans[2].points.astype(float)), wall(), atol=2e-3)
    assert read_tum(truth_path(tmp_path / "even")).stamps_ns.tolist() == [s.stamp_ns for s in scans]
    result = CliRunner().invoke(cli.app, ["import", "kitti-raw", str(root), "x", str(tmp_path / "x")])
    assert result.exit_code == 2 and f"no such drive; there are: {DRIVE}" in result.stderr


def _break(root, name):
    folder, calib = root / FOLDER, root / DATE
    if name == "no calib":
        (calib / "calib_velo_to_cam.txt").unlink()
    elif name == "no P2":
        (calib / "calib_cam_to_cam.txt").write_text("R_rect_00: 1 0 0 0 1 0 0 0 1\n")
    elif name == "rotation":
        (calib / "calib_velo_to_cam.txt").write_text("R: 1 0 0 0 1 0 0 0 -1\nT: 0 0 0\n")
    elif name == "no imu":
        (calib / "calib_imu_to_velo.txt").unlink()
    elif name == "times":
        (folder / "image_02" / "timestamps.txt").write_text("2011-09-26 13:02:25.0\n12\n")
    elif name == "order":
        (folder / "image_02" / "timestamps.txt").write_text("2011-09-26 13:02:25.0\n2011-09-26 13:02:24.0\n")
    elif name == "few times":
        (folder / "image_02" / "timestamps.txt").write_text("2011-09-26 13:02:25.0\n2011-09-26 13:02:26.0\n")
    elif name == "no images":
        for path in (folder / "image_02" / "data").iterdir():
            path.unlink()
    elif name == "no packet":
        (folder / "oxts" / "data" / "0000000003.txt").unlink()
    elif name == "short packet":
        (folder / "oxts" / "data" / "0000000003.txt").write_text("49 8 110 0 0 0\n")
    elif name == "nan packet":
        (folder / "oxts" / "data" / "0000000003.txt").write_text("nan " * 30)
    elif name == "scan":
        path = folder / "velodyne_points" / "data" / "0000000003.bin"
        path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize(
    "name, message",
    [
        ("no calib", "calib_velo_to_cam.txt: cannot be read"),
        ("no P2", "calib_cam_to_cam.txt: no P_rect_02; found R_rect_00"),
        ("rotation", "calib_velo_to_cam.txt: R is not a rotation"),
        ("no imu", "calib_imu_to_velo.txt: cannot be read"),
        ("times", "timestamps.txt:2: '12' found, expected a time"),
        ("order", "timestamps.txt: 2 times found that do not all increase"),
        ("few times", "0000000005.png: frame 5 found, but timestamps.txt has times for 2"),
        ("no images", "data: no files found, expected numbers with .jpg or .png"),
        ("no packet", "0000000003.txt: cannot be read"),
        ("short packet", "0000000003.txt: 6 values found, expected 30"),
        ("nan packet", "0000000003.txt: nan nan nan nan nan nan found"),
        ("scan", "0000000003.bin: truncated: 63997 bytes found"),
    ],
)
def test_what_is_broken_is_named(root, name, message):
    _break(root, name)
    with pytest.raises(InputError, match=message):
        drive = RawDrive(root, DRIVE)
        for k in range(len(drive.stamps)):
            drive.scan(k)


def test_timestamps_keep_their_nanoseconds(tmp_path):
    (tmp_path / "t.txt").write_text("2011-09-26 13:02:25.064389445\n2011-09-26 13:02:25.064389446\n\n")
    assert read_timestamps(tmp_path / "t.txt").tolist() == [FIRST_NS, FIRST_NS + 1]
