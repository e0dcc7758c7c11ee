# SPDX-License-Identifier: Apache-2.0
"""Where the camera sits on the robot, from tf_static; read once."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from rclpy.time import Time
from tf2_ros import Buffer, TransformException, TransformListener

from .conversions import transform_to_matrix


class StaticExtrinsics:
    """Answers T_base_camera as soon as tf has it, then stops listening: /tf is costly to receive in Python."""

    def __init__(self, node: Node, base_frame: str):
        self._base_frame = base_frame
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)
        self._found: dict[str, np.ndarray] = {}

    def lookup(self, camera_frame: str) -> np.ndarray | None:
        """The pose (4, 4) of the camera's optical frame in the base frame; None while it is not known."""
        if camera_frame not in self._found:
            try:
                transform = self._buffer.lookup_transform(self._base_frame, camera_frame, Time())
            except TransformException:
                return None
            self._found[camera_frame] = transform_to_matrix(transform.transform)
        return self._found[camera_frame]

    def close(self) -> None:
        """Ends the subscriptions; to be called from the executor's thread or after it has ended."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None
