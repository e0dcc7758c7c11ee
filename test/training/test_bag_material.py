# SPDX-License-Identifier: Apache-2.0
"""One's own bag becomes a shard: its images, its true poses, and a map of another run."""

import numpy as np
import pytest

from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import write_tum
from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import inverse, make_pose, project, transform
from lhmap_loc_ros.lhmap import MapMetadata, MapPoints, write_map
from lhmap_loc_ros.training.drives import BagDrive
from lhmap_loc_ros.training.shards import Shard

STEP_NS, START = 10**8, 1_700_000_000 * 10**9
ORIGIN = np.array([500_000.0, 5_400_000.0, 100.0])  # UTM: too far away for float32
K = np.array([[80.0, 0, 50], [0, 80, 30], [0, 0, 1]])
T_BASE_CAMERA = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [1.0, 0, 1.5])
T_BASE_LIDAR = make_pose(np.eye(3), [0.0, 0, 2.0])
FRAMES = 10


def base_pose(stamp_ns):
    """T_map_base: 4 m/s eastwards."""
    return make_pose(np.eye(3), ORIGIN + [4e-9 * (stamp_ns - START), 0, 0])


def wall(count=8000):
    """Points (N, 3) of a wall 20 m ahead, in the map."""
    y, z = np.random.default_rng(0).uniform(-10, 10, (2, count))
    return ORIGIN + np.column_stack([np.full(count, 20.0), y, z])


def write_bag(path, scans):
    with BagWriter(path) as bag:
        frames = {"camera": T_BASE_CAMERA, "lidar": T_BASE_LIDAR}
        bag.tf_static(START, {("base_link", name): pose for name, pose in frames.items()})
        for k in range(FRAMES):
            stamp = START + k * STEP_NS
            bag.camera_info("/camera/camera_info", stamp, "camera", 100, 60, K)
            bag.image("/camera/image_raw", stamp, "camera", np.full((60, 100, 3), 20 * k, np.uint8))
            if scans and k % 5 == 0:
                # the sweep takes 100 ms, and each point is measured from where the LiDAR is then
                time, points = np.linspace(0, 0.1, 8000), wall()
                local = [
                    transform(inverse(base_pose(stamp + t * 1e9) @ T_BASE_LIDAR), part)
                    for t, part in zip(time[::80], np.split(points, 100), strict=True)
                ]
                bag.points(
                    "/points", stamp, "lidar", np.concatenate(local), np.ones(8000), time=np.repeat(time[::80], 80)
                )
    return path


@pytest.fixture
def drive(tmp_path):
    """Settings of a bag with its truth beside it, and a map."""
    points = MapPoints(wall() - ORIGIN, np.full(8000, 0.5), np.ones(8000), ORIGIN)
    write_map(tmp_path / "wall.lhmap", points, MapMetadata(origin=tuple(ORIGIN), path_length_m=4.0))
    stamps = START + STEP_NS * np.arange(FRAMES)
    write_tum(tmp_path / "bag.tum", Trajectory(stamps, np.array([base_pose(s) for s in stamps])))

    def make(scans=False, **settings):
        if not (tmp_path / "bag").exists():
            write_bag(tmp_path / "bag", scans)
        files = {"bag": tmp_path / "bag", "map": tmp_path / "wall.lhmap", **settings}
        drive = BagDrive(kind="bag", name="own", **files)
        ((name, write),) = drive.shards().items()
        write(tmp_path / f"{name}.npz", 640)
        return Shard(tmp_path / "own.npz")

    return make


def test_images_lie_in_the_map_far_from_its_origin(drive):
    shard = drive()
    # 0.4 m a frame, one image every 0.5 m
    frames = [shard.frame(k) for k in range(len(shard))]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 40, 80, 120, 160]
    np.testing.assert_allclose(frames[2].T_map_camera[:3, 3], [1 + 1.6, 0, 1.5], atol=1e-6)
    _, depth = project(frames[2].points, inverse(frames[2].T_map_camera), frames[2].camera)
    np.testing.assert_allclose(depth, 20 - 2.6, atol=0.01)
    assert all(np.isnan(frame.depth).all() for frame in frames)  # the bag holds no scans


def test_scans_tell_what_the_images_near_them_show(drive):
    shard = drive(scans=True, spacing_m=0.0)
    assert len(shard) == FRAMES
    depths = [shard.frame(k).depth for k in range(FRAMES)]
    known = [k for k, depth in enumerate(depths) if np.isfinite(depth).any()]
    assert known == [0, 1, 4, 5, 6]  # scans at 0 and 5, at most 100 ms away
    for k in known:
        assert np.nanmedian(depths[k]) == pytest.approx(20 - 1 - 0.4 * k, abs=0.02)
        assert np.nanmax(depths[k]) - np.nanmin(depths[k]) < 0.05  # compensated for motion


def test_frames_choose_images(drive):
    shard = drive(frames="2-4", spacing_m=0.0)
    assert [int(shard.frame(k).image[0, 0, 0]) for k in range(len(shard))] == [40, 60, 80]


def test_images_without_a_pose_or_a_map_are_left_out(drive, tmp_path):
    stamps = START + STEP_NS * np.array([2, 3, 4, 5])
    poses = np.array([base_pose(s) for s in stamps])
    poses[2:, 0, 3] += 500  # off the map
    write_tum(tmp_path / "some.tum", Trajectory(stamps, poses))
    shard = drive(truth=tmp_path / "some.tum", spacing_m=0.0)
    assert [int(shard.frame(k).image[0, 0, 0]) for k in range(len(shard))] == [40, 60]


def test_what_cannot_be_used_is_named(drive, tmp_path):
    with pytest.raises(InputError, match="nowhere.lhmap"):
        drive(map=tmp_path / "nowhere.lhmap")
    write_tum(tmp_path / "late.tum", Trajectory(np.array([1, 2]) * 10**9, np.array([np.eye(4), np.eye(4)])))
    with pytest.raises(InputError, match="no image of /camera/image_raw .*late.tum.*wall.lhmap"):
        drive(truth=tmp_path / "late.tum")
