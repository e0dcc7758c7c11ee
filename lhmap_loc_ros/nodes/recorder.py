# SPDX-License-Identifier: Apache-2.0
"""recorder_node: writes down the poses a localizer publishes, as they arrive over DDS.

It may also give the localizer its start pose. The file appears, complete, when the recorder ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args

from ..errors import InputError
from ..geometry import from_quaternion
from ..localization.record import RunRecord
from .conversions import from_pose_with_covariance, header, to_ns, to_pose_with_covariance
from .runtime import run

NAME = "recorder_node"
_DEEP = QoSProfile(depth=1000)


class RecorderNode(Node):
    """Subscribes pose and status, publishes initialpose once it has a subscriber; `stop` writes the file."""

    def __init__(self, out: Path, initial: dict | None = None):
        """`initial`: stamp_ns, frame, pose [x y z qx qy qz qw], covariance (6, 6) row by row, body frame."""
        super().__init__(NAME)
        self._out = out
        self._rows: dict[int, dict] = {}
        self._initial = None if initial is None else _initial_message(initial)
        self.create_subscription(PoseWithCovarianceStamped, "pose", self._on_pose, _DEEP)
        self.create_subscription(DiagnosticArray, "status", self._on_status, _DEEP)
        if self._initial is not None:
            self._publisher = self.create_publisher(PoseWithCovarianceStamped, "initialpose", 1)
            self._timer = self.create_timer(0.05, self._send_initial, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _send_initial(self) -> None:
        # not before the poses it sets off would be heard
        if self._publisher.get_subscription_count() and self.count_publishers("pose"):
            self._publisher.publish(self._initial)
            self._timer.cancel()

    def _row(self, stamp_ns: int) -> dict:
        return self._rows.setdefault(stamp_ns, {"stamp_ns": stamp_ns})

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        p, q = message.pose.pose.position, message.pose.pose.orientation
        self._row(to_ns(message.header.stamp)).update(
            arrival_s=time.monotonic(),
            frame=message.header.frame_id,
            pose=[p.x, p.y, p.z, q.x, q.y, q.z, q.w],
            covariance=from_pose_with_covariance(message.pose)[1].ravel().tolist(),
        )

    def _on_status(self, message: DiagnosticArray) -> None:
        values = {v.key: v.value for v in message.status[0].values}
        self._row(to_ns(message.header.stamp)).update(
            state=values["state"],
            accepted=values["accepted"] == "1",
            **{name: float(values[name]) for name in ("inlier_ratio", "innovation", "latency_ms")},
        )

    def stop(self) -> None:
        """Writes a line of JSON for each image, in order of the stamps."""
        lines = [json.dumps(self._rows[stamp]) + "\n" for stamp in sorted(self._rows)]
        self._out.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._out.with_name(f".{self._out.name}.part")
        temporary.write_text("".join(lines))
        os.replace(temporary, self._out)


def _read_initial(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is not a start pose in JSON: {error}") from None


def _initial_message(initial: dict) -> PoseWithCovarianceStamped:
    try:
        pose = from_quaternion(initial["pose"][:3], initial["pose"][3:])
        covariance = np.array(initial["covariance"], dtype=float).reshape(6, 6)
        head = header(int(initial["stamp_ns"]), initial["frame"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"initial pose: {error!r}; expected stamp_ns, frame, pose (7 numbers), covariance (36)"
        ) from None
    return PoseWithCovarianceStamped(header=head, pose=to_pose_with_covariance(pose, covariance))


def read_recording(path) -> RunRecord:
    """What a recorder wrote; images without a pose (a lost track) and poses without a status are left out.

    Raises InputError for a file that is missing, foreign or holds no pose.
    """
    try:
        rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
        whole = [row for row in rows if "pose" in row and "state" in row]
        if not whole:
            raise InputError(f"{path}: holds no pose: the localizer published none while it was recorded")

        def column(name: str) -> np.ndarray:
            return np.array([r[name] for r in whole], float)

        return RunRecord(
            stamps_ns=np.array([r["stamp_ns"] for r in whole], np.int64),
            states=np.array([r["state"] for r in whole]),
            accepted=np.array([r["accepted"] for r in whole], bool),
            poses=np.array([from_quaternion(r["pose"][:3], r["pose"][3:]) for r in whole]),
            covariances=np.array([r["covariance"] for r in whole], float).reshape(-1, 6, 6),
            inlier_ratio=column("inlier_ratio"),
            innovation=column("innovation"),
            latency_ms=column("latency_ms"),
            arrival_s=column("arrival_s"),
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is not a recording: {error!r}") from None


def run_recorder(argv: list[str] | None = None) -> int:
    """Records until SIGINT or SIGTERM; returns the exit code."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="file to write, a line of JSON for each image")
    parser.add_argument("--initial", type=Path, help="JSON file: stamp_ns, frame, pose (7), covariance (36)")
    a = parser.parse_args(remove_ros_args(argv)[1:])
    return run(lambda: RecorderNode(a.out, None if a.initial is None else _read_initial(a.initial)), argv)


def main() -> None:
    """Entry point of `ros2 run lhmap_loc_ros recorder_node FILE`."""
    sys.exit(run_recorder(sys.argv))


if __name__ == "__main__":
    main()
