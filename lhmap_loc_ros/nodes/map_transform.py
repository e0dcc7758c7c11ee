# SPDX-License-Identifier: Apache-2.0
"""Broadcasts the transform from the map to the robot on /tf, at each image and between images."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from tf2_ros import TransformBroadcaster

from ..geometry import interpolate, inverse, se3_exp
from ..localization.estimate import PoseEstimate
from ..localization.states import TrackState
from .conversions import SECOND_NS, header, matrix_to_transform
from .localizer_config import LocalizerConfig

PERIOD_S = 0.05
"""Interval of broadcasts between images, seconds."""
PREDICT_S = 1.0
"""Time after an image for which map -> base_link is extrapolated at constant velocity, seconds."""
_MAX_CLOCK_OFFSET_S = 5.0
"""Images stamped further from the node's clock than this are of another clock, such as a bag's."""
_MAX_PENDING = 100
"""Number of images kept until odometry reaches them."""


class MapTransform:
    """Broadcasts map -> odom; called by the worker at images, by a timer between them.

    At an image two transforms map -> odom are sent: one with the image's stamp, so that a lookup at that time agrees
    with `pose`, and one stamped `transform_tolerance` ahead of now. The second is repeated with a new stamp while the
    pose is good, so that a lookup at the present time does not wait for an image. Without odometry, map -> base_link is
    sent instead, and extrapolated by the velocity for PREDICT_S.
    """

    def __init__(self, node: Node, config: LocalizerConfig, global_frame: str):
        self._node, self._config, self._frame = node, config, global_frame
        self._broadcaster = TransformBroadcaster(node)
        self._lock = threading.Lock()
        self.placed_at = -math.inf
        """Time of the last map -> odom from odometry, steady clock [s]."""
        self._pending: deque[tuple[int, np.ndarray]] = deque(maxlen=_MAX_PENDING)
        self._T_map_odom: np.ndarray | None = None
        self._moving: tuple[np.ndarray, np.ndarray] | None = None  # T_map_base at the image, and its twist
        self._image_ns = self._newest_ns = -1

    @property
    def publisher(self):
        """The publisher of /tf."""
        return self._broadcaster.pub_tf

    def reconfigure(self, config: LocalizerConfig) -> None:
        """Replaces the parameters that may change at run time."""
        self._config = config

    def forget(self) -> None:
        """Stops repeating until the next image: the track is lost, or the clock was set back."""
        with self._lock:
            self._T_map_odom = self._moving = None
            self._image_ns = self._newest_ns = -1
            self._pending.clear()

    def at_image(self, result: PoseEstimate) -> None:
        """Broadcasts the pose at an image; nothing if the track is lost. Of images of one stamp the first counts."""
        if result.state is TrackState.LOST:
            self.forget()
        elif self._config.tf_broadcast:
            with self._lock:
                known, self._image_ns = result.stamp_ns == self._image_ns, result.stamp_ns
                (self._base_at_image if self._config.tf_child == "base_link" else self._odom_at_image)(result, known)

    def at_odometry(self, newest_ns: int | None, odometry_at: Callable[[int], np.ndarray | None]) -> None:
        """Broadcasts map -> odom for images that odometry has reached only now.

        `odometry_at` gives T_odom_base (4, 4) at a stamp [ns], None where it is not known; `newest_ns` is the stamp of
        the newest odometry. Where odometry is too sparse to be interpolated at images, the poses of the images before
        and after it are interpolated instead.
        """
        with self._lock:
            if newest_ns is None or not self._pending or self._pending[0][0] > newest_ns:
                return
            if not self._config.tf_broadcast:
                self._pending.clear()
                return
            passed = [(ns, pose) for ns, pose in self._pending if ns <= newest_ns]
            placed = [(ns, pose, odometry_at(ns)) for ns, pose in passed]
            if all(T_odom_base is None for *_, T_odom_base in placed):
                if len(passed) == len(self._pending):  # the next image is still to come
                    return
                (t0, before), (t1, after) = passed[-1], self._pending[len(passed)]
                between = interpolate(before, after, (newest_ns - t0) / (t1 - t0))
                placed = [(newest_ns, between, odometry_at(newest_ns))]
            for _ in passed:
                self._pending.popleft()
            self._place([(ns, pose @ inverse(T)) for ns, pose, T in placed if T is not None])

    def repeat(self) -> None:
        """Broadcasts the last transform with a new stamp, if there is one; from any thread."""
        with self._lock:
            if not self._config.tf_broadcast or not self._is_now(self._image_ns):
                return
            if self._T_map_odom is not None:
                self._send([], self._ahead_of(self._now()))
            elif self._moving is not None:
                self._predict(*self._moving, self._now())

    def _base_at_image(self, result: PoseEstimate, known: bool) -> None:
        if not known:
            head = header(result.stamp_ns, self._frame)
            self._broadcast(matrix_to_transform(result.T_map_base, head, self._config.base_frame_id))
        self._moving = None if result.velocity is None else (result.T_map_base, result.velocity)

    def _predict(self, T_map_base: np.ndarray, velocity: np.ndarray, now_ns: int) -> None:
        # a little ahead, so that a lookup at now lies between two of them
        stamp_ns = min(self._ahead_of(now_ns), now_ns + round(2 * PERIOD_S * SECOND_NS))
        seconds = (stamp_ns - self._image_ns) / SECOND_NS
        if seconds > PREDICT_S or stamp_ns <= self._newest_ns:
            return
        self._newest_ns = stamp_ns
        predicted = T_map_base @ se3_exp(seconds * velocity)
        self._broadcast(matrix_to_transform(predicted, header(stamp_ns, self._frame), self._config.base_frame_id))

    def _odom_at_image(self, result: PoseEstimate, known: bool) -> None:
        if result.T_map_odom is None:  # odometry has not reached this image yet: keep the last transform
            if not known:
                self._pending.append((result.stamp_ns, result.T_map_base))
            return
        self._pending.clear()
        if not self._is_now(result.stamp_ns):
            self._node.get_logger().warning(
                "images are stamped at another time than this node's clock has (use_sim_time?): "
                f"{self._frame} -> {self._config.odom_frame_id} follows their stamps",
                once=True,
            )
        if known:
            self._T_map_odom, self.placed_at = result.T_map_odom, time.monotonic()
            self._send([], self._ahead())
        else:
            self._place([(result.stamp_ns, result.T_map_odom)])

    def _place(self, placed: list[tuple[int, np.ndarray]]) -> None:
        """Sends map -> odom at some stamps, and the last of them again ahead of now."""
        if placed:
            self._T_map_odom, self.placed_at = placed[-1][1], time.monotonic()
            self._send(placed, self._ahead())

    def _now(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _is_now(self, image_ns: int) -> bool:
        return abs(self._now() - image_ns) < _MAX_CLOCK_OFFSET_S * SECOND_NS

    def _ahead_of(self, stamp_ns: int) -> int:
        return stamp_ns + round(self._config.transform_tolerance * SECOND_NS)

    def _ahead(self) -> int:
        """The stamp `transform_tolerance` ahead of now, by the clock of the images."""
        return self._ahead_of(self._now() if self._is_now(self._image_ns) else self._image_ns)

    def _send(self, placed: list[tuple[int, np.ndarray]], newest_ns: int) -> None:
        """Sends map -> odom at some stamps, and the last one again at `newest_ns` if that is newer than all before."""
        placed = list(placed)
        if newest_ns > self._newest_ns and self._T_map_odom is not None:
            self._newest_ns = newest_ns
            placed.append((newest_ns, self._T_map_odom))
        if placed:
            child = self._config.odom_frame_id
            self._broadcast(*(matrix_to_transform(T, header(ns, self._frame), child) for ns, T in placed))

    def _broadcast(self, *transforms) -> None:
        self._broadcaster.sendTransform(list(transforms))
