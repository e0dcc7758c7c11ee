# SPDX-License-Identifier: Apache-2.0
"""Images of a mapping bag become features of cells whose places the map tells."""

from types import SimpleNamespace

import numpy as np
import pytest

from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import write_tum
from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import inverse, make_pose, transform
from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, write_map
from lhmap_loc_ros.scenes.encoder import COARSE, brought_to, cell_rays
from lhmap_loc_ros.training import scene_material
from lhmap_loc_ros.training.scene_material import gather

STEP_NS, START, FRAMES = 10**8, 1_700_000_000 * 10**9, 6
ORIGIN = np.array([500_000.0, 5_400_000.0, 100.0])  # UTM: too far away for float32
K = np.array([[300.0, 0, 303.5], [0, 300, 87.5], [0, 0, 1]])
T_BASE_CAMERA = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [1.0, 0, 1.5])
T_BASE_LIDAR = make_pose(np.eye(3), [0.0, 0, 2.0])


class Encoder:
    """Counts, and gives a cell's brightness; in place of the network."""

    sha256, coarse, images = "5ca1ab1e", COARSE, 0

    def __init__(self, view, threads=0):
        self.view = view

    def features(self, channels):
        Encoder.images += 1
        cells = channels[0, 4::8, 4::8].ravel()
        return np.repeat(cells[:, None], COARSE + 4, 1)


def pose_at(k):
    return make_pose(np.eye(3), ORIGIN + [0.6 * k, 0, 0])


def grid(y, z, x):
    """Points (N, 3) of a wall at `x`, in the map."""
    y, z = (part.ravel() for part in np.meshgrid(np.arange(*y, 0.1), np.arange(*z, 0.1)))
    return ORIGIN + np.column_stack([np.full(len(y), x), y, z])


WALL = grid((-12, 12), (-2, 6), 15.0)
CAR = grid((-1, 1), (0, 2), 8.0)


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """A bag that saw a car before a wall, and the map of the wall alone."""
    monkeypatch.setattr(scene_material, "SceneEncoder", Encoder)
    Encoder.images = 0
    points = MapPoints(WALL - ORIGIN, np.full(len(WALL), 0.5), np.ones(len(WALL)), ORIGIN)
    write_map(tmp_path / "wall.lhmap", points, MapMetadata(origin=tuple(ORIGIN), path_length_m=4.0))
    stamps = START + STEP_NS * np.arange(FRAMES + 2)
    write_tum(tmp_path / "bag.tum", Trajectory(stamps, np.array([pose_at(k) for k in range(FRAMES + 2)])))
    with BagWriter(tmp_path / "bag") as bag:
        frames = {"camera": T_BASE_CAMERA, "lidar": T_BASE_LIDAR}
        bag.tf_static(START, {("base_link", name): pose for name, pose in frames.items()})
        for k, stamp in enumerate(stamps[:FRAMES].tolist()):
            bag.camera_info("/camera/camera_info", stamp, "camera", 608, 176, K)
            bag.image("/camera/image_raw", stamp, "camera", np.full((176, 608, 3), 20 * k, np.uint8))
            seen = transform(inverse(pose_at(k) @ T_BASE_LIDAR), np.concatenate([WALL, CAR]))
            bag.points("/points", stamp, "lidar", seen, np.ones(len(seen)))
    with LHMap.open(tmp_path / "wall.lhmap") as lhmap:
        yield tmp_path, lhmap


def test_cells_lie_where_the_map_is(drive):
    folder, lhmap = drive
    material = gather(folder / "bag", lhmap, folder / "work", spacing_m=0.5)
    assert material.features.shape[:2] == (FRAMES, 22 * 76)
    known = np.isfinite(material.depth)
    assert known.mean() > 0.5
    rays = cell_rays(material.view)
    for pose, depth, ok in zip(material.T_map_camera, material.depth, known, strict=True):
        places = (rays * np.nan_to_num(depth)[:, None]) @ pose[:3, :3].T + pose[:3, 3]
        np.testing.assert_allclose(places[ok, 0] - ORIGIN[0], 15.0, atol=0.1)


def test_cells_that_a_scan_saw_something_before_are_left_out(drive):
    folder, lhmap = drive
    material = gather(folder / "bag", lhmap, folder / "work", spacing_m=0.5)
    middle = material.hidden[0].reshape(22, 76)
    # 7 m before the camera the car is some 85 pixels wide, and the camera's height is in its upper half
    assert middle[10:12, 36:40].all() and not middle[:, :28].any() and 0.02 < middle.mean() < 0.2


def test_an_image_goes_with_the_scan_nearest_to_it_in_time_and_with_none_that_is_far():
    scans = [SimpleNamespace(stamp_ns=ms * 10**6) for ms in (20, 90, 160, 400, 1000)]
    taken = scene_material._own_scans(scans, np.array([100, 390, 700]) * 10**6)
    assert [(k, scan.stamp_ns // 10**6) for k, scan in taken] == [(0, 90), (1, 400)]


def test_images_are_taken_so_far_apart_and_what_is_done_is_not_done_again(drive):
    folder, lhmap = drive
    first = gather(folder / "bag", lhmap, folder / "work", spacing_m=1.0)
    assert len(first.features) == 3 == Encoder.images
    (folder / "work" / "000002.npy").write_bytes(b"torn")
    again = gather(folder / "bag", lhmap, folder / "work", spacing_m=1.0)
    assert Encoder.images == 4
    np.testing.assert_array_equal(first.features, again.features)


def test_a_folder_with_the_features_of_something_else_is_refused(drive):
    folder, lhmap = drive
    (folder / "work").mkdir()
    (folder / "work" / "features.json").write_text('{"bag": "other"}')
    with pytest.raises(InputError, match="work: holds features of .*other.*give another folder"):
        gather(folder / "bag", lhmap, folder / "work")


def test_a_bag_beside_the_map_is_refused(drive, tmp_path_factory):
    folder, _ = drive
    far = MapPoints(WALL - ORIGIN, np.full(len(WALL), 0.5), np.ones(len(WALL)), ORIGIN + 5000)
    path = tmp_path_factory.mktemp("far") / "far.lhmap"
    write_map(path, far, MapMetadata(origin=tuple(ORIGIN + 5000), path_length_m=4.0))
    with LHMap.open(path) as lhmap, pytest.raises(InputError, match="no image of /camera/image_raw .* has a pose"):
        gather(folder / "bag", lhmap, folder / "work")


def test_another_camera_sees_the_same_in_the_same_cells():
    from lhmap_loc_ros.geometry import Camera

    view = Camera(608, 176, 300.0, 300.0, 303.5, 87.5)
    wide = Camera(1600, 800, 400.0, 400.0, 799.5, 399.5)
    image = np.zeros((800, 1600, 3), np.uint8)
    image[:, 850:] = 255
    channels, seen = brought_to(image, wide, view)
    # 50 pixels of 400 beside the middle are 38 of 300
    edge = int(np.argmax(channels[0, 88] > 0.5))
    assert abs(edge - (303.5 + 50 * 300 / 400)) < 2 and seen.all()
    narrow = Camera(400, 800, 400.0, 400.0, 199.5, 399.5)
    assert not brought_to(np.zeros((800, 400, 3), np.uint8), narrow, view)[1].all()
    with pytest.raises(InputError, match="sees .* % of what the mapping robot's did"):
        brought_to(np.zeros((80, 100, 3), np.uint8), Camera(100, 80, 900.0, 900.0, 49.5, 39.5), view)
