# SPDX-License-Identifier: Apache-2.0
"""ROS 2 nodes: the only room that imports rclpy. A node turns messages into arrays and back, nothing more."""
