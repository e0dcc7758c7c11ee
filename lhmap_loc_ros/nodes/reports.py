# SPDX-License-Identifier: Apache-2.0
"""What is told of messages that are of no use: on /diagnostics, and now and then in the log."""

from __future__ import annotations

import math
import time

from rclpy.node import Node

from .diagnostics import Health

_LOG_S = 5.0
"""Least time between two warnings on the same subject."""


class Reports:
    """Writes down in `Health` what /diagnostics tells, and warns in the log; from any thread."""

    def __init__(self, node: Node, health: Health):
        self._node, self._health = node, health
        self._logged_at: dict[str, float] = {}

    def refuse(self, problem: str) -> None:
        """An image cannot be localized."""
        self._health.refuse(problem)
        self.log("localization", problem)

    def leave_out(self, what: str, problem: str) -> None:
        """A message is of no use; counted by what it is of."""
        self._health.leave_out(what, problem)
        self.log(what, problem)

    def warn(self, subject: str, problem: str) -> None:
        """Something came that is of no use; images may be localized all the same."""
        self._health.complain(problem)
        self.log(subject, problem)

    def log(self, subject: str, problem: str) -> None:
        """In the log alone."""
        # rclpy would throttle all that is logged here as one
        now = time.monotonic()
        if now >= self._logged_at.get(subject, -math.inf) + _LOG_S:
            self._logged_at[subject] = now
            self._node.get_logger().warning(problem)
