# SPDX-License-Identifier: Apache-2.0
"""A tiny Argoverse 2 log keeps its geometry: sweeps and images at their own times, one landmark in both."""

import sys

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("pyarrow", reason="Argoverse 2 logs need pyarrow")

from helpers.drive_samples import (
    HEIGHT,
    LATE_NS,
    PICTURE_NS,
    PICTURES,
    START_NS,
    SWEEP_NS,
    SWEEPS,
    T_EGO_LIDAR,
    WIDTH,
    K,
    city_wall,
    ego_pose,
    intrinsics,
    pose_columns,
    spot,
    wall,
    write_argoverse2,
    write_feather,
)

from lhmap_loc_ros import cli
from lhmap_loc_ros.datasets.argoverse2 import SensorLog
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.camera_lidar import nearest_scans
from lhmap_loc_ros.datasets.importing import truth_path
from lhmap_loc_ros.datasets.tum import read_tum
from lhmap_loc_ros.errors import BagError, InputError
from lhmap_loc_ros.geometry import Camera, inverse, make_pose, project, transform

CAMERA = Camera(WIDTH, HEIGHT, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
SWEEP = f"sensors/lidar/{START_NS}.feather"
PICTURE = f"sensors/cameras/ring_front_center/{START_NS + LATE_NS}.jpg"


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    return write_argoverse2(tmp_path_factory.mktemp("av2") / "log")


@pytest.fixture
def log(tmp_path):
    return write_argoverse2(tmp_path / "log")


def test_sweeps_lie_in_the_city_at_their_own_times(intact):
    drive = SensorLog(intact)
    np.testing.assert_array_equal(drive.scan_stamps, START_NS + SWEEP_NS * np.arange(SWEEPS))
    for k, stamp in enumerate(drive.scan_stamps):
        scan = drive.scan(k)
        T_map_lidar = drive.truth.at(stamp) @ drive.calibration.T_base_lidar
        # half floats are 8 to 16 mm apart here
        np.testing.assert_allclose(transform(T_map_lidar, scan[:, :3].astype(float)), city_wall(), atol=0.02)
        np.testing.assert_allclose(scan[:, 3], 0.2)
    # the points are those of the sensor, not of the rear axle
    np.testing.assert_allclose(drive.scan(0)[:, :3], wall(), atol=0.02)
    np.testing.assert_allclose(drive.calibration.T_base_lidar, T_EGO_LIDAR, atol=1e-9)


def test_images_take_the_pose_of_their_own_time(intact):
    drive = SensorLog(intact)
    np.testing.assert_array_equal(drive.image_stamps, START_NS + LATE_NS + PICTURE_NS * np.arange(PICTURES))
    right, early = [], []
    for k, stamp in enumerate(drive.image_stamps):
        seen = spot(drive.image(k))
        for errors, pose in ((right, drive.truth.at(stamp)), (early, ego_pose(stamp - LATE_NS))):
            uv, _ = project(city_wall()[:1], inverse(pose @ drive.calibration.T_base_camera), CAMERA)
            errors.append(np.linalg.norm(uv[0] - seen))
    assert max(right) < 0.8
    assert np.mean(early) > 1.0  # a sweep's pose, 17 ms earlier, would not do
    np.testing.assert_allclose(drive.truth.at(drive.image_stamps[3]), ego_pose(drive.image_stamps[3]), atol=1e-3)


def test_each_image_has_the_sweep_nearest_to_it(intact):
    own, apart = nearest_scans(SensorLog(intact))
    assert own.tolist() == [0, 1, 1, 2, 2, 3, 3, 3]
    assert (apart[:3] / 1e6).tolist() == [17, 33, 17]


def test_the_command_writes_a_bag_in_order_of_time(intact, tmp_path):
    arguments = ["import", "argoverse2", intact, tmp_path / "all"]
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    with BagReader(tmp_path / "all") as reader:
        T_base_lidar = reader.static_transforms().lookup("base_link", "lidar")
        recorded = [m.stamp_ns for m in reader.messages(["/points", "/camera/image_raw"])]
        poses = {m.stamp_ns: m.pose for m in reader.messages(["/tf"])}
        scan = list(reader.messages(["/points"]))[2]
        info = reader.camera_info("/camera/camera_info")
    assert recorded == sorted(recorded) and len(recorded) == SWEEPS + PICTURES and set(poses) == set(recorded)
    T_map_lidar = poses[scan.stamp_ns] @ T_base_lidar
    np.testing.assert_allclose(transform(T_map_lidar, scan.points.astype(float)), city_wall(), atol=0.02)
    calibration = info.calibration
    assert not calibration.distortion.any() and (calibration.width, calibration.height) == (WIDTH, HEIGHT)


def test_odd_frames_are_every_other_sweep_and_image(intact, tmp_path):
    arguments = ["import", "argoverse2", intact, tmp_path / "odd", "--frames", "odd"]
    assert CliRunner().invoke(cli.app, [str(a) for a in arguments]).exit_code == 0
    with BagReader(tmp_path / "odd") as reader:
        assert reader.count("/points") == SWEEPS // 2 and reader.count("/camera/image_raw") == PICTURES // 2
        assert "/tf" not in reader.topics
        first = next(iter(reader.messages(["/camera/image_raw"]))).stamp_ns
    truth = read_tum(truth_path(tmp_path / "odd"))
    assert first == START_NS + LATE_NS + PICTURE_NS and first in truth.stamps_ns
    np.testing.assert_allclose(truth.at(first), ego_pose(first), atol=1e-3)


def _break(log, name):
    if name == "no sensor":
        poses = pose_columns([np.eye(4)])
        write_feather(log / "calibration" / "egovehicle_SE3_sensor.feather", sensor_name=["up_lidar"], **poses)
    elif name == "no columns":
        write_feather(log / "calibration" / "intrinsics.feather", sensor_name=["ring_front_center"], fx_px=[1.0])
    elif name == "not calibrated":
        write_feather(log / "calibration" / "intrinsics.feather", **intrinsics(fx_px=[np.nan, np.nan]))
    elif name == "no calibration":
        (log / "calibration" / "intrinsics.feather").unlink()
    elif name == "sweep":
        path = log / SWEEP
        path.write_bytes(path.read_bytes()[:-30])
    elif name == "no x":
        write_feather(log / SWEEP, y=[1.0], z=[1.0], intensity=[3])
    elif name == "no sweeps":
        for path in (log / "sensors" / "lidar").iterdir():
            path.unlink()
    elif name == "picture":
        (log / PICTURE).write_bytes(b"no picture")
    elif name == "size":
        columns = intrinsics(width_px=[1550, 1550], height_px=[2048, 2048])
        write_feather(log / "calibration" / "intrinsics.feather", **columns)
    elif name == "pose":
        stamps = START_NS + np.array([-1, 10**9])
        columns = pose_columns([np.eye(4), np.eye(4)])
        columns["qw"] = np.array([1.0, np.nan])
        write_feather(log / "city_SE3_egovehicle.feather", timestamp_ns=stamps, **columns)
    elif name == "span":
        columns = pose_columns([np.eye(4), make_pose(np.eye(3), [1, 0, 0])])
        stamps = START_NS + np.array([0, SWEEP_NS * 3])
        write_feather(log / "city_SE3_egovehicle.feather", timestamp_ns=stamps, **columns)


@pytest.mark.parametrize(
    "name, message",
    [
        ("no sensor", "egovehicle_SE3_sensor.feather: no sensor ring_front_center; there are: up_lidar"),
        ("no columns", "intrinsics.feather: no column fy_px, .* found sensor_name, fx_px"),
        ("not calibrated", "intrinsics.feather: ring_front_center is not calibrated: fx_px nan"),
        ("no calibration", "intrinsics.feather: cannot be read: No such file"),
        ("sweep", f"{START_NS}.feather: truncated, or no Feather file"),
        ("no x", f"{START_NS}.feather: no column x; found y, z, intensity"),
        ("no sweeps", "lidar: no files found, expected numbers with .feather"),
        ("picture", "jpg: cannot be decoded"),
        ("size", "jpg: 160x96 pixels found, the calibration says 1550x2048"),
        ("pose", "city_SE3_egovehicle.feather: row 1: pose is not finite"),
        ("span", "city_SE3_egovehicle.feather: no pose for image"),
    ],
)
def test_what_is_broken_is_named(log, name, message):
    _break(log, name)
    with pytest.raises(BagError, match=message):
        drive = SensorLog(log)
        drive.scan(0)
        drive.image(0)


def test_wrong_arguments(intact, tmp_path):
    with pytest.raises(BagError, match="no such log"):
        SensorLog(tmp_path / "nothing")
    with pytest.raises(BagError, match="ring_rear: no such camera; there are: ring_front_center"):
        SensorLog(intact, "ring_rear")


def test_without_poses_there_is_no_truth(log):
    (log / "city_SE3_egovehicle.feather").unlink()
    assert SensorLog(log).truth is None


def test_without_pyarrow_the_error_says_how_to_install_it(intact, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pyarrow .* pip install 'lhmap_loc_ros\[argoverse\]'"):
        SensorLog(intact)
