# SPDX-License-Identifier: Apache-2.0
"""Stamps for messages that have none."""

from __future__ import annotations

from rclpy.node import Node

from ..errors import InputError
from .conversions import SECOND_NS


class Stamps:
    """The stamps of a topic; where all are zero, the time its messages come."""

    def __init__(self, node: Node, what: str):
        """`what` is sent, for people."""
        self._node, self._what = node, what
        self._missing = 0

    def of(self, stamp_ns: int) -> int:
        """The stamp [ns] of a message that has just come; raises InputError for zero after others."""
        now = self._node.get_clock().now().nanoseconds
        # a simulation may begin at zero
        if stamp_ns or now < SECOND_NS:
            self._missing = 0
            return stamp_ns
        self._missing += 1
        if self._missing == 1:
            raise InputError(f"{self._what} is stamped 0, expected a time")
        if self._missing == 2:
            self._node.get_logger().warning(f"{self._what} has no stamps: taken is the time when it comes")
        return now
