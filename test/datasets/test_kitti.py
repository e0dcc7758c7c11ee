# SPDX-License-Identifier: Apache-2.0
"""A tiny sequence in the KITTI layout becomes bags that keep its geometry."""

import errno
import tempfile

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from lhmap_loc_ros import cli
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.importing import import_drive, truth_path
from lhmap_loc_ros.datasets.kitti import EPOCH_NS, Sequence
from lhmap_loc_ros.datasets.tum import read_tum, write_kitti_poses
from lhmap_loc_ros.datasets.velodyne import deskewed, twist_at
from lhmap_loc_ros.errors import BagError, InputError
from lhmap_loc_ros.geometry import inverse, make_pose, project, se3_exp, transform

FRAMES = 5
K = np.array([[700.0, 0, 30], [0, 700, 20], [0, 0, 1]])
OFFSET = np.array([0.06, 0.001, 0.003])
T_CAMERA0_LIDAR = make_pose(np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0.0]]), [0.01, -0.08, -0.27])
T_CAMERA0_LIDAR = T_CAMERA0_LIDAR @ se3_exp([0, 0, 0, 0.01, -0.02, 0.005])
LANDMARK = np.array([[12.0, 1.0, 0.5]])  # in the first LiDAR frame


def lidar_pose(number: int) -> np.ndarray:
    """Pose of the LiDAR in its first frame."""
    return se3_exp([1.5 * number, 0.1 * number, 0, 0, 0, 0.05 * number])


def import_sequence(root, name, *args, **options):
    return import_drive(Sequence(root, name), *args, **options)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "kitti" / "sequences" / "07"
    (folder / "image_2").mkdir(parents=True)
    (folder / "velodyne").mkdir()
    P2 = K @ np.column_stack([np.eye(3), OFFSET])
    rows = {"P0": K @ np.eye(3, 4), "P2": P2, "Tr": T_CAMERA0_LIDAR[:3]}
    text = "".join(f"{name}: {' '.join(f'{v:.12e}' for v in matrix.ravel())}\n" for name, matrix in rows.items())
    (folder / "calib.txt").write_text(text)
    (folder / "times.txt").write_text("".join(f"{0.1 * k:.6e}\n" for k in range(FRAMES)))
    for k in range(FRAMES):
        cv2.imwrite(str(folder / "image_2" / f"{k:06d}.png"), np.full((40, 60, 3), (10 * k, 0, 200), np.uint8))
        seen = transform(inverse(lidar_pose(k)), LANDMARK)
        np.column_stack([seen, [0.25]]).astype("<f4").tofile(folder / "velodyne" / f"{k:06d}.bin")
    (tmp_path / "kitti" / "poses").mkdir()
    # the ground truth may start anywhere
    start = se3_exp([5, 6, 7, 0.3, 0.2, 0.1])
    poses = [start @ T_CAMERA0_LIDAR @ lidar_pose(k) @ inverse(T_CAMERA0_LIDAR) for k in range(FRAMES)]
    write_kitti_poses(tmp_path / "kitti" / "poses" / "07.txt", np.array(poses))
    return tmp_path / "kitti"


def test_a_bag_that_cannot_be_written_is_named(root, tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *_, **__: (_ for _ in ()).throw(full))
    with pytest.raises(InputError, match=r"kept: cannot be written \(No space left on device\)"):
        import_sequence(root, "07", tmp_path / "kept")


def test_odd_frames_share_the_map_frame_but_not_the_truth(root, tmp_path):
    done = []
    bag = import_sequence(root, "07", tmp_path / "odd", "odd", report=lambda *a: done.append(a))
    truth = read_tum(truth_path(bag))
    np.testing.assert_array_equal(truth.stamps_ns, EPOCH_NS + np.array([1, 3]) * 10**8)
    for pose, number in zip(truth.poses, (1, 3), strict=True):
        np.testing.assert_allclose(pose, lidar_pose(number), atol=1e-6)
    with BagReader(bag) as reader:
        assert "/tf" not in reader.topics and "/odom" not in reader.topics
        assert reader.count("/camera/image_raw") == 2
        image = next(iter(reader.messages(["/camera/image_raw"])))
    assert image.image[0, 0].tolist() == [200, 0, 10]  # RGB
    assert done[-1] == ("import", 2, 2)


def test_points_project_where_kitti_says(root, tmp_path):
    bag = import_sequence(root, "07", tmp_path / "even", "even")
    with BagReader(bag) as reader:
        tree = reader.static_transforms()
        camera = reader.camera_info("/camera/camera_info").rectifier().camera
        scan = list(reader.messages(["/points"]))[1]
        poses = [message.pose for message in reader.messages(["/tf"])]
    np.testing.assert_allclose(poses[1], lidar_pose(2), atol=1e-6)
    assert scan.offsets_ns is None and scan.intensity[0] == 0.25
    T_camera_lidar = tree.lookup("camera_optical_frame", "lidar")
    uv, depth = project(scan.points, T_camera_lidar, camera)
    homogeneous = K @ np.column_stack([np.eye(3), OFFSET]) @ T_CAMERA0_LIDAR @ np.r_[scan.points[0], 1]
    np.testing.assert_allclose(uv[0], homogeneous[:2] / homogeneous[2], atol=1e-3)
    np.testing.assert_allclose(depth[0], homogeneous[2], atol=1e-4)
    np.testing.assert_allclose(transform(poses[1], scan.points.astype(float)), LANDMARK, atol=1e-5)


def test_poses_in_the_bag_are_a_choice(root, tmp_path):
    with BagReader(import_sequence(root, "07", tmp_path / "a", "odd", with_poses=True)) as reader:
        assert reader.count("/tf") == 2
    with BagReader(import_sequence(root, "07", tmp_path / "b", "all", with_poses=False)) as reader:
        assert "/tf" not in reader.topics and reader.count("/points") == FRAMES
    (root / "poses" / "07.txt").unlink()
    bag = import_sequence(root, "07", tmp_path / "c", "even")
    assert not truth_path(bag).exists()
    with pytest.raises(BagError, match="poses are wanted"):
        import_sequence(root, "07", tmp_path / "d", with_poses=True)


def test_the_distortion_by_motion_is_taken_out_where_it_is_asked_for(root, tmp_path):
    truth = Sequence(root, "07").truth
    as_it_is = Sequence(root, "07").scan(2)
    expected = deskewed(as_it_is, twist_at(truth, truth.stamps_ns, 2))
    assert np.abs(expected - as_it_is).max() > 0.005
    np.testing.assert_array_equal(Sequence(root, "07", deskew=True).scan(2), expected)
    np.testing.assert_array_equal(Sequence(root, "07", deskew=False).scan(2), as_it_is)
    words = ["import", "kitti", str(root), "07", str(tmp_path / "bag")]
    result = CliRunner().invoke(cli.app, [*words, "--deskew"])
    assert result.exit_code == 0 and "freed of their distortion by motion" in result.output
    with BagReader(tmp_path / "bag") as reader:
        scans = [message.points for message in reader.messages(["/points"])]
    np.testing.assert_array_equal(scans[2], expected[:, :3])
    (root / "poses" / "07.txt").unlink()
    result = CliRunner().invoke(cli.app, [*words[:-1], str(tmp_path / "other"), "--deskew"])
    assert result.exit_code == 2 and "07.txt: not there, but scans are freed" in result.stderr


def _break(root, name):
    folder = root / "sequences" / "07"
    if name == "calib":
        (folder / "calib.txt").write_text("P0: 1 2 3\n")
    elif name == "Tr":
        (folder / "calib.txt").write_text("P2: 1 2 3\nTr: 1\n")
    elif name == "times":
        (folder / "times.txt").write_text("0.0\nnan\n")
    elif name == "image":
        (folder / "image_2" / "000002.png").unlink()
    elif name == "picture":
        (folder / "image_2" / "000002.png").write_bytes(b"no picture")
    elif name == "scan":
        (folder / "velodyne" / "000002.bin").write_bytes(b"123")
    elif name == "no scan":
        (folder / "velodyne" / "000002.bin").unlink()
    elif name == "poses":
        (root / "poses" / "07.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 nan\n" * FRAMES)
    elif name == "fewer":
        (root / "poses" / "07.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")


@pytest.mark.parametrize(
    "name, message",
    [
        ("calib", "calib.txt: no P2; found P0"),
        ("Tr", "calib.txt: P2 is '1 2 3', expected the 12 numbers"),
        ("times", "times.txt: 2 times found that are not all finite"),
        ("image", "000002.png: not there"),
        ("picture", "000002.png: cannot be decoded"),
        ("scan", "000002.bin: truncated: 3 bytes"),
        ("no scan", "000002.bin: cannot be read"),
        ("poses", "07.txt:1: pose is not finite"),
        ("fewer", "1 poses found, expected 5"),
    ],
)
def test_what_is_broken_is_named_and_leaves_nothing(root, tmp_path, name, message):
    _break(root, name)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=message):
        import_sequence(root, "07", tmp_path / "out" / "bag")
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_arguments(root, tmp_path):
    with pytest.raises(BagError, match="no such sequence; there are: 07"):
        import_sequence(root, "08", tmp_path / "bag")
    with pytest.raises(BagError, match="expected all, even or odd"):
        import_sequence(root, "07", tmp_path / "bag", "some")
    with pytest.raises(BagError, match="exists already"):
        import_sequence(root, "07", tmp_path)
    with pytest.raises(BagError, match="there is no folder"):
        import_sequence(root, "07", tmp_path / "no" / "bag")
