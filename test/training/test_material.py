# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from lhmap_loc_ros.datasets.frames import frame_numbers
from lhmap_loc_ros.datasets.kitti import Sequence
from lhmap_loc_ros.datasets.synthetic.robots import heights_off_road
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.errors import BagError, InputError
from lhmap_loc_ros.geometry import inverse, make_pose, project, transform
from lhmap_loc_ros.training.material import drive_shard, pairs_shard, synthetic_shard
from lhmap_loc_ros.training.shards import Shard

# LiDAR (x forward, y left, z up) in the camera's optical frame, and camera 2, 6 cm to the left of camera 0
T_CAMERA0_LIDAR = make_pose(np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]]), [0.0, -0.08, -0.27])
OFFSET = 0.06
FX, CX, CY = 180.0, 159.5, 47.5


@pytest.fixture
def kitti(tmp_path):
    """Six frames of a car that drives 1 m a frame towards a wall."""
    rng = np.random.default_rng(0)
    wall = np.column_stack([np.full(20000, 20.0), rng.uniform(-12, 12, 20000), rng.uniform(-1.5, 3, 20000)])
    folder = tmp_path / "sequences" / "00"
    for name in ("velodyne", "image_2"):
        (folder / name).mkdir(parents=True)
    P2 = [[FX, 0, CX, FX * OFFSET], [0, FX, CY, 0], [0, 0, 1, 0]]
    rows = [f"{k}: " + " ".join(map(str, np.ravel(v))) for k, v in {"P2": P2, "Tr": T_CAMERA0_LIDAR[:3]}.items()]
    (folder / "calib.txt").write_text("\n".join(rows))
    (folder / "times.txt").write_text("\n".join(f"{0.1 * k:.1f}" for k in range(6)))
    poses = []
    for k in range(6):
        T_map_lidar = make_pose(np.eye(3), [1.0 * k, 0, 0])
        scan = transform(inverse(T_map_lidar), wall)
        np.column_stack([scan, np.full(len(scan), 0.5)]).astype("<f4").tofile(folder / "velodyne" / f"{k:06d}.bin")
        cv2.imwrite(str(folder / "image_2" / f"{k:06d}.png"), np.full((96, 320, 3), 40 * k, np.uint8))
        poses.append((T_CAMERA0_LIDAR @ T_map_lidar @ inverse(T_CAMERA0_LIDAR))[:3].ravel())
    (tmp_path / "poses").mkdir()
    np.savetxt(tmp_path / "poses" / "00.txt", poses)
    return tmp_path


def test_odd_frames_lie_in_the_map_of_the_even_ones(kitti, tmp_path):
    drive_shard(Sequence(kitti, "00"), tmp_path / "odd.npz", queries="odd")
    shard = Shard(tmp_path / "odd.npz")
    assert len(shard) == 3
    frame = shard.frame(1)
    assert (frame.image == 120).all()
    np.testing.assert_allclose(frame.T_map_camera[:3, 3], [3 + 0.27, OFFSET, -0.08], atol=1e-9)
    # the map, seen from the true pose, is as far away as the frame's own scan says
    uv, depth = project(frame.points, inverse(frame.T_map_camera), frame.camera)
    inside = ((uv > 2) & (uv < (317, 93))).all(1)
    column, row = np.round(uv[inside]).astype(int).T
    own = frame.depth[row, column]
    assert np.isfinite(own).mean() > 0.9
    np.testing.assert_allclose(own[np.isfinite(own)], depth[inside][np.isfinite(own)], atol=0.1)


def test_a_shard_of_a_drive_in_utm_is_as_exact_as_any(kitti, tmp_path):
    drive = Sequence(kitti, "00")
    drive_shard(drive, tmp_path / "here.npz")
    poses = drive.truth.poses.copy()
    poses[:, :3, 3] += (455_000.25, 5_428_000.5, 112.0)
    drive.truth = Trajectory(drive.truth.stamps_ns, poses)
    drive_shard(drive, tmp_path / "there.npz")
    across = []
    for name in ("here", "there"):
        frame = Shard(tmp_path / f"{name}.npz").frame(1)
        across.append(transform(inverse(frame.T_map_camera), frame.points)[:, 0])
    np.testing.assert_allclose(*(np.quantile(x, (0.05, 0.5, 0.95)) for x in across), atol=0.1)
    # float32 knows no northings of UTM between half metres
    here, there = (len(np.unique(x.round(2))) for x in across)
    assert there > 0.9 * here


def test_no_place_left_is_refused(tmp_path):
    pairs = SimpleNamespace(root=tmp_path, names=["a", "b"])
    with pytest.raises(InputError, match="no place is left of 2, expected one at least"):
        pairs_shard(pairs, [], tmp_path / "pairs.npz")


def test_images_are_at_most_as_wide_as_asked_for(kitti, tmp_path):
    drive_shard(Sequence(kitti, "00"), tmp_path / "small.npz", width=160)
    frame = Shard(tmp_path / "small.npz").frame(0)
    assert frame.image.shape == (48, 160, 3)
    assert (frame.camera.width, frame.camera.fx) == (160, FX / 2)


def test_frames_are_limited_by_number(kitti, tmp_path):
    drive_shard(Sequence(kitti, "00"), tmp_path / "some.npz", frames="2-5", queries="even")
    assert len(Shard(tmp_path / "some.npz")) == 2
    assert frame_numbers("all", 3) == [0, 1, 2] and frame_numbers("1-9", 3) == [1, 2]
    with pytest.raises(InputError, match="'first'.*0-109"):
        frame_numbers("first", 3)


def test_missing_sequence_and_missing_truth_are_named(kitti, tmp_path):
    with pytest.raises(BagError, match="no such sequence.*00"):
        drive_shard(Sequence(kitti, "07"), tmp_path / "a.npz")
    (kitti / "poses" / "00.txt").unlink()
    with pytest.raises(InputError, match="00.txt.*true poses"):
        drive_shard(Sequence(kitti, "00"), tmp_path / "a.npz")


def test_low_robots_see_a_world_from_its_footpath(tmp_path):
    synthetic_shard(3, tmp_path / "low.npz", length=20.0, images=2, width=80, footway=True)
    shard = Shard(tmp_path / "low.npz")
    for frame in map(shard.frame, range(len(shard))):
        ground = np.quantile(frame.points[:, 2], 0.05)
        assert frame.T_map_camera[2, 3] - ground < heights_off_road("camera")[1] + 0.5
        assert abs(frame.T_map_camera[1, 3]) > 3
