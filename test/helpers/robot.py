# SPDX-License-Identifier: Apache-2.0
"""A robot on a straight street that publishes what a robot publishes, faults included."""

from __future__ import annotations

import time
from array import array

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from helpers import FOLDER
from helpers.ros_side import RosSide, wait_until
from helpers.tiny_bag import T_BASE_CAMERA, K
from lhmap_loc_ros.geometry import inverse, make_pose, pose_error
from lhmap_loc_ros.lhmap import MapMetadata, MapPoints, write_map
from lhmap_loc_ros.nodes import conversions as convert

STAND_IN = FOLDER / "localizer_that_reads_images.py"
"""The node with a refiner that reads from an image where it was taken."""
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
SPEED, LENGTH, RATE = 3.0, 200.0, 10
MAGIC = b"LHMB"


def truth_at(stamp_ns):
    """T_map_base: along x at 3 m/s."""
    return make_pose(np.eye(3), [SPEED * (stamp_ns - START) / SECOND, 0.0, 0.0])


def write_street(path, **metadata):
    """Ground and two walls for a minute, with the path of the mapping drive."""
    random, n = np.random.default_rng(1), 60_000
    along, side = random.uniform(-50, LENGTH, n), random.choice([-6.0, 6.0], n)
    ground = random.random(n) < 0.4
    points = np.column_stack([along, np.where(ground, random.uniform(-6, 6, n), side), random.uniform(0, 5, n)])
    points[ground, 2] = 0
    ones = np.ones(n, np.float32)
    path_poses = tuple((float(x), 0.0, 0.0, 0.0) for x in range(0, int(LENGTH), 5))
    metadata = MapMetadata(path=path_poses, path_length_m=LENGTH, **metadata)
    write_map(path, MapPoints(points, ones * 0.5, ones, np.zeros(3)), metadata)
    return path


def picture(stamp_ns, width=160, height=48, beside_m=0.0):
    """An image that tells the stand-in of the networks where it was taken."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    told = MAGIC + np.int64(stamp_ns).tobytes() + np.float64(beside_m).tobytes()
    pixels[0, :8] = np.frombuffer(told.ljust(24, b"\0"), np.uint8).reshape(8, 3)
    return pixels


def place_in(pixels):
    """Where an image was taken, T_map_base; None if it shows nothing of the kind."""
    told = pixels[0, :8].tobytes()
    if not told.startswith(MAGIC):
        return None
    stamp_ns, beside_m = np.frombuffer(told[4:12], np.int64)[0], np.frombuffer(told[12:20], np.float64)[0]
    return make_pose(np.eye(3), [0, beside_m, 0]) @ truth_at(int(stamp_ns))


def calibration(stamp_ns, width, height):
    """That of images of any size."""
    info = CameraInfo(header=convert.header(stamp_ns, "camera"), height=height, width=width)
    info.k = (K * [[width / 160], [width / 160], [1]]).ravel().tolist()
    info.distortion_model = "plumb_bob"
    return info


def image_message(stamp_ns, pixels):
    """Pixels (H, W, 3) as the camera sends them."""
    message = Image(header=convert.header(stamp_ns, "camera"), height=pixels.shape[0], width=pixels.shape[1])
    message.encoding, message.step, message.data = "rgb8", 3 * pixels.shape[1], array("B", pixels.tobytes())
    return message


class Robot(RosSide):
    """Drives by `drive`, twice as fast as its clock says, and keeps what the localizer publishes."""

    def __init__(self, reliability=ReliabilityPolicy.RELIABLE):
        super().__init__()
        self._reliability = reliability

    def __enter__(self) -> Robot:
        super().__enter__()
        self.stamp_ns, self.size, self.jump_m = START, (160, 48), 0.0
        sensors = QoSProfile(depth=100, reliability=self._reliability)
        self._image = self.node.create_publisher(Image, "image", sensors)
        self._info = self.node.create_publisher(CameraInfo, "camera_info", sensors)
        self._odometry = self.node.create_publisher(Odometry, "odometry", sensors)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._tf_static = self.node.create_publisher(TFMessage, "/tf_static", latched)
        self._initial = self.node.create_publisher(PoseWithCovarianceStamped, "initialpose", 10)
        self.poses = self.collect(PoseWithCovarianceStamped, "pose")
        self.states = self.collect(String, "state", latched)
        self.status = self.collect(DiagnosticArray, "status")
        self.diagnostics = self.collect(DiagnosticArray, "/diagnostics")
        mount = convert.matrix_to_transform(T_BASE_CAMERA, convert.header(0, "base_link"), "camera")
        self._tf_static.publish(TFMessage(transforms=[mount]))
        return self

    def begin(self):
        """Meets the localizer, says where the robot is, and drives until it tracks."""
        assert wait_until(lambda: self._image.get_subscription_count() and self._initial.get_subscription_count(), 60)
        assert wait_until(lambda: self._odometry.get_subscription_count() == 1)
        self.send_initial()
        self.drive(0.5)
        assert self.drive_until("TRACKING"), [m.data for m in self.states]

    def send_initial(self, frame="map"):
        message = PoseWithCovarianceStamped(header=convert.header(self.stamp_ns, frame))
        covariance = np.diag([0.5] * 3 + [0.01] * 3)
        message.pose = convert.to_pose_with_covariance(truth_at(self.stamp_ns), covariance)
        self._initial.publish(message)

    def drive(self, seconds, image=picture, odometry=True):
        """Goes on for so long by its own clock; `image(stamp)` gives pixels, or None for no image."""
        for _ in range(round(seconds * RATE)):
            began = time.monotonic()
            if odometry:
                self.send_odometry(self.stamp_ns)
            self.send_image(self.stamp_ns, image(self.stamp_ns))
            self.stamp_ns += SECOND // RATE
            time.sleep(max(0.0, began + 0.5 / RATE - time.monotonic()))

    def drive_until(self, state, seconds=15, **how):
        """Whether a state was reached in that time."""
        for _ in range(seconds * 2):
            if self.state == state:
                return True
            self.drive(0.5, **how)
        return False

    def send_image(self, stamp_ns, pixels):
        if pixels is None:
            return
        self._info.publish(calibration(stamp_ns, pixels.shape[1], pixels.shape[0]))
        self._image.publish(image_message(stamp_ns, pixels))

    def send_odometry(self, stamp_ns, pose=None):
        pose = inverse(truth_at(START)) @ truth_at(stamp_ns) if pose is None else pose
        pose = make_pose(np.eye(3), [self.jump_m, 0, 0]) @ pose
        message = Odometry(header=convert.header(stamp_ns, "odom"), child_frame_id="base_link")
        message.pose.pose = convert.matrix_to_pose(pose)
        self._odometry.publish(message)

    @property
    def state(self):
        """The last one published."""
        return self.states[-1].data if self.states else None

    def error(self, message=None, beside_m=0.0):
        """Distance [m] of the last pose, or of one, from the truth."""
        message = message or self.poses[-1]
        truth = make_pose(np.eye(3), [0, beside_m, 0]) @ truth_at(convert.to_ns(message.header.stamp))
        return pose_error(convert.pose_to_matrix(message.pose.pose), truth)[0]

    def diagnosed(self, subject, words, seconds=10):
        """Whether /diagnostics comes to say some words of a subject."""

        def says():
            statuses = self.diagnostics[-1].status if self.diagnostics else []
            return any(s.name.endswith(subject) and words in s.message for s in statuses)

        return wait_until(says, seconds)

    def last(self, key):
        """What the status of the last image says."""
        return {v.key: v.value for v in self.status[-1].status[0].values}[key]

    def figure(self, subject, key):
        """A figure of the last /diagnostics."""
        (status,) = [s for s in self.diagnostics[-1].status if s.name.endswith(subject)]
        return float({v.key: v.value for v in status.values}[key])

    def never_confidently_wrong(self):
        """No pose is more than 3 m off while its covariance says otherwise."""
        for message in self.poses:
            sigma = np.sqrt(np.linalg.eigvalsh(np.reshape(message.pose.covariance, (6, 6))[:3, :3])[-1])
            if self.error(message) > max(3.0, 3 * sigma):
                return False
        return True
