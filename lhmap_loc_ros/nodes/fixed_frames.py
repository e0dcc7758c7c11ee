# SPDX-License-Identifier: Apache-2.0
"""Where the frames of the robot are that do not move on it, from tf_static."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from rclpy.time import Time
from tf2_ros import Buffer, TransformException, TransformListener

from ..errors import InputError
from .conversions import transform_to_matrix


class _SoundBuffer(Buffer):
    """Stores no transform that is none."""

    leave_out: Callable[[str], None]
    """Is told of one."""

    def set_transform(self, transform, authority) -> None:
        if self._is_sound(transform):
            super().set_transform(transform, authority)

    def set_transform_static(self, transform, authority) -> None:
        if self._is_sound(transform):
            super().set_transform_static(transform, authority)

    def _is_sound(self, transform) -> bool:
        try:
            transform_to_matrix(transform.transform)
        except InputError as error:
            self.leave_out(f"transform from {transform.child_frame_id!r} to {transform.header.frame_id!r}: {error}")
            return False
        return True


class FixedFrames:
    """Looks places up, each once, and listens only while one is wanted that is not known.

    All methods are to be called from the executor's thread.
    """

    def __init__(self, node: Node, base_frame: str, leave_out: Callable[[str], None]):
        """`leave_out` is told of each transform that is not finite or whose quaternion is zero."""
        self._node, self.base_frame, self._leave_out = node, base_frame, leave_out
        self._places: dict[str, np.ndarray] = {base_frame: np.eye(4)}
        self._wanted: set[str] = set()
        self._listener: TransformListener | None = None

    def listen(self) -> None:
        """Begins to listen, so that what is latched is there when it is asked for."""
        if self._listener is None:
            self._buffer = _SoundBuffer()
            self._buffer.leave_out = self._leave_out
            self._listener = TransformListener(self._buffer, self._node)

    def place(self, frame: str) -> np.ndarray | None:
        """T_base_frame (4, 4), read once; None while no transform leads there."""
        frame = frame.lstrip("/")
        if frame in self._places:
            return self._places[frame]
        self.listen()
        self._wanted.add(frame)
        try:
            transform = self._buffer.lookup_transform(self.base_frame, frame, Time())
        except TransformException:
            return None
        # of fixed transforms alone the stamp is zero
        if Time.from_msg(transform.header.stamp).nanoseconds:
            self._node.get_logger().warning(
                f"the transform from {frame!r} to {self.base_frame!r} is not on tf_static: "
                "taken as it is now, and for good"
            )
        self._places[frame] = transform_to_matrix(transform.transform)
        self._wanted.remove(frame)
        if not self._wanted:
            self.close()  # receiving /tf is costly in Python
        return self._places[frame]

    def close(self) -> None:
        """Listens no more."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None
