# SPDX-License-Identifier: Apache-2.0
"""Reading bags, ROS 1 and rosbag2 (sqlite3, MCAP), without ROS."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import BagError, InputError
from ..geometry import from_quaternion
from . import decoding
from .bag_files import no_such_bag, open_bag
from .left_out import LeftOut
from .messages import CameraInfo, Fix, Image, Odometry, Scan, Stamped, Transform
from .transforms import TransformTree

_SIMULATED_NS = 10**6 * 10**9
"""Clocks that count from the start of a simulation or of a machine are below it, those since 1970 far above."""
_LOOKED_AT = 20
_EXPECTED = {
    Scan: "sensor_msgs/msg/PointCloud2", Image: "sensor_msgs/msg/Image or CompressedImage",
    CameraInfo: "sensor_msgs/msg/CameraInfo", Odometry: "nav_msgs/msg/Odometry", Transform: "tf2_msgs/msg/TFMessage",
    Fix: "sensor_msgs/msg/NavSatFix",
}  # fmt: skip
"""What a topic must be of, for each class of messages."""
_log = logging.getLogger(__name__)
Made = TypeVar("Made")
Kind = TypeVar("Kind", bound=Stamped)


class BagReader:
    """An open bag; a context manager.

    Intensities of scans are as the sensor gives them, zeros where it gives none.
    A message that cannot be used is left out and counted; a topic of such messages alone raises BagError.
    """

    def __init__(self, path, point_times: str = "auto"):
        """Opens the bag: a rosbag2 folder, an .mcap or .db3 file or a ROS 1 .bag file.

        `point_times` is the unit of the times of points (s, ms, us, ns), auto: told from the first scan of each topic
        that tells, or ignore. Raises BagError if the bag is missing, truncated or none.
        """
        self.path = Path(path)
        self._point_times = point_times
        self._units: dict[str, str] = {}
        self._from_zero: dict[str, bool] = {}
        self._recorded_after: dict[str, int] = {}
        self.left_out = LeftOut()
        """The messages that could not be used so far."""
        if not self.path.exists():
            raise no_such_bag(self.path)
        try:
            self._reader, self._foreign = open_bag(self.path)
        except BagError:
            raise
        except Exception as error:  # a damaged file makes the reader fail in many ways
            mend = "; `mcap recover` mends a recording that was cut off" if "end magic" in str(error) else ""
            raise BagError(f"{path}: not a readable bag (truncated or damaged?): {_short(error)}{mend}") from error
        self.topics: dict[str, str] = {c.topic: c.msgtype for c in self._readable()}
        """Names of the topics and the types of their messages."""

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def count(self, topic: str) -> int:
        """Number of messages of a topic; raises BagError if it is not there."""
        self.require(topic)
        return sum(c.msgcount for c in self._readable() if c.topic == topic)

    def _readable(self) -> list:
        return [c for c in self._reader.connections if c.topic not in self._foreign]

    def require(self, *topics: str, otherwise: str = "") -> None:
        """Raises BagError, listing what there is and telling what to do `otherwise`, unless it has all these topics."""
        missing = [topic for topic in topics if topic not in self.topics]
        if missing:
            have = ", ".join(f"{name} ({kind})" for name, kind in sorted(self.topics.items())) or "none"
            foreign = "".join(f"; {name} cannot be read: {why}" for name, why in sorted(self._foreign.items()))
            then = f"; {otherwise}" if otherwise else ""
            raise BagError(f"{self.path}: no topic {', '.join(missing)}; the bag has: {have}{foreign}{then}")

    def of_type(self, *types: str) -> list[str]:
        """Names of the topics whose messages are of one of the types, as sensor_msgs/Image."""
        return sorted(topic for topic, msgtype in self.topics.items() if _kind(msgtype) in types)

    def messages_as(
        self, kind: type[Kind], topic: str, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[Kind]:
        """The messages of one topic, all of one class of `datasets.messages`: raises BagError if they are of another.

        Else as `messages`.
        """
        for message in self.messages([topic], start_ns, stop_ns):
            if not isinstance(message, kind):
                raise BagError(f"{self.path}: {topic} is of type {self.topics[topic]}, expected {_EXPECTED[kind]}")
            yield message

    def messages(self, topics: list[str], start_ns: int | None = None, stop_ns: int | None = None) -> Iterator[Stamped]:
        """The messages of some topics in the order of recording, as the classes of `datasets.messages`.

        A tf message gives one `Transform` for each it holds. `start_ns` and `stop_ns` bound the time of
        recording. Raises BagError for a topic that is not there, of a type unknown here, or, without bounds, of
        messages none of which can be used, and for a damaged file.
        """
        self.require(*topics)
        for topic in topics:
            if _kind(self.topics[topic]) not in _DECODERS:
                known = ", ".join(sorted(_DECODERS))
                raise BagError(f"{self.path}: {topic} is of type {self.topics[topic]}, expected one of {known}")
        used = set()
        for topic, stamp, message, kind in self._undecoded(topics, start_ns, stop_ns):
            try:
                decoded = list(_DECODERS[kind](self, topic, stamp, message))
            except InputError as error:
                self.left_out.add(topic, str(error), stamp)
                continue
            except Exception as error:
                self.left_out.add(topic, f"damaged: {_short(error)}", stamp)
                continue
            if decoded:
                used.add(topic)
            yield from decoded
        for topic in topics:
            reason = self.left_out.reason(topic)
            if topic not in used and reason is not None and start_ns is None and stop_ns is None:
                raise BagError(f"{self.path}: {reason}")

    def raw_messages(self, topic: str) -> Iterator[tuple[int, object]]:
        """Stamps [ns] and messages of a topic as they were sent, with a header; raises BagError as `messages`."""
        self.require(topic)
        for _, stamp, message, _ in self._undecoded([topic]):
            yield self._stamp(topic, message.header, stamp), message

    def first_stamps(self, topic: str, count: int | None = _LOOKED_AT) -> list[int]:
        """Stamps [ns] of the first messages of a topic, None: of all, in the order of recording; they need headers."""
        found = islice(self._undecoded([topic]), count)
        return [self._stamp(topic, message.header, recorded) for _, recorded, message, _ in found]

    def recorded_after_ns(self, topic: str) -> int:
        """How long after their stamps messages of a topic were recorded, in the median of the first [ns]."""
        if topic not in self._recorded_after:
            first = [r - self._stamp(topic, m.header, r) for _, r, m, _ in islice(self._undecoded([topic]), _LOOKED_AT)]
            self._recorded_after[topic] = int(np.median(first)) if first else 0
        return self._recorded_after[topic]

    def recorded_ns(self, topic: str) -> np.ndarray:
        """Times of recording (N,) int64 [ns] of the messages of a topic, in order; it takes reading them."""
        self.require(topic)
        connections = [c for c in self._readable() if c.topic == topic]
        try:
            return np.array([stamp for _, stamp, _ in self._reader.messages(connections)], np.int64)
        except Exception as error:
            raise self._damaged(error) from error

    def _undecoded(self, topics: list[str], start_ns=None, stop_ns=None) -> Iterator[tuple]:
        """Topic, time of recording, message and its type."""
        connections = [c for c in self._readable() if c.topic in set(topics)]
        # of no connections the library reads all
        source = self._reader.messages(connections, start_ns, stop_ns) if connections else iter(())
        while True:
            try:
                connection, stamp, data = next(source)
            except StopIteration:
                return
            except Exception as error:
                raise self._damaged(error) from error
            try:
                message = self._reader.deserialize(data, connection.msgtype)
            except Exception as error:
                self.left_out.add(connection.topic, f"damaged: {_short(error)}", stamp)
                continue
            yield connection.topic, stamp, message, _kind(connection.msgtype)

    def _stamp(self, topic: str, header, recorded: int) -> int:
        """The stamp [ns] of a header; the time of recording where there is none."""
        stamp = header.stamp.sec * 10**9 + header.stamp.nanosec
        if stamp:
            return stamp
        if topic not in self._from_zero:
            self._from_zero[topic] = self._counts_from_zero(topic)
        return 0 if self._from_zero[topic] else recorded

    def _counts_from_zero(self, topic: str) -> bool:
        """Whether a stamp of zero is one: the clock of a simulation began there, as the next stamps tell."""
        for number, (_, _, message, _) in enumerate(self._undecoded([topic])):
            parts = getattr(message, "transforms", [message])
            later = [p.header.stamp.sec * 10**9 + p.header.stamp.nanosec for p in parts]
            if any(later):
                return max(later) < _SIMULATED_NS
            if number == _LOOKED_AT:
                break
        if "TFMessage" not in self.topics[topic] and "tfMessage" not in self.topics[topic]:
            _log.warning("%s: %s has no stamps: taken are the times of recording", self.path, topic)
        return False

    def _damaged(self, error: Exception) -> BagError:
        """Damage shows in many ways."""
        return BagError(f"{self.path}: damaged: {_short(error)}")

    @property
    def span_ns(self) -> tuple[int, int]:
        """Time of recording of the first and the last message."""
        return self._reader.start_time, self._reader.end_time

    def static_transforms(self, topic: str = "/tf_static") -> TransformTree:
        """The fixed frames; raises BagError if the bag has no such topic."""
        tree = TransformTree(str(self.path))
        for transform in self.messages_as(Transform, topic):
            tree.add(transform.frame, transform.child, transform.pose)
        return tree

    @property
    def fix_topic(self) -> str:
        """Topic of GPS fixes (sensor_msgs/NavSatFix), that with most; empty without any."""
        return max(self.of_type("sensor_msgs/NavSatFix"), key=self.count, default="")

    def fixes(self) -> list[Fix]:
        """What a GPS receiver told; nothing where it told no position."""
        topic = self.fix_topic
        try:
            return list(self.messages_as(Fix, topic)) if topic else []
        except BagError as error:
            _log.warning("%s", error)
            return []

    def camera_info(self, topic: str) -> CameraInfo:
        """The first calibration on a topic; raises BagError if there is none or they are empty."""
        return self.first_calibration(topic, _check_calibrated)[0]

    def first_calibration(self, topic: str, use: Callable[[CameraInfo], Made]) -> tuple[CameraInfo, Made]:
        """The first calibration on a topic that is one, and what `use` makes of it.

        Those for which it raises InputError are left out. Raises BagError if there is no other.
        """
        wrong = None
        for info in self.messages_as(CameraInfo, topic):
            try:
                return info, use(info)
            except InputError as error:
                wrong = wrong or error
                self.left_out.add(topic, str(error), info.stamp_ns)
        raise BagError(f"{self.path}: {topic}: {wrong or 'holds no message, expected a camera calibration'}")

    def _scan(self, topic, stamp, message) -> Iterator[Scan]:
        stamp, frame = self._head(topic, message, stamp)
        fields = decoding.decode_cloud(message)
        points = np.column_stack([fields[name] for name in "xyz"]).astype(np.float32)
        keep = np.isfinite(points).all(axis=1)
        offsets = self._offsets(topic, fields, stamp, keep)
        intensity = decoding.intensity_field(fields)
        intensity = np.zeros(len(points), np.float32) if intensity is None else intensity
        yield Scan(topic, stamp, frame, points[keep], intensity[keep], offsets)

    def _offsets(self, topic: str, fields: dict[str, np.ndarray], stamp: int, keep: np.ndarray) -> np.ndarray | None:
        """When the points to keep were measured; the unit is that of the topic's scans before, if it can be."""
        name = decoding.time_field(fields)
        if name is None or self._point_times == "ignore":
            return None
        unit: str | None = self._point_times
        if unit == "auto":
            unit = decoding.time_unit(fields[name][keep], self._units.get(topic))
            if unit is not None:
                self._units[topic] = unit
        return decoding.time_offsets_ns(fields, stamp, keep, unit)

    def _image(self, topic, stamp, message) -> Iterator[Image]:
        yield Image(topic, *self._head(topic, message, stamp), decoding.decode_image(message))

    def _compressed(self, topic, stamp, message) -> Iterator[Image]:
        yield Image(topic, *self._head(topic, message, stamp), decoding.decode_compressed_image(message))

    def _camera_info(self, topic, stamp, m) -> Iterator[CameraInfo]:
        yield CameraInfo(topic, *self._head(topic, m, stamp), decoding.decode_calibration(m))

    def _odometry(self, topic, stamp, m) -> Iterator[Odometry]:
        covariance = np.array(m.pose.covariance, dtype=float).reshape(6, 6)
        child = getattr(m, "child_frame_id", "").lstrip("/")
        yield Odometry(topic, *self._head(topic, m, stamp), child, _pose(m.pose.pose), covariance)

    def _pose_stamped(self, topic, stamp, m) -> Iterator[Odometry]:
        yield Odometry(topic, *self._head(topic, m, stamp), "", _pose(m.pose), None)

    def _fix(self, topic, stamp, m) -> Iterator[Fix]:
        geodetic, sigma_m = decoding.decode_fix(m)
        yield Fix(topic, *self._head(topic, m, stamp), geodetic, sigma_m)

    def _transforms(self, topic, stamp, message) -> Iterator[Transform]:
        for t in message.transforms:
            p, q = t.transform.translation, t.transform.rotation
            try:
                pose = from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
            except InputError as error:
                reason = f"{t.header.frame_id} -> {t.child_frame_id}: {error}"
                self.left_out.add(topic, reason, (stamp, t.child_frame_id))
                continue
            yield Transform(topic, *self._head(topic, t, stamp), t.child_frame_id.lstrip("/"), pose)

    def _head(self, topic: str, message, recorded: int) -> tuple[int, str]:
        return self._stamp(topic, message.header, recorded), message.header.frame_id.lstrip("/")


_DECODERS = {
    "sensor_msgs/PointCloud2": BagReader._scan,
    "sensor_msgs/Image": BagReader._image,
    "sensor_msgs/CompressedImage": BagReader._compressed,
    "sensor_msgs/CameraInfo": BagReader._camera_info,
    "nav_msgs/Odometry": BagReader._odometry,
    "geometry_msgs/PoseWithCovarianceStamped": BagReader._odometry,
    "geometry_msgs/PoseStamped": BagReader._pose_stamped,
    "sensor_msgs/NavSatFix": BagReader._fix,
    "tf2_msgs/TFMessage": BagReader._transforms,
    "tf/tfMessage": BagReader._transforms,
}


def in_full(path) -> Path:
    """The whole path of a bag, so that one given as "." has a name; links keep theirs."""
    return Path(os.path.abspath(path))


def _check_calibrated(info: CameraInfo) -> None:
    fx = info.calibration.matrix[0, 0]
    if not fx > 0:
        raise BagError(f"not calibrated: fx is {fx:g}, expected more than 0")


def _kind(msgtype: str) -> str:
    return msgtype.replace("/msg/", "/")


def _pose(pose) -> np.ndarray:
    p, q = pose.position, pose.orientation
    return from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def _short(error: Exception) -> str:
    """One line of an error from a library."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
