# SPDX-License-Identifier: Apache-2.0
"""A `Session` in this process, fed by hand: no other process, and a refiner that answers as a test wants."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.serialization import serialize_message

from helpers.robot import SECOND, START, calibration, image_message, picture
from helpers.ros_side import wait_until
from helpers.tiny_bag import T_BASE_CAMERA
from lhmap_loc_ros.geometry import make_pose, to_quaternion
from lhmap_loc_ros.localization.refine import Refinement
from lhmap_loc_ros.nodes import conversions as convert
from lhmap_loc_ros.nodes.localizer_config import LocalizerConfig
from lhmap_loc_ros.nodes.localizer_session import Session

SIGMA = np.array([0.03, 0.03, 0.05, 0.002, 0.002, 0.002])
MOUNT = tuple(float(v) for part in to_quaternion(T_BASE_CAMERA) for v in part)


def at(x, y=0.0, z=0.0):
    """T_map_base at a place, looking along x."""
    return make_pose(np.eye(3), [x, y, z])


class SureRefiner:
    """Finds every image taken at `place` (T_map_base)."""

    networks = ()

    def __init__(self, place):
        self.place, self.config = place, None

    def refine(self, image, camera, submap, T_map_camera, mode=None, keep_trace=False):
        return Refinement(self.place @ T_BASE_CAMERA, np.diag(SIGMA**2), 0.8, 400, (0, 0))


class Fed:
    """A session with a clock of its own."""

    def __init__(self, session):
        self.session, self.stamp_ns = session, START

    def image(self, camera="", after_s=0.1, info=None, frame="camera"):
        """Shows an image and waits until the session has dealt with it; `info`: a calibration of one's own."""
        self.stamp_ns += round(after_s * SECOND)
        message = image_message(self.stamp_ns, picture(self.stamp_ns))
        message.header.frame_id = frame
        self.session.on_camera_info(camera, calibration(self.stamp_ns, 160, 48) if info is None else info)
        self.show(message, camera)

    def show(self, message, camera=""):
        """Hands a message over, or its bytes, and waits until the session has dealt with it."""
        before = self._done
        self.session.on_image(camera, message if isinstance(message, bytes) else serialize_message(message))
        assert wait_until(lambda: self._done > before), self.session.health.problem

    @property
    def _done(self):
        health = self.session.health
        return health.used + health.refused + health.late + health.left_out["image"]

    def odometry(self, pose=None, stamp_ns=None, child="base_link"):
        """Odometry, by default standing still at the origin."""
        stamp_ns = self.stamp_ns if stamp_ns is None else stamp_ns
        message = Odometry(header=convert.header(stamp_ns, "odom"), child_frame_id=child)
        message.pose.pose = convert.matrix_to_pose(np.eye(4) if pose is None else pose)
        self.session.on_odometry(message)

    def initialpose(self, pose, sigma_m=0.3):
        self.session.on_initial_pose(initial_pose(pose, sigma_m))


def initial_pose(pose, sigma_m=0.3, stamp_ns=0):
    """What a user sends."""
    message = PoseWithCovarianceStamped(header=convert.header(stamp_ns, "map"))
    covariance = np.diag([sigma_m**2] * 3 + [0.01**2] * 3)
    message.pose = convert.to_pose_with_covariance(pose, covariance)
    return message


@contextmanager
def one_session(node, map_path, refiner, proposing=None, search=None, **settings):
    """An active session on a map, fed through a `Fed`; `search` finds places in the whole map."""
    faults = []
    given = {"make_search": lambda *_: search} if search is not None else {}
    config = LocalizerConfig.model_validate({"map_path": str(map_path), "camera_in_base": MOUNT, **settings})
    session = Session(node, config, refiner, lambda: faults.append(1), proposing, **given)
    try:
        session.activate()
        yield Fed(session)
    finally:
        session.close()
    assert not faults
