# SPDX-License-Identifier: Apache-2.0
"""What localizer_node publishes."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Float32, String

from ..errors import MapFormatError
from ..evaluation.overlay import draw_overlay
from ..geometry import Images, front_view, pose_error
from ..lhmap import LHMap
from ..localization.estimate import PosedCamera, PoseEstimate
from ..localization.states import TrackState
from ..localization.submap_cache import SUBMAP_RADIUS_M
from .conversions import (
    MAP_CLOUD_POINTS,
    array_to_image,
    header,
    map_to_cloud,
    matrix_to_pose_stamped,
    to_pose_with_covariance,
)
from .diagnostics import of_node, track_status
from .local_frame import LocalFrame
from .localizer_config import LocalizerConfig
from .map_transform import MapTransform

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PATH_STEP_M, PATH_POSES = 0.5, 2000
"""Distance between the poses of `path`, and how many of them it keeps."""
OVERLAY_PERIOD_S = 0.5
"""Least time between two pictures on `overlay`, drawn while it has a subscriber [s]."""
_UNKNOWN_VARIANCE = 1e6
_TWIST_VARIANCE = np.array([0.5**2] * 3 + [0.05**2] * 3)
"""Of the velocity, a running mean [m/s, rad/s]."""


class LocalizerOutput:
    """The publishers; poses and transforms carry the stamp of their image."""

    def __init__(self, node: Node, config: LocalizerConfig, lhmap: LHMap):
        self._node, self._config, self._map = node, config, lhmap
        self.global_frame = config.global_frame_id or lhmap.metadata.frame
        self._publishers: list = []
        self._pose = self._publisher(PoseWithCovarianceStamped, "pose", LATCHED)
        self._odometry = self._publisher(Odometry, "odometry/global", QoSProfile(depth=100))
        self._path = self._publisher(Path, "path", 1)
        self._state = self._publisher(String, "state", LATCHED)
        self._score = self._publisher(Float32, "score", QoSProfile(depth=100))
        self._status = self._publisher(DiagnosticArray, "status", QoSProfile(depth=100))
        self._overlay = self._publisher(Image, "overlay", 1)
        self._cloud = self._publisher(PointCloud2, "map_cloud", LATCHED)
        self.transform = MapTransform(node, config, self.global_frame)
        self.local = LocalFrame.of(self.global_frame, lhmap.metadata)
        self._publishers += [self.transform.publisher, self.local.broadcast(node).pub_tf]
        self._poses: deque = deque(maxlen=PATH_POSES)
        self._last_in_path: np.ndarray | None = None
        self._last_overlay, self._telling = -np.inf, threading.Lock()
        self._last_state: TrackState | None = None

    def reconfigure(self, config: LocalizerConfig) -> None:
        """Takes the settings that may change at run time."""
        self._config = config
        self.transform.reconfigure(config)

    def close(self) -> None:
        """Takes the publishers away."""
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)

    def _publisher(self, kind, topic: str, qos):
        self._publishers.append(self._node.create_publisher(kind, topic, qos))
        return self._publishers[-1]

    def publish_map(self, stamp_ns: int) -> list[MapFormatError]:
        """The map, latched, once; what was wrong with tiles that are therefore missing."""
        damaged: list[MapFormatError] = []
        points = self._map.hottest(MAP_CLOUD_POINTS, damaged)
        self._cloud.publish(map_to_cloud(points, header(stamp_ns, self.local.drawn), self.local.origin))
        return damaged

    def publish_track(self, result: PoseEstimate) -> None:
        """Pose, transform and path; a lost track publishes none of them."""
        self.transform.at_image(result)
        if result.state is TrackState.LOST:
            return
        head = header(result.stamp_ns, self.global_frame)
        covariant = to_pose_with_covariance(result.T_map_base, result.covariance)
        self._pose.publish(PoseWithCovarianceStamped(header=head, pose=covariant))
        self._odometry.publish(self._as_odometry(head, covariant, result))
        self._extend_path(result)

    def publish_status(self, result: PoseEstimate, latency_ms: float) -> None:
        """How the image was used, one message per image, also for a lost track."""
        self.publish_state(result.state)
        refinement = result.refinement
        self._score.publish(Float32(data=0.0 if refinement is None else float(refinement.inlier_ratio)))
        status = of_node(self._node, [track_status(result, latency_ms)])
        self._status.publish(DiagnosticArray(header=header(result.stamp_ns, self.global_frame), status=status))

    def publish_state(self, state: TrackState) -> None:
        """The state, latched, where it is another than before; from any thread."""
        with self._telling:
            if state is not self._last_state:
                self._last_state = state
                self._node.get_logger().info(f"track: {state.value}")
                self._state.publish(String(data=state.value))

    def publish_overlay(self, image: Images, camera: PosedCamera, frame: str, result: PoseEstimate) -> None:
        """The map drawn over the undistorted image, if anyone looks, and not too often."""
        now = time.monotonic()
        if not self._overlay.get_subscription_count() or now < self._last_overlay + OVERLAY_PERIOD_S:
            return
        self._last_overlay = now
        seen = front_view(image, camera.camera)
        T_map_camera = result.T_map_base @ camera.T_base_camera @ seen.T_rig_camera
        crop = self._map.crop(T_map_camera[:3, 3], SUBMAP_RADIUS_M, damaged=[])
        picture = draw_overlay(seen.image, seen.camera, crop, T_map_camera)
        self._overlay.publish(array_to_image(picture, header(result.stamp_ns, frame)))

    def restart_path(self) -> None:
        """Forgets the path, for a track that starts anew."""
        self._poses.clear()
        self._last_in_path = None

    def _as_odometry(self, head, pose, result: PoseEstimate) -> Odometry:
        message = Odometry(header=head, child_frame_id=self._config.base_frame_id, pose=pose)
        if result.velocity is None:
            # robot_localization and others take a huge variance for not measured
            message.twist.covariance = np.diag([_UNKNOWN_VARIANCE] * 6).ravel().tolist()
            return message
        linear, angular = message.twist.twist.linear, message.twist.twist.angular
        linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = result.velocity.tolist()
        message.twist.covariance = np.diag(_TWIST_VARIANCE).ravel().tolist()
        return message

    def _extend_path(self, result: PoseEstimate) -> None:
        last = self._last_in_path
        if last is not None and pose_error(result.T_map_base, last)[0] < PATH_STEP_M:
            return
        self._last_in_path = result.T_map_base
        head, pose = header(result.stamp_ns, self.local.drawn), result.T_map_base.copy()
        pose[:3, 3] -= self.local.origin
        self._poses.append(matrix_to_pose_stamped(pose, head))
        if self._path.get_subscription_count():
            self._path.publish(Path(header=head, poses=list(self._poses)))
