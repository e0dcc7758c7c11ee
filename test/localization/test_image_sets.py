# SPDX-License-Identifier: Apache-2.0
"""Bags of several cameras: images of one stamp give one pose, and no camera is needed at every moment."""

import numpy as np
import pytest
from helpers.tiny_bag import HEIGHT, START, T_BASE_CAMERA, WIDTH, K, KnowingRefiner, truth_at, write_walls

from lhmap_loc_ros.configuration import validate
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.errors import BagError
from lhmap_loc_ros.geometry import Camera, Rig, make_pose, pose_error
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.localization.image_sets import BagCameras
from lhmap_loc_ros.localization.inputs import BagInputs
from lhmap_loc_ros.localization.offline import LocalizeConfig, localize_bag
from lhmap_loc_ros.localization.start import StartPose

PERIOD_NS = 100_000_000
BEHIND = make_pose(np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0.0]]), [-0.5, 0.0, 1.4])
INPUTS = BagInputs(more_cameras=[{"image": "/rear/image_raw", "camera_info": "/rear/camera_info"}])


def write_two(path, frames=8, missing=(), late_ms=0, model="plumb_bob", matrix=K):
    """Two cameras at 10 Hz; the images of the second whose numbers are `missing` are not there."""
    random = np.random.default_rng(0)
    with BagWriter(path) as bag:
        bag.tf_static(START, {("base_link", "front"): T_BASE_CAMERA, ("base_link", "back"): BEHIND})
        for k in range(frames):
            stamp = START + k * PERIOD_NS
            for name, frame, shift in (("camera", "front", 0), ("rear", "back", late_ms * 1_000_000)):
                d = (0.0,) * (4 if model == "equidistant" else 5)
                bag.camera_info(f"/{name}/camera_info", stamp, frame, WIDTH, HEIGHT, matrix, d, model)
                if name == "camera" or k not in missing:
                    image = random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
                    bag.image(f"/{name}/image_raw", stamp + shift, frame, image)
    return path


def sets_of(path, inputs=INPUTS):
    with BagReader(path) as reader:
        return list(BagCameras(reader, inputs))


def test_images_of_one_stamp_are_one_rig(tmp_path):
    found = sets_of(write_two(tmp_path / "bag", late_ms=2))
    assert [seen.stamp_ns for seen in found] == [START + k * PERIOD_NS for k in range(8)]
    for seen in found:
        assert isinstance(seen.camera.camera, Rig) and len(seen.image) == 2
        seen.camera.camera.check_image(seen.image)
        front, back = (seen.camera.T_base_camera @ T for T in seen.camera.camera.T_rig_camera)
        np.testing.assert_allclose(front, T_BASE_CAMERA, atol=1e-6)
        np.testing.assert_allclose(back, BEHIND, atol=1e-6)


def test_a_missing_image_does_not_hold_up_the_other_camera(tmp_path):
    found = sets_of(write_two(tmp_path / "bag", missing=(2, 5, 6)))
    assert [len(seen.image) if isinstance(seen.image, tuple) else 1 for seen in found] == [2, 2, 1, 2, 2, 1, 1, 2]


def test_images_apart_in_time_come_one_after_the_other(tmp_path):
    found = sets_of(write_two(tmp_path / "bag", late_ms=40))
    assert len(found) == 16 and all(isinstance(seen.camera.camera, Camera) for seen in found)
    stamps = [seen.stamp_ns for seen in found]
    assert stamps == sorted(stamps)


def test_a_wide_lens_comes_as_its_views(tmp_path):
    wide = np.array([[45.0, 0, 79.5], [0, 45.0, 23.5], [0, 0, 1]])
    path = write_two(tmp_path / "bag", model="equidistant", matrix=wide)
    assert {len(seen.image) for seen in sets_of(path, BagInputs())} == {3}
    assert {len(seen.image) for seen in sets_of(path)} == {6}


class Listening(KnowingRefiner):
    """Remembers what it was asked about."""

    def __init__(self):
        super().__init__()
        self.cameras = []

    def refine(self, image, camera, submap, T_map_camera, mode=None, keep_trace=False):
        self.cameras.append(camera)
        return super().refine(image, camera, submap, T_map_camera)


def test_a_drive_of_two_cameras_gives_one_pose_a_stamp(tmp_path):
    bag, refiner = write_two(tmp_path / "bag", missing=(3,)), Listening()
    start = StartPose(truth_at(START), np.diag([0.04] * 3 + [1e-3] * 3))
    with LHMap.open(write_walls(tmp_path / "walls.lhmap")) as lhmap:
        record = localize_bag(bag, lhmap, start, LocalizeConfig(inputs=INPUTS), refiner=refiner)
    assert record.stamps_ns.tolist() == [START + k * PERIOD_NS for k in range(8)]
    assert [isinstance(camera, Rig) for camera in refiner.cameras] == [k != 3 for k in range(8)]
    assert pose_error(record.poses[-1], truth_at(int(record.stamps_ns[-1])))[0] < 0.15


def test_a_further_camera_that_the_bag_lacks_is_named(tmp_path):
    inputs = validate(BagInputs, {"more_cameras": [{"image": "/left/image_raw", "camera_info": "/left/info"}]})
    with pytest.raises(BagError, match=r"/left/image_raw.* inputs.more_cameras, name others; images are on /camera/im"):
        sets_of(write_two(tmp_path / "bag"), inputs)


def test_all_of_a_bag_whose_cameras_are_not_synchronised_is_localized(tmp_path):
    bag = write_two(tmp_path / "bag", late_ms=40)
    start = StartPose(truth_at(START), np.diag([0.04] * 3 + [1e-3] * 3))
    with LHMap.open(write_walls(tmp_path / "walls.lhmap")) as lhmap:
        config, told = LocalizeConfig(inputs=INPUTS), []
        record = localize_bag(bag, lhmap, start, config, lambda *done: told.append(done), refiner=Listening())
        assert len(record) == 16 and all(done <= total for _, done, total in told)
        assert len(localize_bag(bag, lhmap, start, config, refiner=Listening(), max_images=3)) == 3
    with BagReader(bag) as reader:
        assert BagCameras(reader, INPUTS).count() == 16
