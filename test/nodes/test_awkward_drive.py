# SPDX-License-Identifier: Apache-2.0
"""A drive with everything awkward at once, over DDS: poses as good as without, and what was left out is counted."""

import signal
from array import array

import cv2
import numpy as np
from geometry_msgs.msg import TransformStamped
from helpers.robot import RATE, SECOND, STAND_IN, Robot, calibration, picture, write_street
from helpers.ros_side import Process, ros_parameters, wait_until
from helpers.tiny_bag import T_BASE_CAMERA
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from lhmap_loc_ros.geometry import make_pose
from lhmap_loc_ros.nodes import conversions as convert


class AwkwardRobot(Robot):
    """Sends compressed images, and now and then what is of no use."""

    def __enter__(self):
        super().__enter__()
        self._compressed = self.node.create_publisher(CompressedImage, "image/compressed", 100)
        self._image, self.awkward, self.count = self._compressed, False, 0
        head = convert.header(0, "base_link")
        zero = TransformStamped(header=head, child_frame_id="gps")
        zero.transform.rotation.w = 0.0
        nan = convert.matrix_to_transform(make_pose(np.eye(3), [np.nan, 0, 0]), head, "imu")
        mount = convert.matrix_to_transform(T_BASE_CAMERA, head, "camera")
        self._tf_static.publish(TFMessage(transforms=[zero, nan, mount]))
        return self

    def send_image(self, stamp_ns, pixels):
        self.count += 1
        kind = self.count % 8 if self.awkward else -1
        if kind == 0:
            self._send_useless(stamp_ns)
        info = calibration(stamp_ns, 160, 48)
        if kind == 2:
            info.k = [0.0] * 9
        elif kind == 3:
            info.width = info.height = 0
        elif kind == 4:
            info.d = [float("nan")] * 5
        self._info.publish(info)
        if kind == 5:
            self._compressed.publish(self._jpeg(stamp_ns, b"\xff\xd8\xff\xe0 broken off"))
            return
        png = cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()
        self._compressed.publish(self._jpeg(stamp_ns, png))
        if kind == 1:
            self._compressed.publish(self._jpeg(stamp_ns, png))
        elif kind == 6:
            early = stamp_ns - 3 * SECOND // RATE
            self._compressed.publish(self._jpeg(early, cv2.imencode(".png", picture(early))[1].tobytes()))
        elif kind == 7:
            self._compressed.publish(self._jpeg(0, png))

    @staticmethod
    def _jpeg(stamp_ns, data):
        return CompressedImage(header=convert.header(stamp_ns, "camera"), format="jpeg", data=array("B", data))

    def _send_useless(self, stamp_ns):
        head = convert.header(stamp_ns + 1, "odom")
        no_direction = Odometry(header=head, child_frame_id="base_link")
        no_direction.pose.pose.orientation.w = 0.0
        self._odometry.publish(no_direction)
        self.send_odometry(stamp_ns + 2, make_pose(np.eye(3), [np.nan, 0, 0]))
        self.send_odometry(0)
        self._info.publish(CameraInfo())


EXPECTED = {
    "images_late": 8, "images_refused": 8, "image_left_out": 8, "camera_info_left_out": 24, "odometry_left_out": 30,
    "transform_left_out": 2,
}  # fmt: skip
"""What is left out of six seconds."""


def left_out(robot, what):
    """How many /diagnostics has counted of something."""
    return robot.figure("localization" if what.startswith(("odometry", "transform")) else "camera", what)


def errors(robot, since):
    return np.array([robot.error(message) for message in robot.poses[since:]])


def test_poses_are_as_good_as_without_and_what_was_left_out_is_counted(tmp_path):
    street = write_street(tmp_path / "street.lhmap")
    settings = ros_parameters(map_path=street, image_transport="compressed")
    with Process(STAND_IN, *settings) as node, AwkwardRobot() as robot:
        robot.begin()
        start = len(robot.poses)
        robot.drive(4)
        assert wait_until(lambda: len(robot.poses) > start + 20)
        middle = len(robot.poses)
        robot.awkward = True
        drives, found = 0, dict.fromkeys(EXPECTED, 0)
        # some images are dropped unseen, as always, and more of them where the machine is busy
        while drives < 5 and any(found[what] < min(expected, 3) for what, expected in EXPECTED.items()):
            robot.drive(6)
            drives += 1
            wait_until(lambda: False, 1.2)  # /diagnostics come once a second
            found = {what: left_out(robot, what) for what in EXPECTED}
        usual, awkward = errors(robot, start)[: middle - start], errors(robot, middle)
        assert len(awkward) > 0.5 * 6 * RATE and robot.state == "TRACKING"
        assert np.median(awkward) < 1.5 * np.median(usual) + 0.02 and awkward.max() < 0.5
        for what, expected in EXPECTED.items():
            assert min(expected, 3) <= found[what] <= 2 * drives * expected, (what, found)
        code, _, err = node.end(signal.SIGTERM, 10)
    assert (code, "Traceback" in err) == (0, False)
