# SPDX-License-Identifier: Apache-2.0
"""player_node: publishes a bag over DDS, with /clock, where `ros2 bag play` is not installed.

Messages leave as they were recorded, byte for byte. It begins when its topics have subscribers, keeps the pace of the
recording, and ends when the subscribers have acknowledged what was sent.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.utilities import remove_ros_args
from rosbags.interfaces import Connection, QosDurability
from rosgraph_msgs.msg import Clock

from ..errors import BagError, ConfigError, LhmapError
from ..progress import Report, quiet
from .conversions import to_stamp
from .recorded import RecordedBag
from .runtime import ros

NAME = "player_node"
AWAITED = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/CameraInfo",
    "nav_msgs/msg/Odometry",
)
"""Types a localizer listens to: playing waits until their topics are heard."""
_CLOCK_S = 0.02


@dataclass(frozen=True)
class PlayOptions:
    """How a bag is played."""

    rate: float = 1.0
    """Times the speed of the recording."""
    loop: bool = False
    """Start again at the end."""
    clock: bool = True
    """Publish /clock, for nodes with use_sim_time."""
    topics: tuple[str, ...] = ()
    """Only these; empty: all."""
    wait_for: tuple[str, ...] | None = None
    """Topics that must have a subscriber before it begins; None: those with images, calibration, odometry."""
    wait_s: float = 15.0
    """It begins after this time at the latest [s]."""

    def __post_init__(self):
        if not self.rate > 0:
            raise ConfigError(f"rate: {self.rate:g} found, expected more than 0")


@dataclass(frozen=True)
class Played:
    """What was played."""

    messages: dict[str, int]
    """By topic."""
    seconds: float
    """Wall time of the playing itself."""
    late_s: float
    """The most a message left later than it should have."""
    unheard: tuple[str, ...]
    """Topics waited for in vain."""

    def __str__(self) -> str:
        sent = sum(self.messages.values())
        return f"{sent} messages in {self.seconds:.1f} s, at most {1e3 * self.late_s:.0f} ms late"


def play(bag, argv: list[str] | None = None, report: Report | None = None, **options) -> Played:
    """Plays a rosbag2 bag to its end, or until SIGINT; `options` are the fields of `PlayOptions`.

    `argv` may hold ROS arguments, such as remappings. `report("play", done, total)` counts messages. Raises BagError
    for a bag that cannot be read, or lacks a topic asked for.
    """
    chosen = PlayOptions(**options)
    with RecordedBag(bag) as recorded, ros(argv) as should_continue:
        node = Node(NAME)
        try:
            return _Player(node, recorded, chosen, should_continue).run(report or quiet)
        finally:
            node.destroy_node()


class _Player:
    def __init__(self, node: Node, bag: RecordedBag, options: PlayOptions, should_continue: Callable[[], bool]):
        self._bag, self._options, self._should_continue = bag, options, should_continue
        # a clock of ours and the one of the bag, which tells other times, would be heard in turn
        known = bag.connections(options.topics)
        self._connections = [c for c in known if not (options.clock and c.topic == "/clock")]
        self._publishers: dict[str, Publisher] = {}
        for connection in self._connections:
            if connection.topic in self._publishers:
                continue
            if (kind := _message_class(connection)) is not None:
                self._publishers[connection.topic] = node.create_publisher(kind, connection.topic, _qos(connection))
                continue
            told = f"{bag.path}: {connection.topic} is of type {connection.msgtype}, which is not installed"
            if options.topics:
                raise BagError(told)
            node.get_logger().warning(f"{told}: not played")
        self._connections = [c for c in self._connections if c.topic in self._publishers]
        if not self._connections:
            raise BagError(f"{bag.path}: no topic that can be played found")
        self._sent = dict.fromkeys(self._publishers, 0)
        self._clock = node.create_publisher(Clock, "/clock", 10) if options.clock else None
        self._clock_sent = -1.0

    def run(self, report: Report) -> Played:
        """Waits, plays, waits for the acknowledgements."""
        unheard = self._wait()
        began, late = time.monotonic(), 0.0
        while True:
            late = max(late, self._play_once(report))
            if not self._options.loop or not self._should_continue():
                break
        seconds = time.monotonic() - began
        self._flush()
        return Played(self._sent, seconds, late, unheard)

    def _play_once(self, report: Report) -> float:
        """From the first message to the last; the most that one was late [s]."""
        total = sum(c.msgcount for c in self._connections)
        began, first_ns, done, late = time.monotonic(), None, 0, 0.0
        for connection, stamp_ns, data in self._bag.messages(self._connections):
            first_ns = stamp_ns if first_ns is None else first_ns
            due = began + (stamp_ns - first_ns) / 1e9 / self._options.rate
            late = max(late, self._sleep_until(due, began, first_ns, stamp_ns))
            if not self._should_continue():
                break
            self._tick(stamp_ns)
            self._publishers[connection.topic].publish(bytes(data))
            done += 1
            self._sent[connection.topic] += 1
            report("play", done, total)
        return late

    def _wait(self) -> tuple[str, ...]:
        """Until every awaited topic has a subscription, or the time is up; the topics without a subscriber."""
        awaited = self._options.wait_for
        if awaited is None:
            awaited = tuple({c.topic for c in self._connections if c.msgtype in AWAITED})
        missing = [topic for topic in awaited if topic not in self._publishers]
        if missing:
            raise BagError(f"{self._bag.path}: waits for {', '.join(missing)}, which it does not play")
        end = time.monotonic() + self._options.wait_s
        while self._should_continue():
            unheard = tuple(t for t in awaited if not self._publishers[t].get_subscription_count())
            if not unheard or time.monotonic() >= end:
                return unheard
            time.sleep(0.02)
        return ()

    def _sleep_until(self, due: float, began: float, first_ns: int, next_ns: int) -> float:
        """Sleeps, with /clock ticking on to the stamp of the next message; how much too late it is already [s]."""
        while (rest := due - time.monotonic()) > 0 and self._should_continue():
            time.sleep(min(rest, _CLOCK_S))
            # a busy machine sleeps too long, and a clock that goes back empties the buffers of tf2
            self._tick(min(first_ns + round((time.monotonic() - began) * self._options.rate * 1e9), next_ns))
        return max(-rest, 0.0)

    def _tick(self, stamp_ns: int) -> None:
        now = time.monotonic()
        if self._clock is not None and now >= self._clock_sent + _CLOCK_S:
            self._clock_sent = now
            self._clock.publish(Clock(clock=to_stamp(stamp_ns)))

    def _flush(self) -> None:
        """Waits, not for ever, until the listeners have what was sent."""
        for publisher in self._publishers.values():
            if self._should_continue():
                publisher.wait_for_all_acked(Duration(seconds=2))


def _message_class(connection: Connection) -> type | None:
    """The class of the messages, None where their package is not installed."""
    package, _, name = connection.msgtype.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        return None


def _qos(connection: Connection) -> QoSProfile:
    """Reliable, and latched where it was recorded so."""
    offered = getattr(connection.ext, "offered_qos_profiles", [])
    latched = connection.topic.endswith("tf_static") or any(
        q.durability == QosDurability.TRANSIENT_LOCAL for q in offered
    )
    return QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL) if latched else QoSProfile(depth=10)


def run_player(argv: list[str] | None = None) -> int:
    """Plays as the arguments say; returns the exit code."""
    argv = sys.argv if argv is None else argv
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__.splitlines()[0])
    parser.add_argument("bag", help="rosbag2 folder or .mcap file")
    parser.add_argument("--rate", type=float, default=1.0, help="times the speed of the recording")
    parser.add_argument("--loop", action="store_true", help="start again at the end")
    parser.add_argument("--no-clock", action="store_true", help="do not publish /clock")
    parser.add_argument("--topics", nargs="+", default=[], help="only these topics")
    parser.add_argument("--wait-for", nargs="*", help="topics that must have a subscriber first (none: begin at once)")
    parser.add_argument("--wait", type=float, default=15.0, help="begin after this many seconds at the latest")
    a = parser.parse_args(remove_ros_args(argv)[1:])
    wait_for = None if a.wait_for is None else tuple(a.wait_for)
    try:
        played = play(
            a.bag, argv, rate=a.rate, loop=a.loop, clock=not a.no_clock,
            topics=tuple(a.topics), wait_for=wait_for, wait_s=a.wait,
        )  # fmt: skip
    except LhmapError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if played.unheard:
        print(f"no subscriber of {', '.join(played.unheard)}", file=sys.stderr)
    print(f"played {played}")
    for topic, count in played.messages.items():
        print(f"  {topic} {count}")
    return 0


def main() -> None:
    """Entry point of `ros2 run lhmap_loc_ros player_node BAG`."""
    sys.exit(run_player(sys.argv))


if __name__ == "__main__":
    main()
