# SPDX-License-Identifier: Apache-2.0
"""map_builder_node: `lhmap build` as a node. Progress on /diagnostics; the finished map latched on map_cloud."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from copy import copy

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from pydantic import Field, field_validator
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from ..configuration import Config
from ..errors import LhmapError
from ..mapping.builder import build_map
from ..mapping.config import BuildConfig
from ..memory import give_back_large_arrays
from .conversions import MAP_CLOUD_POINTS, header, map_to_cloud
from .diagnostics import key_values, of_node
from .local_frame import LocalFrame
from .localizer_output import LATCHED
from .parameters import declare
from .runtime import run

NAME = "map_builder_node"


class MapBuilderConfig(Config):
    """Parameters of map_builder_node."""

    bag_path: str = Field(min_length=1, description="Path of the bag of the mapping drive: a rosbag2 folder, or ROS 1.")
    map_path: str = Field(min_length=1, description="Path of the map, a file .lhmap; written once it is complete.")
    exit_when_done: bool = Field(
        False, description="The node ends with the build; false: it stays, and publishes the map latched on map_cloud."
    )
    build: BuildConfig = BuildConfig()

    @field_validator("bag_path", "map_path")
    @classmethod
    def _paths_may_begin_at_home(cls, value):
        return os.path.expanduser(value)


class MapBuilderNode(Node):
    """Builds in a thread of its own; after an error the node ends with the error's exit code."""

    def __init__(self):
        super().__init__(NAME)
        self.exit_code = 0
        self.config = declare(self, MapBuilderConfig, NAME)
        self._status = _status(DiagnosticStatus.OK, "starting", {})
        self._stopping = threading.Event()
        self._cloud = self.create_publisher(PointCloud2, "map_cloud", LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self.create_timer(0.5, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._worker = threading.Thread(target=self._work, name="build")
        self._worker.start()

    def stop(self) -> None:
        """Stops the build at its next report of progress and joins its thread."""
        self._stopping.set()
        self._worker.join()

    def _work(self) -> None:
        try:
            self._build()
        except _StoppedError:
            return
        except LhmapError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            self._end(error.exit_code)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self._end(1)

    def _build(self) -> None:
        c = self.config
        with build_map(c.bag_path, c.map_path, c.build, self._report) as lhmap:
            stamp_ns, local = self.get_clock().now().nanoseconds, LocalFrame.of(lhmap.metadata.frame, lhmap.metadata)
            local.broadcast(self)
            points = lhmap.hottest(MAP_CLOUD_POINTS)
            self._cloud.publish(map_to_cloud(points, header(stamp_ns, local.drawn), local.origin))
            done = f"{c.map_path}: {lhmap.metadata.points} points"
        self._status = _status(DiagnosticStatus.OK, "done", {"map": c.map_path, "points": lhmap.metadata.points})
        self.get_logger().info(done)
        if c.exit_when_done:
            self._end(0)

    def _report(self, stage: str, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise _StoppedError
        self._status = _status(DiagnosticStatus.OK, stage, {"stage": stage, "done": done, "total": total})

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray(status=of_node(self, [copy(self._status)]))
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _end(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self.context.try_shutdown()


class _StoppedError(Exception):
    """Stops a build when the node ends; it leaves no map."""


def _status(level: bytes, message: str, values: dict) -> DiagnosticStatus:
    return DiagnosticStatus(level=level, name="map building", message=message, values=key_values(values))


def run_map_builder(argv: list[str] | None = None) -> int:
    """Runs the node with ROS arguments; returns the exit code."""
    return run(MapBuilderNode, argv, NAME, __doc__)


def main() -> None:
    """Entry point of `ros2 run lhmap_loc_ros map_builder_node`."""
    give_back_large_arrays()
    sys.exit(run_map_builder(sys.argv))


if __name__ == "__main__":
    main()
