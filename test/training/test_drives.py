# SPDX-License-Identifier: Apache-2.0
"""Drives of every kind become shards in which image, map and own scan agree."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.drive_samples import DRIVE, city_wall, spot, wall, write_argoverse2, write_raw

from lhmap_loc_ros.datasets.camera_lidar import Calibration
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.errors import ConfigError, InputError
from lhmap_loc_ros.geometry import inverse, make_pose, project, transform
from lhmap_loc_ros.training.material import drive_shard
from lhmap_loc_ros.training.run import DataConfig, train
from lhmap_loc_ros.training.shards import Shard


def make_data(tmp_path, **config):
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(config))
    train("data", tmp_path / "data.yaml", tmp_path / "out")
    return {path.stem: Shard(path) for path in sorted((tmp_path / "out").iterdir())}


def agree(frame, landmark, pixels=1.0):
    """The landmark lies on the spot, and the map is as deep as the image's own scan."""
    T_camera_map = inverse(frame.T_map_camera)
    uv, _ = project(landmark[None].astype(np.float32), T_camera_map, frame.camera)
    np.testing.assert_allclose(uv[0], spot(frame.image), atol=pixels)
    uv, depth = project(frame.points, T_camera_map, frame.camera)
    inside = ((uv > 1) & (uv < (frame.camera.width - 2, frame.camera.height - 2))).all(1)
    column, row = np.round(uv[inside]).astype(int).T
    own = frame.depth[row, column]
    known = np.isfinite(own)
    assert known.mean() > 0.9
    assert np.median(np.abs(own[known] - depth[inside][known])) < 0.1


def test_kitti_raw_drives_and_argoverse_logs_side_by_side(tmp_path):
    pytest.importorskip("pyarrow", reason="Argoverse 2 logs need pyarrow")
    write_raw(tmp_path / "raw")
    write_argoverse2(tmp_path / "log")
    raw = {"kind": "kitti_raw", "root": str(tmp_path / "raw"), "drive": DRIVE, "name": "raw"}
    log = {"kind": "argoverse2", "log": str(tmp_path / "log"), "name": "log", "queries": ["odd"]}
    shards = make_data(tmp_path, drives=[raw, log])
    assert {name: len(shard) for name, shard in shards.items()} == {"raw_odd": 3, "raw_even": 3, "log_odd": 5}
    for name, landmark in (("raw_odd", wall()[0]), ("raw_even", wall()[0]), ("log_odd", city_wall()[0])):
        for k in range(len(shards[name])):
            agree(shards[name].frame(k), landmark)


class LateImages:
    """A LiDAR at 10 Hz and a camera at 20 Hz that drive at 10 m/s towards a wall; the last image is late."""

    calibration = Calibration(
        np.array([[50.0, 0, 30], [0, 50, 20], [0, 0, 1]]),
        make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [1.0, 0, 0]),
        make_pose(np.eye(3), [0.0, 0, 2.0]),
    )
    scan_stamps = 10**9 + 10**8 * np.arange(6)
    image_stamps = np.r_[10**9 + 5 * 10**7 * np.arange(10) + 2 * 10**7, 10**9 + 8 * 10**8]
    truth_path = Path("nowhere")

    def __init__(self, known=True):
        stamps = np.array([10**9, 2 * 10**9])
        poses = np.array([np.eye(4), make_pose(np.eye(3), [10.0, 0, 0])])
        self.truth = Trajectory(stamps, poses) if known else None

    def scan(self, number):
        y, z = np.random.default_rng(number).uniform(-4, 4, (2, 5000))
        in_map = np.column_stack([np.full(5000, 20.0), y, z])
        in_lidar = transform(inverse(self.truth.at(self.scan_stamps[number]) @ self.calibration.T_base_lidar), in_map)
        return np.column_stack([in_lidar, np.full(5000, 0.5)]).astype(np.float32)

    def image(self, number):
        return np.full((40, 60, 3), number, np.uint8)


def test_images_belong_to_the_nearest_scan_and_see_from_their_own_time(tmp_path):
    drive_shard(LateImages(), tmp_path / "s.npz", queries="odd")
    shard = Shard(tmp_path / "s.npz")
    frames = [shard.frame(k) for k in range(len(shard))]
    # images are 20 ms and 30 ms from a scan; those of scans 1, 3 and 5, the last without one near it
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 5, 6, 9, 10]
    for frame in frames[:-1]:
        number = int(frame.image[0, 0, 0])
        forward = 0.5 * number + 0.2
        np.testing.assert_allclose(frame.T_map_camera[:3, 3], [1 + forward, 0, 0], atol=1e-9)
        assert np.nanmedian(frame.depth) == pytest.approx(19 - forward, abs=0.01)
    assert np.isnan(frames[-1].depth).all()


def test_frames_are_counted_in_scans(tmp_path):
    drive_shard(LateImages(), tmp_path / "s.npz", frames="2-4", queries="even")
    shard = Shard(tmp_path / "s.npz")
    assert [int(shard.frame(k).image[0, 0, 0]) for k in range(len(shard))] == [3, 4, 7, 8]
    with pytest.raises(InputError, match="no image belongs to the even ones of the frames '3'"):
        drive_shard(LateImages(), tmp_path / "t.npz", frames="3", queries="even")
    with pytest.raises(InputError, match="nowhere: not there, training needs true poses"):
        drive_shard(LateImages(known=False), tmp_path / "t.npz")
    assert not (tmp_path / "t.npz").exists()


def test_the_shipped_settings_are_valid_the_examples_in_its_comments_too():
    text = (Path(__file__).parents[2] / "config" / "train" / "data.yaml").read_text()
    assert DataConfig(**yaml.safe_load(text)).drives[0].sequence == "2011_09_26_0005"
    _, examples = text.split("  # and others, with `frames` and `queries` as above:\n")
    drives = DataConfig(**yaml.safe_load("drives:\n" + re.sub("^  # ", "  ", examples, flags=re.M))).drives
    assert [drive.kind for drive in drives] == ["kitti_raw", "argoverse2", "bag"]


def test_a_missing_sequence_is_named(tmp_path):
    with pytest.raises(InputError, match="no such sequence"):
        make_data(tmp_path, drives=[{"kind": "kitti", "root": str(tmp_path), "sequence": "00", "name": "k"}])


@pytest.mark.parametrize(
    "drive, message",
    [
        ({"kind": "waymo", "name": "a"}, "drives.0.*'waymo'.*kitti"),
        ({"name": "a"}, "drives.0"),
        ({"kind": "kitti_raw", "root": "/r", "name": "a"}, "drives.0.kitti_raw.drive: Field required"),
        ({"kind": "argoverse2", "log": "/l", "name": "a", "queries": ["none"]}, "queries.0"),
        ({"kind": "bag", "bag": "/b", "name": "a"}, "map: Field required"),
        ({"kind": "bag", "bag": "/b", "map": "/m", "name": "k_odd"}, "two drives give the shard k_odd"),
    ],
)
def test_bad_settings_name_the_field(tmp_path, drive, message):
    with pytest.raises(ConfigError, match=message):
        make_data(tmp_path, drives=[drive, {"kind": "kitti", "root": "/r", "sequence": "00", "name": "k"}])
