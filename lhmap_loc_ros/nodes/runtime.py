# SPDX-License-Identifier: Apache-2.0
"""How every node starts, spins and ends: one executor, one clear line for bad input, no thread left behind."""

from __future__ import annotations

import argparse
import logging
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from ..errors import InputError, LhmapError

_PLACES_IN_C = r" ?, at \S+:\d+"
"""Where in its sources ROS found an error."""


@contextmanager
def _told() -> Iterator[None]:
    """What ROS says of an argument that it does not know, or a file of parameters that is none, as InputError."""
    try:
        yield
    except RuntimeError as error:
        raise InputError(f"ROS arguments: {re.sub(_PLACES_IN_C, '', ' '.join(str(error).split()))}") from None


@contextmanager
def ros(argv: list[str] | None) -> Iterator[Callable[[], bool]]:
    """ROS, initialized with the arguments; gives a function that tells whether to go on.

    SIGINT and SIGTERM make it tell no and do nothing else: rclpy's own handlers end the context under the hands of
    whoever publishes, and may let a KeyboardInterrupt rise in the middle of the cleaning up. Raises InputError for
    arguments that ROS does not understand.
    """
    stop = threading.Event()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda *_: stop.set())
    try:
        with _told():
            rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
        yield lambda: rclpy.ok() and not stop.is_set()
    finally:
        rclpy.try_shutdown()
        for number, handler in before.items():
            signal.signal(number, handler)


class _ToRos(logging.Handler):
    """Hands what the package logs to ROS."""

    def emit(self, record: logging.LogRecord) -> None:
        logger, text = get_logger(record.name), record.getMessage()
        # ROS wants each level from a line of its own
        if record.levelno >= logging.ERROR:
            logger.error(text)
        elif record.levelno >= logging.WARNING:
            logger.warning(text)
        else:
            logger.info(text)


@contextmanager
def logs_to_ros() -> Iterator[None]:
    """What the package logs, of engines being built for one, appears as the node's own."""
    logger, handler = logging.getLogger(__name__.partition(".")[0]), _ToRos(logging.INFO)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _check_arguments(argv: list[str], name: str, about: str) -> None:
    """Answers --help; ends the process for an argument that is not one of ROS: a node has parameters instead."""
    parser = argparse.ArgumentParser(
        prog=name, description=about, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=f"{name} --ros-args [-p NAME:=VALUE ...] [--params-file FILE] [-r FROM:=TO ...]",
        epilog=f"config/{name.removesuffix('_node')}.param.yaml lists the parameters; "
        f"of a running node: ros2 param describe /{name} PARAMETER",
    )  # fmt: skip
    with _told():
        rest = remove_ros_args(argv)[1:]
    parser.parse_args(rest)


def run(make_node: Callable[[], Node], argv: list[str] | None = None, name: str = "", about: str = "") -> int:
    """Runs a node until SIGINT, SIGTERM or shutdown; returns the exit code: 0, or 2 for bad input.

    A node with a `name` takes no arguments but those of ROS, and --help, which tells what it is `about`.

    The node may have `stop()`, called after the last callback, which must end and join its threads, and
    `exit_code`, returned at the end.
    """
    try:
        if name:
            _check_arguments(sys.argv if argv is None else argv, name, about)
        with ros(argv) as should_continue, logs_to_ros():
            return _spin(make_node(), should_continue)
    except LhmapError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return error.exit_code


def _spin(node: Node, should_continue: Callable[[], bool]) -> int:
    """Until it is to end; returns the node's exit code."""
    # not the events executor: it does not end well on a signal (rclpy 7.1), and saves nothing at our rates
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        # not spin(): between signals it would wait for ever
        while should_continue():
            executor.spin_once(timeout_sec=0.2)
    except ExternalShutdownException:
        pass
    finally:
        # in this order: a thread that still publishes while its node is destroyed ends the process with an abort
        executor.shutdown()
        getattr(node, "stop", lambda: None)()
        node.destroy_node()
    return getattr(node, "exit_code", 0)
