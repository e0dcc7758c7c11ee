# SPDX-License-Identifier: Apache-2.0
"""Reading bags, ROS 1 and rosbag2 (sqlite3, MCAP), without ROS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from ..errors import BagError, InputError
from ..geometry import from_quaternion
from . import decoding
from .messages import CameraInfo, Image, Odometry, Scan, Stamped, Transform
from .transforms import TransformTree


class BagReader:
    """An open bag; a context manager.

    Intensities are scaled to [0, 1]: the full scale is told from the first scan of each topic that has
    echoes, as the least of 1, 255 and 65535 that holds all but one in a thousand of its values, then kept;
    what lies above is clipped. `intensity_scale` sets it instead.
    """

    def __init__(self, path, intensity_scale: float | None = None):
        """Opens the bag: a rosbag2 folder, an .mcap file or a ROS 1 .bag file.

        Raises BagError if it is missing, truncated or no bag.
        """
        self.path = Path(path)
        self._scales: dict[str, float] = {}
        self._scale = intensity_scale
        if not self.path.exists():
            raise BagError(f"{path}: no such bag")
        _check_kind(self.path)
        try:
            self._reader = AnyReader([self.path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
            self._reader.open()
        except Exception as error:  # a damaged file makes the reader fail in many ways
            raise BagError(f"{path}: not a readable bag (truncated or damaged?): {_short(error)}") from error
        self.topics: dict[str, str] = {c.topic: c.msgtype for c in self._reader.connections}
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
        return sum(c.msgcount for c in self._reader.connections if c.topic == topic)

    def require(self, *topics: str) -> None:
        """Raises BagError, listing what there is, unless the bag has all these topics."""
        missing = [topic for topic in topics if topic not in self.topics]
        if missing:
            have = ", ".join(f"{name} ({kind})" for name, kind in sorted(self.topics.items())) or "none"
            raise BagError(f"{self.path}: no topic {', '.join(missing)}; the bag has: {have}")

    def messages(self, topics: list[str], start_ns: int | None = None, stop_ns: int | None = None) -> Iterator[Stamped]:
        """The messages of some topics in the order of recording, as the classes of `datasets.messages`.

        A tf message gives one `Transform` for each it holds. `start_ns` and `stop_ns` bound the time of
        recording. Raises BagError for a topic that is not there or of a type unknown here, and for messages
        that are damaged.
        """
        self.require(*topics)
        for topic in topics:
            if _kind(self.topics[topic]) not in _DECODERS:
                known = ", ".join(sorted(_DECODERS))
                raise BagError(f"{self.path}: {topic} is of type {self.topics[topic]}, expected one of {known}")
        for topic, stamp, message, kind in self._undecoded(topics, start_ns, stop_ns):
            try:
                yield from _DECODERS[kind](self, topic, stamp, message)
            except InputError as error:
                raise BagError(f"{self.path}: {error}") from error
            except Exception as error:
                raise self._damaged(error) from error

    def raw_messages(self, topic: str) -> Iterator[tuple[int, object]]:
        """Stamps [ns] and messages of a topic as they were sent, with a header; raises BagError as `messages`."""
        self.require(topic)
        for _, stamp, message, _ in self._undecoded([topic]):
            yield _stamp(message.header, stamp), message

    def _undecoded(self, topics: list[str], start_ns=None, stop_ns=None) -> Iterator[tuple]:
        """Topic, time of recording, message and its type."""
        connections = [c for c in self._reader.connections if c.topic in set(topics)]
        try:
            for connection, stamp, data in self._reader.messages(connections, start_ns, stop_ns):
                message = self._reader.deserialize(data, connection.msgtype)
                yield connection.topic, stamp, message, _kind(connection.msgtype)
        except Exception as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> BagError:
        """Damage shows in many ways."""
        return BagError(f"{self.path}: damaged: {_short(error)}")

    @property
    def span_ns(self) -> tuple[int, int]:
        """Time of recording of the first and the last message."""
        return self._reader.start_time, self._reader.end_time

    def scale_of(self, topic: str) -> float | None:
        """The full scale of the intensities of a topic of point clouds; None without echoes."""
        for _ in self.messages([topic]):
            if self._scale is not None or topic in self._scales:
                return self._scale_of(topic, None)
        return None

    def fingerprint(self) -> list[tuple[str, int, int]]:
        """Names, sizes and times of change of the bag's files."""
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        return [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]

    def static_transforms(self, topic: str = "/tf_static") -> TransformTree:
        """The fixed frames; raises BagError if the bag has no such topic."""
        tree = TransformTree(str(self.path))
        for transform in self.messages([topic]):
            tree.add(transform.frame, transform.child, transform.pose)
        return tree

    def camera_info(self, topic: str) -> CameraInfo:
        """The first calibration on a topic; raises BagError if there is none or it is empty."""
        info = next(iter(self.messages([topic])), None)
        if info is None:
            raise BagError(f"{self.path}: {topic} holds no message, expected a camera calibration")
        if not isinstance(info, CameraInfo):
            raise BagError(f"{self.path}: {topic} is of type {self.topics[topic]}, expected sensor_msgs/msg/CameraInfo")
        if not info.matrix[0, 0] > 0:
            raise BagError(f"{self.path}: {topic} is not calibrated: fx is {info.matrix[0, 0]:g}, expected more than 0")
        return info

    def _scan(self, topic, stamp, message) -> Iterator[Scan]:
        stamp = _stamp(message.header, stamp)
        fields = decoding.decode_cloud(message)
        points = np.column_stack([fields[name] for name in "xyz"]).astype(np.float32)
        keep = np.isfinite(points).all(axis=1)
        offsets = decoding.time_offsets_ns(fields, stamp, keep)
        intensity = decoding.intensity_field(fields)
        intensity = np.zeros(len(points), np.float32) if intensity is None else intensity
        scale = self._scale_of(topic, intensity)
        yield Scan(
            topic,
            stamp,
            message.header.frame_id.lstrip("/"),
            points[keep],
            np.clip(intensity[keep] / scale, 0, 1),
            offsets,
        )

    def _scale_of(self, topic: str, intensity: np.ndarray) -> float:
        if self._scale is not None:
            return self._scale
        if topic not in self._scales:
            scale = decoding.intensity_scale(intensity)
            if scale is None:
                return 1.0
            self._scales[topic] = scale
        return self._scales[topic]

    def _image(self, topic, stamp, message) -> Iterator[Image]:
        yield Image(topic, *_head(message, stamp), decoding.decode_image(message))

    def _compressed(self, topic, stamp, message) -> Iterator[Image]:
        yield Image(topic, *_head(message, stamp), decoding.decode_compressed_image(message))

    def _camera_info(self, topic, stamp, m) -> Iterator[CameraInfo]:
        # ROS 1 writes the names in capitals
        matrix, distortion = (m.k, m.d) if hasattr(m, "k") else (m.K, m.D)
        matrix = np.array(matrix, dtype=float).reshape(3, 3)
        yield CameraInfo(topic, *_head(m, stamp), m.width, m.height, matrix, np.array(distortion), m.distortion_model)

    def _odometry(self, topic, stamp, m) -> Iterator[Odometry]:
        covariance = np.array(m.pose.covariance, dtype=float).reshape(6, 6)
        yield Odometry(
            topic, *_head(m, stamp), getattr(m, "child_frame_id", "").lstrip("/"), _pose(m.pose.pose), covariance
        )

    def _pose_stamped(self, topic, stamp, m) -> Iterator[Odometry]:
        yield Odometry(topic, *_head(m, stamp), "", _pose(m.pose), None)

    def _transforms(self, topic, stamp, message) -> Iterator[Transform]:
        for t in message.transforms:
            p, q = t.transform.translation, t.transform.rotation
            try:
                pose = from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
            except InputError as error:
                raise BagError(f"{topic}: {t.header.frame_id} -> {t.child_frame_id}: {error}") from None
            yield Transform(topic, *_head(t, stamp), t.child_frame_id.lstrip("/"), pose)


_DECODERS = {
    "sensor_msgs/PointCloud2": BagReader._scan,
    "sensor_msgs/Image": BagReader._image,
    "sensor_msgs/CompressedImage": BagReader._compressed,
    "sensor_msgs/CameraInfo": BagReader._camera_info,
    "nav_msgs/Odometry": BagReader._odometry,
    "geometry_msgs/PoseWithCovarianceStamped": BagReader._odometry,
    "geometry_msgs/PoseStamped": BagReader._pose_stamped,
    "tf2_msgs/TFMessage": BagReader._transforms,
    "tf/tfMessage": BagReader._transforms,
}


def _check_kind(path: Path) -> None:
    """Raises BagError for what is easily taken for a bag."""
    if path.suffix == ".lhmap":
        raise BagError(f"{path}: an LHMap found, expected a bag")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        inside = sorted(found.parent.name for found in path.glob("*/metadata.yaml"))
        bags = f"; bags in it: {', '.join(inside)}" if inside else ""
        raise BagError(f"{path}: a folder without metadata.yaml found, expected a rosbag2{bags}")


def in_full(path) -> Path:
    """The whole path of a bag, so that one given as "." has a name; links keep theirs."""
    return Path(os.path.abspath(path))


def _kind(msgtype: str) -> str:
    return msgtype.replace("/msg/", "/")


def _stamp(header, recorded: int) -> int:
    stamp = header.stamp.sec * 10**9 + header.stamp.nanosec
    return stamp or recorded


def _head(message, recorded: int) -> tuple[int, str]:
    return _stamp(message.header, recorded), message.header.frame_id.lstrip("/")


def _pose(pose) -> np.ndarray:
    p, q = pose.position, pose.orientation
    return from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def _short(error: Exception) -> str:
    """One line of an error from a library."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
