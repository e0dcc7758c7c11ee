# SPDX-License-Identifier: Apache-2.0
"""Fills a Buffer from /tf and /tf_static."""

from __future__ import annotations

from threading import Thread

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from tf2_msgs.msg import TFMessage


class TransformListener:
    """Subscribes for as long as it lives; `unregister` ends it."""

    def __init__(self, buffer, node, *, spin_thread: bool = False, qos=None, static_qos=None):
        qos = qos or QoSProfile(depth=100, durability=DurabilityPolicy.VOLATILE, history=HistoryPolicy.KEEP_LAST)
        static_qos = static_qos or QoSProfile(
            depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL, history=HistoryPolicy.KEEP_LAST
        )
        self.buffer = buffer
        self.node = node
        # callbacks must run while another callback of the node waits for a transform
        self.group = ReentrantCallbackGroup()
        self.tf_sub = node.create_subscription(TFMessage, "/tf", self.callback, qos, callback_group=self.group)
        self.tf_static_sub = node.create_subscription(
            TFMessage, "/tf_static", self.static_callback, static_qos, callback_group=self.group
        )
        self.executor = None
        if spin_thread:
            self.executor = SingleThreadedExecutor()
            self.executor.add_node(node)
            self.dedicated_listener_thread = Thread(target=self.executor.spin, daemon=True)
            self.dedicated_listener_thread.start()

    def callback(self, data) -> None:
        """Stores the transforms of one /tf message."""
        for transform in data.transforms:
            self.buffer.set_transform(transform, "default_authority")

    def static_callback(self, data) -> None:
        """Stores the transforms of one /tf_static message."""
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, "default_authority")

    def unregister(self) -> None:
        """Ends the subscriptions (and the thread, if it has one)."""
        if self.executor is not None:
            self.executor.shutdown()
            self.dedicated_listener_thread.join(timeout=5)
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)
