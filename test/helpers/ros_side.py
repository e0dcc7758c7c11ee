# SPDX-License-Identifier: Apache-2.0
"""The test's own end of the DDS traffic, and the processes at the other end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future

ROOT = Path(__file__).parents[2]


class RosSide:
    """A node of its own context, spinning in a thread; a context manager."""

    def __enter__(self) -> RosSide:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node("test_side", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._ends = Future(executor=self._executor)
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()
        return self

    def _spin(self):
        while not self._ends.done():
            try:
                self._executor.spin_until_future_complete(self._ends)
            except InvalidHandle:
                pass  # a test took a subscription away while this thread looked at it
            except ExternalShutdownException:
                return

    def __exit__(self, *_):
        # not shutdown() first: it takes from a thread that still spins what that waits for
        self._ends.set_result(None)
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def collect(self, kind, topic, qos=100) -> list:
        """A list that fills with the messages of a topic."""
        received = []
        self.node.create_subscription(kind, topic, received.append, qos)
        return received

    def call(self, kind, name, seconds: float = 30.0, **request):
        """The answer of a service.

        The request is sent again where none comes: a server drops its answer to a client that it has not discovered
        yet, though that one has discovered the server.
        """
        client, futures = self.node.create_client(kind, name), []
        try:
            assert wait_until(client.service_is_ready, seconds), f"no service {name}"
            for _ in range(3):
                futures.append(client.call_async(kind.Request(**request)))
                if wait_until(lambda: any(future.done() for future in futures), seconds / 3):
                    return next(future for future in futures if future.done()).result()
            raise AssertionError(f"no answer from {name}")
        finally:
            self.node.destroy_client(client)


def wait_until(condition, seconds: float = 20.0) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def set_parameter(ros, name, value):
    """What localizer_node answers to a change of one of its parameters."""
    parameter = Parameter(name, value=value).to_parameter_msg()
    (result,) = ros.call(SetParameters, "/localizer_node/set_parameters", parameters=[parameter]).results
    return result


def change(ros, transition):
    """Whether localizer_node made a transition of its life cycle."""
    return ros.call(ChangeState, "/localizer_node/change_state", transition=Transition(id=transition)).success


def grows(received):
    """Whether something more comes."""
    before = len(received)
    return wait_until(lambda: len(received) > before + 2, 15)


def is_silent(received, seconds=1.0):
    """Whether nothing more comes, but for what is under way."""
    wait_until(lambda: False, 0.3)
    before = len(received)
    return not wait_until(lambda: len(received) > before, seconds)


class Process:
    """A process under test; a context manager that leaves none behind, nor any that it started."""

    def __init__(self, *command: str):
        self._command = [sys.executable, "-X", "faulthandler", *map(str, command)]

    def __enter__(self) -> Process:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'test'}:{os.environ.get('PYTHONPATH', '')}"}
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
            start_new_session=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_):
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it: to the process and to those that it started."""
        os.killpg(self._process.pid, signal.SIGINT)

    def end(self, sig: signal.Signals | None = signal.SIGINT, seconds: float = 15.0) -> tuple[int, str, str]:
        """Sends the signal, if any, and waits; the exit code and what the process printed."""
        if sig is not None:
            self._process.send_signal(sig)
        try:
            out, err = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            # the fault handler prints where it hangs
            self._process.send_signal(signal.SIGABRT)
            raise AssertionError(f"did not end within {seconds} s:\n{self._process.communicate()[1]}") from None
        return self._process.returncode, out, err


def ros_parameters(**parameters) -> list[str]:
    """Command line arguments of ROS parameters."""
    arguments = ["--ros-args"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name.replace('__', '.')}:={value}"]
    return arguments
