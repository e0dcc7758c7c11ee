# SPDX-License-Identifier: Apache-2.0
"""Stand-in of tf2_ros for machines without a ROS installation: the parts the nodes use, upstream signatures."""

from .broadcaster import StaticTransformBroadcaster, TransformBroadcaster
from .buffer import Buffer
from .exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TimeoutException,
    TransformException,
)
from .transform_listener import TransformListener

__all__ = [
    "Buffer",
    "ConnectivityException",
    "ExtrapolationException",
    "InvalidArgumentException",
    "LookupException",
    "StaticTransformBroadcaster",
    "TimeoutException",
    "TransformBroadcaster",
    "TransformException",
    "TransformListener",
]
