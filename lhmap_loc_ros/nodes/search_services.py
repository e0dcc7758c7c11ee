# SPDX-License-Identifier: Apache-2.0
"""The services that find the place anew and answer when it is found, seconds later."""

from __future__ import annotations

import threading
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Empty, Trigger

from ..localization.relocalize import PoseHypothesis

WAIT_S = 60.0
"""So long a service looks for the place."""


class SearchServices:
    """`global_localization`, and nav2_amcl's `reinitialize_global_localization`, beside a node.

    A callback that waits would hold up all others of its executor: these have a node and a thread of their own.
    """

    def __init__(self, node: Node, ask: Callable[[float], tuple[PoseHypothesis | None, str]]):
        """`ask` waits for a place, at most so many seconds, and says why there is none."""
        self._ask = ask
        self._node = rclpy.create_node(
            f"{node.get_name()}_search", namespace=node.get_namespace(), context=node.context, enable_rosout=False,
            start_parameter_services=False, use_global_arguments=False,
        )  # fmt: skip
        names = map(node.resolve_service_name, ("global_localization", "reinitialize_global_localization"))
        for kind, name, answer in zip((Trigger, Empty), names, (self._on_trigger, self._on_empty), strict=True):
            self._node.create_service(kind, name, answer)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._node)
        self._closed = Future(executor=self._executor)
        self._thread = threading.Thread(target=self._spin, name="search services", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Takes the services away; whoever waits must have been answered."""
        # not shutdown() first: it takes from a thread that still spins what that waits for
        self._closed.set_result(None)
        self._thread.join(timeout=5.0)
        self._executor.shutdown()
        self._node.destroy_node()

    def _spin(self) -> None:
        try:
            self._executor.spin_until_future_complete(self._closed)
        except ExternalShutdownException:
            pass

    def _on_trigger(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        place, problem = self._ask(WAIT_S)
        response.success = place is not None
        if place is None:
            response.message = problem
        else:
            x, y, z = place.T_map_base[:3, 3]
            response.message = f"at {x:.2f} {y:.2f} {z:.2f} m, {100 * place.inlier_ratio:.0f} % of the matches fit"
        return response

    def _on_empty(self, request: Empty.Request, response: Empty.Response) -> Empty.Response:
        self._ask(WAIT_S)
        return response
