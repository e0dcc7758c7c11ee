# SPDX-License-Identifier: Apache-2.0
"""Stand-in of cv_bridge for machines without a ROS installation: the part the nodes use, upstream signatures."""

from .core import CvBridge, CvBridgeError

__all__ = ["CvBridge", "CvBridgeError"]
