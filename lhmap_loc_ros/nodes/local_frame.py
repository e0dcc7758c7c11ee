# SPDX-License-Identifier: Apache-2.0
"""A frame beside the map for all that is drawn in single precision, where the map's own coordinates are too large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from tf2_ros import StaticTransformBroadcaster

from ..geometry import make_pose
from ..lhmap import MapMetadata
from .conversions import header, matrix_to_transform

FAR_M = 10_000.0
"""Coordinates above this, as those of UTM and MGRS, are rounded by more than a millimetre in single precision."""


@dataclass(frozen=True)
class LocalFrame:
    """Axes as the map, origin near it: RViz and clouds count in float32, which hold UTM to half a metre."""

    map_frame: str
    name: str
    """`map_local` where the map's frame is `map`."""
    origin: np.ndarray
    """(3,) in the map frame [m]; zero where the map's coordinates are small."""

    @classmethod
    def of(cls, map_frame: str, metadata: MapMetadata) -> LocalFrame:
        """That of a map whose poses are published in `map_frame`."""
        origin = np.zeros(3)
        if metadata.bounds is not None and np.abs(metadata.bounds).max() > FAR_M:
            low, high = np.array(metadata.bounds)
            # whole numbers, for people; the ground at about zero, where RViz draws its start poses
            origin = np.r_[np.round((low + high)[:2] / 200) * 100, np.floor(low[2])]
        return cls(map_frame, f"{map_frame}_local", origin)

    @property
    def drawn(self) -> str:
        """The frame of what is drawn: the map's, where its coordinates are small."""
        return self.name if self.origin.any() else self.map_frame

    def to_map(self, frame: str) -> np.ndarray | None:
        """(3,) what is added to coordinates in a frame to get those of the map; None if it is neither of both."""
        return {self.map_frame: np.zeros(3), self.name: self.origin}.get(frame)

    def broadcast(self, node: Node) -> StaticTransformBroadcaster:
        """Puts it on tf_static for as long as the publisher `pub_tf` of the result is there."""
        broadcaster, T_map_local = StaticTransformBroadcaster(node), make_pose(np.eye(3), self.origin)
        now = node.get_clock().now().nanoseconds
        broadcaster.sendTransform(matrix_to_transform(T_map_local, header(now, self.map_frame), self.name))
        return broadcaster
