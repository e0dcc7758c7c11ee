# SPDX-License-Identifier: Apache-2.0
"""A drive with many awkward things at once, offline: poses as good as without, and the report counts what was left out.

test/nodes has the same for the live node.
"""

import cv2
import numpy as np
import pytest
from helpers.raw_bag import NAN, Bag, header, make, mount, parts
from helpers.tiny_bag import (
    HEIGHT,
    SECOND,
    START,
    T_BASE_CAMERA,
    WIDTH,
    K,
    KnowingRefiner,
    truth_at,
    write_truth,
    write_walls,
)

from lhmap_loc_ros.configuration import validate
from lhmap_loc_ros.datasets.tum import read_tum
from lhmap_loc_ros.geometry import inverse, pose_error
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.localization.offline import LocalizeConfig, localize_bag
from lhmap_loc_ros.localization.start import near_truth

FRAMES, STEP = 30, SECOND // 10


def odometry(stamp, pose, child="base_link", scale=1.0, shift=0.0):
    (x, y, z), quaternion = parts(pose, scale)
    placed = make("geometry_msgs/Pose", make("geometry_msgs/Point", x + shift, y, z),
                  make("geometry_msgs/Quaternion", *quaternion))  # fmt: skip
    still = make("geometry_msgs/Twist", *[make("geometry_msgs/Vector3", 0.0, 0.0, 0.0)] * 2)
    return make("nav_msgs/Odometry", header(stamp, "odom"), child, make("geometry_msgs/PoseWithCovariance", placed,
                np.zeros(36)), make("geometry_msgs/TwistWithCovariance", still, np.zeros(36)))  # fmt: skip


def camera_info(stamp, width=WIDTH, height=HEIGHT, matrix=K, d=()):
    projection = np.hstack([matrix, np.zeros((3, 1))]).ravel()
    whole = make("sensor_msgs/RegionOfInterest", *[0] * 4, False)
    return make("sensor_msgs/CameraInfo", header(stamp, "/camera"), height, width, "PLUMB_BOB", np.array(d, float),
                np.array(matrix, float).ravel(), np.eye(3).ravel(), projection, 0, 0, whole)  # fmt: skip


def picture(k, width=WIDTH):
    """Which tells its number."""
    pixels = np.random.default_rng(k).integers(0, 255, (HEIGHT, width, 3), np.uint8)
    pixels[0, 0] = k
    return pixels


def image(stamp, pixels, form="png"):
    data = pixels if isinstance(pixels, bytes) else cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()
    return make("sensor_msgs/CompressedImage", header(stamp, "/camera"), form, np.frombuffer(data, np.uint8))


def write_drive(path, awkward):
    """30 images at 10 Hz, odometry at 20 Hz."""
    with Bag(path) as bag:
        wrong = [mount("base_link", "gps", np.eye(4), scale=0.0), mount("base_link", "imu", np.eye(4), shift=NAN)]
        transforms = [*(wrong if awkward else []), mount("/base_link", "/camera", T_BASE_CAMERA)]
        bag.write("/tf_static", make("tf2_msgs/TFMessage", transforms))
        if awkward:
            bag.write("/camera_info", camera_info(START, matrix=np.zeros((3, 3))))
            bag.write("/camera_info", camera_info(START, d=[NAN] * 5))
        for k in range(FRAMES):
            stamp = START + k * STEP
            for half in (stamp, stamp + STEP // 2):
                pose = inverse(truth_at(START)) @ truth_at(half)
                bag.write("/odom", odometry(half, pose, child="" if awkward and k % 3 == 0 else "/base_link"))
                if awkward and k % 5 == 2:
                    bag.write("/odom", odometry(half + 1, pose, shift=NAN))
                    bag.write("/odom", odometry(half + 2, pose, scale=0.0))
                    bag.write("/odom", odometry(half + 3, pose), spoil=lambda data: data[:100])
            bag.write("/camera_info", camera_info(stamp, 0, 0) if awkward else camera_info(stamp))
            if awkward:
                write_useless(bag, k, stamp)
            bag.write("/image", image(stamp, picture(k)))
            if awkward and k % 6 == 4:
                bag.write("/image", image(stamp, picture(k)))
            if awkward and k % 6 == 5:
                bag.write("/image", image(stamp - 3 * STEP - 7, picture(k)))
    return path


def write_useless(bag, k, stamp):
    """Before image k, now and then."""
    if k % 6 == 0:
        bag.write("/image", image(stamp - 5, b"\xff\xd8\xff\xe0 broken off", "jpeg"))
    elif k % 6 == 1:
        bag.write("/image", image(stamp - 5, picture(k, WIDTH // 2)))
    elif k % 6 == 2:
        bag.write("/image", image(stamp + 1000 * 86400 * SECOND, picture(k)))
    elif k % 6 == 3:
        bag.write("/image", image(stamp - 5, picture(k)), spoil=lambda data: data[:30])


class Reading(KnowingRefiner):
    """Knows the pose by the number that is written into an image."""

    def refine(self, image, camera, crop, T_map_camera, start=None, keep_trace=False):
        self.next = int(image[0, 0, 0])
        return super().refine(image, camera, crop, T_map_camera, start, keep_trace)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_truth(folder / "truth.tum", FRAMES)
    write_walls(folder / "walls.lhmap")
    return folder


def localized(world, name, awkward):
    truth = read_tum(world / "truth.tum")
    names = {"inputs": {"image": "/image", "camera_info": "/camera_info", "odometry": "/odom"}}
    config = validate(LocalizeConfig, names)
    with LHMap.open(world / "walls.lhmap") as lhmap:
        return localize_bag(
            write_drive(world / name, awkward), lhmap, lambda stamp: near_truth(truth, stamp, 3), config,
            refiner=Reading(),
        )  # fmt: skip


def test_poses_are_as_good_as_without_and_what_was_left_out_is_counted(world):
    usual, awkward = localized(world, "usual", False), localized(world, "awkward", True)
    assert not usual.left_out and awkward.states[-1] == "TRACKING"
    np.testing.assert_array_equal(awkward.stamps_ns, usual.stamps_ns)
    errors = [
        [pose_error(pose, truth_at(int(stamp)))[0] for stamp, pose in zip(run.stamps_ns, run.poses, strict=True)]
        for run in (usual, awkward)
    ]
    assert np.median(errors[1]) < 1.2 * np.median(errors[0]) + 0.01 and max(errors[1]) < 0.3
    counted = {
        "/image: compressed image ('jpeg'": 5, "(48, 80, 3)": 5, "long after the image before, and no other": 5,
        "/image: damaged": 5, "/image: stamped as the image before": 5, "/image: stamped before the image before": 5,
        "gps: quaternion": 1, "imu: pose is not finite": 1, "/odom: pose is not finite": 12,
        "/odom: quaternion": 12, "/odom: damaged": 12, "fx 0": 1, "distortion": 1,
    }  # fmt: skip
    for words, expected in counted.items():
        assert [n for told, n in awkward.left_out.items() if words in told] == [expected], (words, awkward.left_out)
    assert sum(awkward.left_out.values()) == sum(counted.values())
