# SPDX-License-Identifier: Apache-2.0
"""Odometry messages as poses of base_link."""

from __future__ import annotations

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node

from ..errors import InputError
from ..geometry import inverse
from .conversions import pose_to_matrix, to_ns
from .fixed_frames import FixedFrames
from .localizer_config import LocalizerConfig
from .stamps import Stamps


class OdometryInput:
    """Reads odometry, whichever frame of the robot it is of; one that names none is of base_link."""

    def __init__(self, node: Node, config: LocalizerConfig, frames: FixedFrames):
        self._config, self._frames, self._stamps = config, frames, Stamps(node, "odometry")

    def read(self, message: Odometry) -> tuple[int, np.ndarray]:
        """Stamp [ns] and T_odom_base (4, 4).

        Raises InputError for another odometry frame than is broadcast, for a frame whose place on the robot is not
        known, and for a pose that is not finite or has no direction.
        """
        frame, child = message.header.frame_id.lstrip("/"), message.child_frame_id.lstrip("/")
        expected = self._config.odom_frame_id
        # only its transform has the name of that frame
        if frame not in ("", expected) and self._config.tf_child == "odom":
            raise InputError(f"odometry is of {child!r} in {frame!r}, expected in {expected!r} (odom_frame_id)")
        T_base_child = self._frames.place(child or self._frames.base_frame)
        if T_base_child is None:
            raise InputError(
                f"odometry is of {child!r}, expected {self._frames.base_frame!r} (base_frame_id) or a transform "
                "between them on tf_static"
            )
        try:
            T_odom_child = pose_to_matrix(message.pose.pose)
        except InputError as error:
            raise InputError(f"odometry: {error}") from None
        return self._stamps.of(to_ns(message.header.stamp)), T_odom_child @ inverse(T_base_child)
