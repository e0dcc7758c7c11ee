# SPDX-License-Identifier: Apache-2.0
"""What localizer_node publishes."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Path
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from tf2_ros import TransformBroadcaster

from ..evaluation.overlay import draw_overlay
from ..geometry import Camera, pose_error
from ..lhmap import LHMap, best_points
from ..localization.states import TrackState
from ..localization.tracker import TrackResult
from .conversions import (
    SECOND_NS,
    array_to_image,
    header,
    map_to_cloud,
    matrix_to_pose_stamped,
    matrix_to_transform,
    to_pose_with_covariance,
)
from .localizer_config import LocalizerConfig

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_LEVELS = {
    TrackState.TRACKING: DiagnosticStatus.OK,
    TrackState.INITIALIZING: DiagnosticStatus.WARN,
    TrackState.DEGRADED: DiagnosticStatus.WARN,
    TrackState.LOST: DiagnosticStatus.ERROR,
}


class LocalizerOutput:
    """The publishers; poses and transforms carry the stamp of their image."""

    def __init__(self, node: Node, config: LocalizerConfig, lhmap: LHMap):
        self._config = config
        self._map = lhmap
        self.map_frame = config.map_frame or lhmap.metadata.frame
        self._pose = node.create_publisher(PoseWithCovarianceStamped, "pose", QoSProfile(depth=100))
        self._path = node.create_publisher(Path, "path", 1)
        self._status = node.create_publisher(DiagnosticArray, "status", QoSProfile(depth=100))
        self._overlay = node.create_publisher(Image, "overlay", 1)
        self._cloud = node.create_publisher(PointCloud2, "map_cloud", LATCHED)
        self._tf = None if config.publish_tf == "none" else TransformBroadcaster(node)
        self._poses: deque = deque(maxlen=config.path_poses)
        self._last_in_path: np.ndarray | None = None
        self._last_overlay = -np.inf

    def publish_map(self, stamp_ns: int) -> None:
        """The map, latched, once."""
        points = best_points(self._map.all_points(), self._config.map_cloud_points)
        self._cloud.publish(map_to_cloud(points, header(stamp_ns, self.map_frame)))

    def publish_track(self, result: TrackResult) -> None:
        """Pose, transform and path; a lost track publishes none of them."""
        if result.state is TrackState.LOST:
            return
        head = header(result.stamp_ns, self.map_frame)
        covariant = to_pose_with_covariance(result.T_map_base, result.covariance)
        self._pose.publish(PoseWithCovarianceStamped(header=head, pose=covariant))
        self._publish_tf(result)
        self._extend_path(result)

    def publish_status(self, result: TrackResult, latency_ms: float) -> None:
        """How the image was used, one message per image, also for a lost track."""
        status = track_status(result, latency_ms)
        self._status.publish(DiagnosticArray(header=header(result.stamp_ns, self.map_frame), status=[status]))

    def publish_overlay(
        self, image: np.ndarray, camera: Camera, frame: str, result: TrackResult, T_base_camera: np.ndarray
    ) -> None:
        """The map drawn over the undistorted image, if anyone looks, and not too often."""
        now = time.monotonic()
        if not self._overlay.get_subscription_count() or now < self._last_overlay + self._config.overlay_period_s:
            return
        self._last_overlay = now
        T_map_camera = result.T_map_base @ T_base_camera
        crop = self._map.crop(T_map_camera[:3, 3], self._config.tracker.crop_radius_m)
        picture = draw_overlay(image, camera, crop, T_map_camera)
        self._overlay.publish(array_to_image(picture, header(result.stamp_ns, frame)))

    def restart_path(self) -> None:
        """Forgets the path, for a track that starts anew."""
        self._poses.clear()
        self._last_in_path = None

    def _publish_tf(self, result: TrackResult) -> None:
        if self._tf is None:
            return
        to_odom = self._config.publish_tf == "odom"
        matrix = result.T_map_odom if to_odom else result.T_map_base
        if matrix is None:  # odometry did not reach this image; the last transform stands
            return
        ahead = result.stamp_ns + round(self._config.transform_tolerance_s * SECOND_NS)
        child = self._config.odom_frame if to_odom else self._config.base_frame
        self._tf.sendTransform(matrix_to_transform(matrix, header(ahead, self.map_frame), child))

    def _extend_path(self, result: TrackResult) -> None:
        last = self._last_in_path
        if last is not None and pose_error(result.T_map_base, last)[0] < self._config.path_step_m:
            return
        self._last_in_path = result.T_map_base
        head = header(result.stamp_ns, self.map_frame)
        self._poses.append(matrix_to_pose_stamped(result.T_map_base, head))
        if self._path.get_subscription_count():
            self._path.publish(Path(header=head, poses=list(self._poses)))


def track_status(result: TrackResult, latency_ms: float) -> DiagnosticStatus:
    """The state of the track in words and figures."""
    refinement = result.refinement
    values = {
        "state": result.state.value,
        "stamp_ns": result.stamp_ns,
        "accepted": int(result.accepted),
        "inlier_ratio": 0.0 if refinement is None else float(refinement.inlier_ratio),
        "matches": 0 if refinement is None else refinement.matches,
        "innovation": float(result.innovation),
        "sigma_m": float(np.sqrt(max(np.linalg.eigvalsh(result.covariance[:3, :3])[-1], 0.0))),
        "motion": result.motion,
        "latency_ms": latency_ms,
        **{f"{stage}_ms": value for stage, value in result.timings_ms.items()},
    }
    return DiagnosticStatus(
        level=_LEVELS[result.state],
        name="lhmap_loc_ros: localization",
        hardware_id="camera",
        message=result.problem or result.state.value,
        values=key_values(values),
    )


def key_values(values: dict) -> list[KeyValue]:
    """Names and values as diagnostics carry them."""
    return [KeyValue(key=k, value=f"{v:.6g}" if isinstance(v, float) else str(v)) for k, v in values.items()]
