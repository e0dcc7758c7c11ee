# SPDX-License-Identifier: Apache-2.0
"""Messages to arrays and back, and what is said about messages that hold nonsense."""

import array

import cv2
import cv_bridge
import numpy as np
import pytest
from geometry_msgs.msg import Pose
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CompressedImage, Image
from sensor_msgs_py import point_cloud2

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import make_pose, se3_exp
from lhmap_loc_ros.lhmap import MapPoints
from lhmap_loc_ros.nodes import conversions as convert
from lhmap_loc_ros.nodes.initial_pose import InitialPose

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
HEAD = convert.header(1_700_000_000_123_456_789, "map")
POSE = make_pose(Rotation.from_euler("xyz", [0.1, -0.2, 2.0]), [3.0, -4.0, 5.0])


def image(pixels, encoding, padding=0):
    rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, padding)))
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=rows.shape[1])
    message.data = array.array("B", rows.tobytes())
    return message


def test_stamps_keep_every_nanosecond():
    assert convert.to_ns(HEAD.stamp) == 1_700_000_000_123_456_789


@pytest.mark.parametrize("frame", ["", "camera", "caméra_optical_frame"])
def test_header_is_read_from_a_serialized_image(frame):
    message = image(PIXELS, "rgb8")
    message.header = convert.header(1_700_000_000_123_456_789, frame)
    data = serialize_message(message)
    assert convert.serialized_header(data) == (1_700_000_000_123_456_789, frame)
    for end in (0, 3, 12, 16 + len(frame.encode())):
        with pytest.raises(InputError, match=f"{end} bytes has no readable header"):
            convert.serialized_header(data[:end])


@pytest.mark.parametrize("padding", [0, 5])
def test_images_become_rgb(padding):
    grey = PIXELS[:, :, 0]
    np.testing.assert_array_equal(convert.image_to_array(image(PIXELS, "rgb8", padding)), PIXELS)
    np.testing.assert_array_equal(convert.image_to_array(image(PIXELS[:, :, ::-1], "bgr8", padding)), PIXELS)
    np.testing.assert_array_equal(convert.image_to_array(image(grey, "mono8", padding)), np.dstack([grey] * 3))


def test_a_compressed_image_is_decoded():
    data = cv2.imencode(".png", PIXELS[:, :, ::-1])[1].tobytes()
    message = CompressedImage(format="png", data=array.array("B", data))
    np.testing.assert_array_equal(convert.image_to_array(message), PIXELS)


def test_an_image_survives_the_way_out_and_back():
    message = convert.array_to_image(PIXELS, HEAD)
    assert (message.encoding, message.step, message.header) == ("rgb8", 24, HEAD)
    np.testing.assert_array_equal(convert.image_to_array(message), PIXELS)


def test_an_encoding_that_only_cv_bridge_knows_is_left_to_it(monkeypatch):
    asked = []

    def converts(self, message, desired_encoding):
        asked.append((message.encoding, desired_encoding))
        return PIXELS

    monkeypatch.setattr(cv_bridge.CvBridge, "imgmsg_to_cv2", converts)
    np.testing.assert_array_equal(convert.image_to_array(image(PIXELS, "of_tomorrow")), PIXELS)
    # what a bag's images are read by comes first, so that a node sees the same pixels
    convert.image_to_array(image(PIXELS[:, :, 0], "bayer_rggb8"))
    assert asked == [("of_tomorrow", "rgb8")]


@pytest.mark.parametrize("encoding", ["32FC3", "nonsense"])
def test_an_encoding_that_nothing_makes_colours_is_named(monkeypatch, encoding):
    message = image(PIXELS.astype(np.float32) if encoding == "32FC3" else PIXELS, encoding)
    with pytest.raises(InputError, match=f"{encoding}.*cv_bridge.*expected one of rgb8"):
        convert.image_to_array(message)
    monkeypatch.setattr(convert, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"{encoding}' found, expected one of rgb8"):
        convert.image_to_array(message)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"encoding": "nonsense"}, "nonsense"),
        ({"step": 3}, "rows of 3"),
        ({"height": 7}, "144 bytes"),
        ({"encoding": "mono8", "height": 0, "width": 0}, "0x0 mono8"),
        ({"encoding": "yuv422", "width": 7}, "7x6 yuv422"),
    ],
)
def test_a_broken_image_is_named(change, found):
    message = image(PIXELS, "rgb8")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InputError, match=found):
        convert.image_to_array(message)


def test_broken_compressed_data_is_named():
    with pytest.raises(InputError, match="cannot be decoded"):
        convert.image_to_array(CompressedImage(format="jpeg", data=array.array("B", b"nothing")))


def test_bytes_that_are_no_image_are_named():
    data = serialize_message(image(PIXELS, "rgb8"))
    with pytest.raises(InputError, match="60 bytes are no Image"):
        convert.read_image(data[:60], Image)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6))
def test_a_pose_survives_the_way_out_and_back(tangent):
    pose = se3_exp(tangent)
    np.testing.assert_allclose(convert.pose_to_matrix(convert.matrix_to_pose(pose)), pose, atol=1e-9)
    transform = convert.matrix_to_transform(pose, HEAD, "base_link")
    np.testing.assert_allclose(convert.transform_to_matrix(transform.transform), pose, atol=1e-9)


@pytest.mark.parametrize(("name", "value"), [("x", np.nan), ("z", np.inf)])
def test_a_pose_that_is_not_finite_is_named(name, value):
    pose = Pose()
    setattr(pose.position, name, value)
    with pytest.raises(InputError, match="not finite"):
        convert.pose_to_matrix(pose)


def test_a_quaternion_of_zero_is_named():
    pose = Pose()
    pose.orientation.w = 0.0
    with pytest.raises(InputError, match="norm zero"):
        convert.pose_to_matrix(pose)


def test_covariances_turn_from_the_body_to_the_axes_of_the_parent():
    # sigma points: what the message says must be the spread of position and fixed-axis rotation
    root = 1e-4 * np.diag([3.0, 0.5, 1.0, 0.1, 0.2, 0.3])
    moved = [POSE @ se3_exp(sign * np.sqrt(6) * column) for column in root.T for sign in (-1, 1)]
    position = np.array([m[:3, 3] - POSE[:3, 3] for m in moved])
    turn = np.array([Rotation.from_matrix(m[:3, :3] @ POSE[:3, :3].T).as_rotvec() for m in moved])
    spread = np.hstack([position, turn])
    message = convert.to_pose_with_covariance(POSE, root @ root)
    np.testing.assert_allclose(np.reshape(message.covariance, (6, 6)), spread.T @ spread / 12, atol=1e-11)
    pose, covariance = convert.from_pose_with_covariance(message)
    np.testing.assert_allclose(pose, POSE, atol=1e-9)
    np.testing.assert_allclose(covariance, root @ root, atol=1e-14)


def test_a_map_becomes_a_cloud_with_heat_as_intensity():
    points = np.random.default_rng(2).random((50, 3)).astype(np.float32)
    heat = np.linspace(0, 1, 50, dtype=np.float32)
    cloud = convert.map_to_cloud(MapPoints(points, 1 - heat, heat, np.array([10.0, 20.0, 30.0])), HEAD)
    rows = point_cloud2.read_points_numpy(cloud, ["x", "y", "z", "intensity"])
    np.testing.assert_allclose(rows[:, :3], points + [10, 20, 30], atol=1e-5)
    np.testing.assert_array_equal(rows[:, 3], heat)
    assert cloud.header == HEAD


def test_an_initial_pose_of_another_clock_is_taken_as_of_the_image():
    second = 1_000_000_000
    start = InitialPose(5 * second, np.eye(4), np.eye(6))
    assert start.stamp_for(24 * second) == 5 * second
    assert start.stamp_for(26 * second) == 26 * second
    assert start.stamp_for(4 * second) == 4 * second


def test_a_stamp_of_zero_is_that_of_the_next_image_though_simulated_time_begins_there():
    assert InitialPose(0, np.eye(4), np.eye(6)).stamp_for(8_000_000_000) == 8_000_000_000
