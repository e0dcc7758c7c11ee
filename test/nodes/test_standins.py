# SPDX-License-Identifier: Apache-2.0
"""ROS packages without a wheel as the nodes use them; the same must hold for the real packages."""

import array
from itertools import product

import numpy as np
import pytest
from cv_bridge import CvBridge, CvBridgeError
from geometry_msgs.msg import TransformStamped
from helpers.ros_side import RosSide, wait_until
from rclpy.duration import Duration
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from tf2_ros import (
    Buffer,
    ConnectivityException,
    ExtrapolationException,
    LookupException,
    StaticTransformBroadcaster,
    TransformBroadcaster,
    TransformException,
    TransformListener,
)
from tf_transformations import quaternion_from_matrix, quaternion_matrix

from lhmap_loc_ros.datasets.decoding import decode_image
from lhmap_loc_ros.geometry import from_quaternion, inverse, make_pose, se3_exp, to_quaternion
from lhmap_loc_ros.nodes import conversions as convert

SECOND = 1_000_000_000


def edge(parent, child, stamp_ns, yaw_deg=0.0, xyz=(0.0, 0.0, 0.0)):
    pose = make_pose(Rotation.from_euler("z", yaw_deg, degrees=True), xyz)
    return convert.matrix_to_transform(pose, convert.header(stamp_ns, parent), child)


def matrix(transform):
    return convert.transform_to_matrix(transform.transform)


@pytest.fixture
def tree():
    """map -> odom -> base_link -> camera (static), and island -> beach."""
    buffer = Buffer()
    for stamp in (10 * SECOND, 12 * SECOND):
        buffer.set_transform(edge("map", "odom", stamp, xyz=(100.0, 0, 0)), "test")
    buffer.set_transform(edge("odom", "base_link", 10 * SECOND, 0.0, (0.0, 0, 0)), "test")
    buffer.set_transform(edge("odom", "base_link", 11 * SECOND, 90.0, (2.0, 0, 0)), "test")
    buffer.set_transform_static(edge("base_link", "camera", 0, xyz=(1.0, 0, 0.5)), "test")
    buffer.set_transform_static(edge("island", "beach", 0), "test")
    return buffer


def test_transforms_are_interpolated(tree):
    half = tree.lookup_transform("odom", "base_link", Time(nanoseconds=10 * SECOND + SECOND // 2))
    np.testing.assert_allclose(matrix(half)[:3, 3], [1.0, 0, 0])
    np.testing.assert_allclose(Rotation.from_matrix(matrix(half)[:3, :3]).as_euler("xyz", degrees=True), [0, 0, 45])
    assert (half.header.frame_id, half.child_frame_id) == ("odom", "base_link")


def test_chains_are_joined_and_turned_round(tree):
    time = Time(nanoseconds=11 * SECOND)
    there = matrix(tree.lookup_transform("map", "camera", time))
    np.testing.assert_allclose(there[:3, 3], [102.0, 1.0, 0.5], atol=1e-9)
    back = matrix(tree.lookup_transform("camera", "map", time))
    np.testing.assert_allclose(back, inverse(there), atol=1e-9)


def test_time_zero_is_the_newest_time_that_all_know(tree):
    assert convert.to_ns(tree.lookup_transform("map", "camera", Time()).header.stamp) == 11 * SECOND
    assert convert.to_ns(tree.lookup_transform("base_link", "camera", Time()).header.stamp) == 0


@pytest.mark.parametrize(
    ("target", "source", "seconds", "error", "words"),
    [
        ("map", "nowhere", 11, LookupException, "nowhere"),
        ("map", "beach", 11, ConnectivityException, "not part of the same tree"),
        ("odom", "base_link", 20, ExtrapolationException, "into the future"),
        ("odom", "base_link", 5, ExtrapolationException, "into the past"),
    ],
)
def test_what_cannot_be_looked_up_is_an_error(tree, target, source, seconds, error, words):
    with pytest.raises(error, match=words):
        tree.lookup_transform(target, source, Time(seconds=seconds))
    assert issubclass(error, TransformException)
    assert not tree.can_transform(target, source, Time(seconds=seconds))


def test_what_is_malformed_is_not_stored():
    buffer = Buffer()
    broken = edge("map", "odom", SECOND)
    broken.transform.translation.x = float("nan")
    for transform in (broken, edge("map", "map", SECOND), edge("map", "", SECOND)):
        try:  # the real package logs, and drops the transform
            buffer.set_transform(transform, "test")
        except TransformException:
            pass
    assert not buffer.can_transform("map", "odom", Time())


def test_a_quaternion_of_another_length_is_normalized():
    buffer, long = Buffer(), edge("map", "odom", SECOND, 90.0, (1.0, 2.0, 3.0))
    for name in "xyzw":
        setattr(long.transform.rotation, name, 5 * getattr(long.transform.rotation, name))
    buffer.set_transform(long, "test")
    found = matrix(buffer.lookup_transform("map", "odom", Time()))
    np.testing.assert_allclose(found, matrix(edge("map", "odom", SECOND, 90.0, (1.0, 2.0, 3.0))), atol=1e-9)


def test_old_transforms_are_forgotten_when_the_next_one_comes():
    buffer = Buffer(cache_time=Duration(seconds=2))
    for second in (1, 2, 3, 4):
        buffer.set_transform(edge("map", "odom", second * SECOND), "test")
    assert buffer.can_transform("map", "odom", Time(seconds=3))
    assert buffer.can_transform("map", "odom", Time(seconds=1))
    buffer.set_transform(edge("map", "odom", 5 * SECOND), "test")
    buffer.set_transform(edge("map", "odom", 2 * SECOND), "test")  # too old by now
    assert not buffer.can_transform("map", "odom", Time(seconds=1))


def test_broadcast_transforms_arrive_also_late_static_ones(ros):
    still = StaticTransformBroadcaster(ros.node)
    still.sendTransform(edge("base_link", "camera", 0, xyz=(1.0, 0, 0)))
    still.sendTransform([edge("base_link", "lidar", 0, xyz=(0, 0, 2.0))])
    moving = TransformBroadcaster(ros.node)
    with RosSide() as other:
        buffer = Buffer()
        listener = TransformListener(buffer, other.node)
        # both static ones, though sent before anybody listened, in two calls
        assert wait_until(lambda: buffer.can_transform("camera", "lidar", Time()))
        assert wait_until(lambda: moving.pub_tf.get_subscription_count() > 0)
        moving.sendTransform(edge("odom", "base_link", 7 * SECOND, xyz=(3.0, 0, 0)))
        assert wait_until(lambda: buffer.can_transform("odom", "camera", Time(seconds=7)))
        np.testing.assert_allclose(
            matrix(buffer.lookup_transform("odom", "camera", Time(seconds=7)))[:3, 3], [4.0, 0, 0]
        )
        listener.unregister()
        assert wait_until(lambda: moving.pub_tf.get_subscription_count() == 0)


def test_a_lookup_waits_for_a_transform_to_come(ros):
    buffer = Buffer()
    buffer.listener = TransformListener(buffer, ros.node)  # the real one listens for as long as it lives
    with RosSide() as other:
        still = StaticTransformBroadcaster(other.node)
        still.sendTransform(edge("a", "b", 0, xyz=(1.0, 0, 0)))
        found = buffer.lookup_transform("a", "b", Time(), timeout=Duration(seconds=20))
    np.testing.assert_allclose(matrix(found)[:3, 3], [1.0, 0, 0])


def test_tf_messages_survive_serialization():
    message = TFMessage(transforms=[edge("a", "b", SECOND, 30.0), TransformStamped(child_frame_id="c")])
    for _ in range(100):
        assert deserialize_message(serialize_message(message), TFMessage) == message


FIELDS = [
    PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
    PointField(name="y", offset=4, datatype=PointField.FLOAT32, count=1),
    PointField(name="z", offset=8, datatype=PointField.FLOAT32, count=1),
    PointField(name="ring", offset=16, datatype=PointField.UINT16, count=1),
]


def test_clouds_survive_the_way_out_and_back():
    points = np.zeros(5, point_cloud2.dtype_from_fields(FIELDS))
    points["x"], points["ring"] = np.arange(5), np.arange(5) * 100
    points["y"][2] = np.nan
    cloud = point_cloud2.create_cloud(Header(frame_id="lidar"), FIELDS, points)
    assert (cloud.width, cloud.height, cloud.point_step) == (5, 1, 18)
    np.testing.assert_array_equal(point_cloud2.read_points(cloud)["ring"], points["ring"])
    read = point_cloud2.read_points(cloud, field_names=["x", "y"], skip_nans=True)
    np.testing.assert_array_equal(read["x"], [0, 1, 3, 4])


def test_clouds_of_plain_rows():
    rows = np.random.default_rng(0).random((7, 3)).astype(np.float32)
    cloud = point_cloud2.create_cloud_xyz32(Header(), rows)
    np.testing.assert_array_equal(point_cloud2.read_points_numpy(cloud), rows)


RANDOM = np.random.default_rng(0).integers(0, 1 << 16, (8, 12, 4), np.uint16)


def an_image(encoding, values, channels, big=False, padding=0):
    """A message of rows that are `padding` pixels longer than the image."""
    pixels = values[..., :channels]
    rows = np.pad(pixels, ((0, 0), (0, padding), (0, 0))).reshape(len(pixels), -1)
    data = rows.astype(rows.dtype.newbyteorder(">" if big else "<")).tobytes()
    height, width, _ = pixels.shape
    step = len(data) // height
    return Image(
        height=height, width=width, encoding=encoding, step=step, is_bigendian=int(big), data=array.array("B", data)
    )


@pytest.mark.parametrize(
    "colour, channels, bits",
    [
        *product(("mono",), (1,), (8, 16)), *product(("rgb", "bgr"), (3,), (8, 16)),
        *product(("rgba", "bgra"), (4,), (8, 16)), *product(("yuv422", "yuv422_yuy2"), (2,), ("",)),
        *product(("bayer_rggb", "bayer_bggr", "bayer_gbrg", "bayer_grbg"), (1,), (8, 16)),
    ],
)  # fmt: skip
def test_images_of_cv_bridge_are_those_of_the_node(colour, channels, bits):
    values = RANDOM if bits == 16 else RANDOM.astype(np.uint8)
    message = an_image(f"{colour}{bits}", values, channels, padding=2)
    made = CvBridge().imgmsg_to_cv2(message, "rgb8")
    # of 16 bits one keeps the upper eight, the other rounds; a pattern is made colours after or before that
    assert np.abs(made.astype(int) - decode_image(message)).max() <= (2 if bits == 16 else 0)


def test_images_of_cv_bridge_as_they_are():
    values = RANDOM.astype(np.float32)
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(an_image("32FC2", values, 2)), values[..., :2])
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(an_image("16UC1", RANDOM, 1)), RANDOM[..., 0])
    for encoding in ("32FC3", "nonsense"):
        with pytest.raises(CvBridgeError):
            CvBridge().imgmsg_to_cv2(an_image(encoding, values, 3), "rgb8")


@pytest.mark.parametrize("tangent", [(0, 0, 0), (0.3, -0.2, 2.9), (-1e-9, 0, 0), (0, 0, np.pi), (1.0, 2.0, -0.5)])
def test_quaternions_of_tf_transformations_are_those_of_the_package(tangent):
    pose = se3_exp([0, 0, 0, *tangent])
    quaternion = quaternion_from_matrix(pose)
    assert quaternion[3] >= 0 and np.linalg.norm(quaternion) == pytest.approx(1)
    np.testing.assert_allclose(quaternion_matrix(quaternion), pose, atol=1e-9)
    # of half a turn there are two
    assert abs(np.dot(quaternion, to_quaternion(pose)[1])) == pytest.approx(1)
    other_length = np.multiply(quaternion, 3)
    np.testing.assert_allclose(quaternion_matrix(other_length), from_quaternion((0, 0, 0), other_length), atol=1e-9)
