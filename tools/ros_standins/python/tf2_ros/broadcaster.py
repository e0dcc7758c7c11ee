# SPDX-License-Identifier: Apache-2.0
"""Publishers of /tf and /tf_static."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from tf2_msgs.msg import TFMessage


def _as_list(transform) -> list:
    return list(transform) if isinstance(transform, (list, tuple)) else [transform]


class TransformBroadcaster:
    """Publishes transforms on /tf."""

    def __init__(self, node, qos=None):
        self.pub_tf = node.create_publisher(TFMessage, "/tf", QoSProfile(depth=100) if qos is None else qos)

    def sendTransform(self, transform) -> None:
        """Publishes one TransformStamped or a list of them."""
        self.pub_tf.publish(TFMessage(transforms=_as_list(transform)))


class StaticTransformBroadcaster:
    """Publishes static transforms, latched, on /tf_static; each message repeats all sent so far."""

    def __init__(self, node, qos=None):
        if qos is None:
            qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, history=HistoryPolicy.KEEP_LAST)
        self.net_message = TFMessage()
        self.pub_tf = node.create_publisher(TFMessage, "/tf_static", qos)

    def sendTransform(self, transform) -> None:
        """Publishes one TransformStamped or a list of them; the same child frame again replaces the old one."""
        latest = {t.child_frame_id: t for t in self.net_message.transforms}
        latest.update({t.child_frame_id: t for t in _as_list(transform)})
        self.net_message = TFMessage(transforms=list(latest.values()))
        self.pub_tf.publish(self.net_message)
