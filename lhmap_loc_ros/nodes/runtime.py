# SPDX-License-Identifier: Apache-2.0
"""How every node starts, spins and ends: one executor, one clear line for bad input, no thread left behind."""

from __future__ import annotations

import sys
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from ..errors import LhmapError


def run(make_node: Callable[[], Node], argv: list[str] | None = None) -> int:
    """Runs a node until SIGINT, SIGTERM or shutdown; returns the exit code: 0, or 2 for bad input.

    The node may have `stop()`, called after the last callback, which must end and join its threads, and
    `exit_code`, returned at the end.
    """
    rclpy.init(args=argv)
    node = executor = None
    try:
        node = make_node()
        # not the events executor: its spin() does not end on a signal (rclpy 7.1), and it saves nothing at our rates
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        # not spin(): a signal between its building a wait set and waiting for it is slept through (rclpy 7.1)
        while rclpy.ok():
            executor.spin_once(timeout_sec=0.5)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except LhmapError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    finally:
        _end(node, executor)
    return getattr(node, "exit_code", 0)


def _end(node: Node | None, executor) -> None:
    # in this order: a thread that still publishes while its node is destroyed ends the process with an abort
    if executor is not None:
        executor.shutdown()
    if node is not None:
        getattr(node, "stop", lambda: None)()
        node.destroy_node()
    rclpy.try_shutdown()
