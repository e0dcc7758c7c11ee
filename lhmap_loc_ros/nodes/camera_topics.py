# SPDX-License-Identifier: Apache-2.0
"""The subscriptions of a camera: its images, and their calibration, however they are published."""

from __future__ import annotations

from functools import partial

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from .camera_images import image_topic, topic_of
from .localizer_config import LocalizerConfig
from .localizer_session import Session

_SILENT = SubscriptionEventCallbacks(use_default_callbacks=False)
"""For a subscription beside another, which is meant for other publishers."""


class CameraTopics:
    """Hands what comes to the session. Images are asked for reliably where they are published so, else best effort."""

    def __init__(self, node: Node, config: LocalizerConfig, camera: str, session: Session):
        self._node, self._config, self._camera = node, config, camera
        self._topic, self._on_image = image_topic(config, camera), partial(session.on_image, camera)
        self._unheard = False
        automatic = config.image_reliability == "auto"
        reliability = "reliable" if automatic else config.image_reliability
        self._images = self._subscribe_images(ReliabilityPolicy[reliability.upper()], automatic)
        on_info, info = partial(session.on_camera_info, camera), topic_of(camera, "camera_info")
        # with every image, by whatever publisher; or once, latched, before this node was there
        often = QoSProfile(depth=4, reliability=ReliabilityPolicy.BEST_EFFORT)
        once = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._infos = [
            node.create_subscription(CameraInfo, info, on_info, qos, event_callbacks=_SILENT) for qos in (often, once)
        ]

    def follow(self) -> None:
        """Subscribes anew where images are published best effort alone; to be called now and then."""
        if self._unheard:
            self._unheard = False
            self._node.get_logger().info(f"{self._images.topic_name} is published best effort: subscribed so")
            self._node.destroy_subscription(self._images)
            self._images = self._subscribe_images(ReliabilityPolicy.BEST_EFFORT, False)

    def close(self) -> None:
        """Subscribes no more."""
        for subscription in (self._images, *self._infos):
            self._node.destroy_subscription(subscription)

    def _subscribe_images(self, reliability: ReliabilityPolicy, may_change: bool):
        # deep enough that few are lost unseen while a callback waits for the interpreter: what is stale is counted. The
        # middleware keeps the memory of as many as ever waited
        qos = QoSProfile(depth=4, reliability=reliability)
        kind = Image if self._config.image_transport == "raw" else CompressedImage
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible) if may_change else None
        # raw, as bytes: most images of a fast camera are never looked at
        return self._node.create_subscription(kind, self._topic, self._on_image, qos, raw=True, event_callbacks=events)

    def _on_incompatible(self, event) -> None:
        # not here: the event belongs to the subscription that would have to go
        self._unheard = True
