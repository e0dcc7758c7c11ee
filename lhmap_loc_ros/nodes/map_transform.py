# SPDX-License-Identifier: Apache-2.0
"""The transform from the map to the robot, on /tf: at each image, and of map -> odom also in between."""

from __future__ import annotations

import threading

import numpy as np
from rclpy.node import Node
from tf2_ros import TransformBroadcaster

from ..localization.states import TrackState
from ..localization.tracker import TrackResult
from .conversions import SECOND_NS, header, matrix_to_transform
from .localizer_config import LocalizerConfig

PERIOD_S = 0.05
"""Between two broadcasts of map -> odom."""
_CLOCKS_APART_S = 5.0
"""Images stamped further from the node's clock than this are of another clock, as those of a bag."""


class MapTransform:
    """Broadcasts what is known; from the worker at an image, from a timer in between.

    At an image two transforms map -> odom leave: one with the image's stamp, with which a lookup at that time agrees
    with `pose` ever after, and one stamped `transform_tolerance` ahead of now. The second is repeated with a fresh
    stamp while the pose is good, so that a lookup at now needs no new image.
    """

    def __init__(self, node: Node, config: LocalizerConfig, global_frame: str):
        self._node, self._config, self._frame = node, config, global_frame
        self._broadcaster = TransformBroadcaster(node)
        self._lock = threading.Lock()
        self._T_map_odom: np.ndarray | None = None
        self._image_ns = self._newest_ns = -1

    @property
    def publisher(self):
        """That of /tf."""
        return self._broadcaster.pub_tf

    def reconfigure(self, config: LocalizerConfig) -> None:
        """Takes the settings that may change at run time."""
        self._config = config

    def forget(self) -> None:
        """Repeats nothing until the next image: the track is lost, or the clock went back."""
        with self._lock:
            self._T_map_odom, self._image_ns, self._newest_ns = None, -1, -1

    def at_image(self, result: TrackResult) -> None:
        """Broadcasts the pose at an image; a lost track has none, and of two images of one stamp the first counts."""
        if result.state is TrackState.LOST:
            self.forget()
        elif self._config.tf_broadcast:
            with self._lock:
                self._at_image(result)

    def repeat(self) -> None:
        """Broadcasts map -> odom as of the last image with a fresh stamp, where it is known; from any thread."""
        with self._lock:
            if self._T_map_odom is not None and self._config.tf_broadcast and self._is_now(self._image_ns):
                self._send(self._ahead_of(self._now()))

    def _at_image(self, result: TrackResult) -> None:
        known = result.stamp_ns == self._image_ns
        self._image_ns = result.stamp_ns
        if self._config.tf_child == "base_link":
            # the robot's own pose is that of its stamp alone
            if not known:
                head = header(result.stamp_ns, self._frame)
                self._broadcast(matrix_to_transform(result.T_map_base, head, self._config.base_frame_id))
            return
        if result.T_map_odom is None:  # odometry did not reach this image; the last transform stands
            return
        self._T_map_odom = result.T_map_odom
        fresh = self._is_now(result.stamp_ns)
        if not fresh:
            self._node.get_logger().warning(
                "images are stamped at another time than this node's clock has (use_sim_time?): "
                f"{self._frame} -> {self._config.odom_frame_id} follows their stamps",
                once=True,
            )
        self._send(*([] if known else [result.stamp_ns]), self._ahead_of(self._now() if fresh else result.stamp_ns))

    def _now(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _is_now(self, image_ns: int) -> bool:
        return abs(self._now() - image_ns) < _CLOCKS_APART_S * SECOND_NS

    def _ahead_of(self, stamp_ns: int) -> int:
        return stamp_ns + round(self._config.transform_tolerance * SECOND_NS)

    def _send(self, *stamps_ns: int) -> None:
        """map -> odom at some stamps, the last of which must be newer than all before: clocks may stand still."""
        *earlier, newest_ns = stamps_ns
        if newest_ns > self._newest_ns:
            self._newest_ns = newest_ns
            earlier.append(newest_ns)
        child = self._config.odom_frame_id
        if earlier:
            self._broadcast(
                *(matrix_to_transform(self._T_map_odom, header(ns, self._frame), child) for ns in earlier)
            )

    def _broadcast(self, *transforms) -> None:
        self._broadcaster.sendTransform(list(transforms))
