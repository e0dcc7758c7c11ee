# SPDX-License-Identifier: Apache-2.0
"""What must be known of the camera before its images are of use: calibration, and place on the robot."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo
from tf2_ros import Buffer, TransformException, TransformListener

from ..geometry import Rectifier, from_quaternion
from ..localization.tracker import MountedCamera
from .conversions import camera_info_to_rectifier, transform_to_matrix
from .localizer_config import LocalizerConfig


class CameraInput:
    """Keeps the calibration, and the pose of the camera from the parameters or from tf_static, read once."""

    def __init__(self, node: Node, config: LocalizerConfig, topic: str):
        """`topic` is that of the calibration."""
        self._node, self._config, self._topic = node, config, topic
        self.rectifier: Rectifier | None = None
        """Undistorts the images; None until a calibration came."""
        self._T_base_camera: np.ndarray | None = None
        self._calibration: tuple | None = None
        self._frame = config.camera_frame_id
        self._listener = None
        if config.camera_in_base is not None:
            self._T_base_camera = from_quaternion(config.camera_in_base[:3], config.camera_in_base[3:])
        else:
            self._buffer = Buffer()
            self._listener = TransformListener(self._buffer, node)

    def on_camera_info(self, message: CameraInfo) -> None:
        """Takes a calibration that is another than before; raises InputError for an empty one."""
        found = message.width, message.height, message.distortion_model, tuple(message.k), tuple(message.d)
        if found != self._calibration:
            self.rectifier = camera_info_to_rectifier(message)
            self._calibration = found

    def on_image_frame(self, frame: str) -> None:
        """Asks tf_static for the place of the camera until it knows; to be called from the executor's thread."""
        if self._listener is None:
            return
        self._frame = (self._config.camera_frame_id or frame).lstrip("/")
        try:
            transform = self._buffer.lookup_transform(self._config.base_frame_id, self._frame, Time())
        except TransformException:
            return
        self._T_base_camera = transform_to_matrix(transform.transform)
        # of fixed transforms alone the stamp is zero
        if Time.from_msg(transform.header.stamp).nanoseconds:
            self._node.get_logger().warning(
                f"the transform from {self._frame!r} to {self._config.base_frame_id!r} is not on tf_static: "
                "taken as it is now, and for good"
            )
        # receiving /tf is costly in Python, and nothing more is wanted of it
        self._listener.unregister()
        self._listener = None

    def close(self) -> None:
        """Listens no more."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None

    @property
    def mounted(self) -> MountedCamera:
        """Camera and place; only where nothing is `missing`."""
        return MountedCamera(self.rectifier.rig, self._T_base_camera)

    @property
    def missing(self) -> str:
        """What is not known yet, in words; empty if all is."""
        if self.rectifier is None:
            return f"images come, but no {self._topic}"
        if self._T_base_camera is None:
            return f"no transform from {self._frame!r} to {self._config.base_frame_id!r} on tf_static"
        return ""
