# SPDX-License-Identifier: Apache-2.0
"""Writes rosbag2 bags (MCAP, zstd): arrays in, ROS 2 messages out, no ROS needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from ..errors import BagError
from ..geometry import to_quaternion

_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2"), ("time", "<f4")])
_FIELD_TYPES = {"f4": 7, "u2": 4, "u1": 2}
_FOREVER = QosTime(2147483647, 4294967295)
_LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)
_VOLATILE = Qos(
    QosHistory.KEEP_LAST,
    100,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)


class BagWriter:
    """A context manager that writes one bag; poses are 4x4 ``T_parent_child``, stamps nanoseconds.

    Equal calls give equal bytes: nothing depends on the clock of the machine.
    Messages are recorded at the time of their stamp; write them in that order.
    """

    def __init__(self, path) -> None:
        """``path``: the folder to create; raises BagError if it is there already."""
        self._path = Path(path)
        if self._path.exists():
            raise BagError(f"{self._path}: exists already, expected a path for a new bag")
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._types = self._store.types
        self._writer = Writer(self._path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._connections: dict[str, object] = {}

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(self, *error) -> None:
        self._writer.__exit__(*error)

    def points(
        self,
        topic: str,
        stamp_ns: int,
        frame: str,
        xyz: np.ndarray,
        intensity: np.ndarray | None = None,
        ring: np.ndarray | None = None,
        time: np.ndarray | None = None,
        intensity_field: str = "intensity",
    ) -> None:
        """A cloud: ``xyz`` (n, 3) metres, ``intensity`` (n,), ``ring`` (n,), ``time`` (n,) seconds after the stamp.

        Fields that are None are left out of the message. ``intensity`` is written as ``intensity_field``, as uint8 or
        uint16 if it is one, else as float32.
        """
        columns = {intensity_field: intensity, "ring": ring, "time": time}
        names = ["x", "y", "z"] + [name for name, values in columns.items() if values is not None]
        types = {name: _POINT[name] for name in ("x", "y", "z", "ring", "time")}
        whole = intensity is not None and intensity.dtype in (np.uint8, np.uint16)
        types[intensity_field] = np.dtype(intensity.dtype).newbyteorder("<") if whole else _POINT["intensity"]
        dtype = np.dtype([(name, types[name]) for name in names])
        cloud = np.empty(len(xyz), dtype)
        cloud["x"], cloud["y"], cloud["z"] = np.asarray(xyz).T
        for name in names[3:]:
            cloud[name] = columns[name]
        field = self._types["sensor_msgs/msg/PointField"]
        fields = [field(name, dtype.fields[name][1], _FIELD_TYPES[dtype[name].str[1:]], 1) for name in names]
        message = self._types["sensor_msgs/msg/PointCloud2"](
            self._header(stamp_ns, frame),
            1,
            len(cloud),
            fields,
            False,
            dtype.itemsize,
            dtype.itemsize * len(cloud),
            cloud.view(np.uint8).reshape(-1),
            True,
        )
        self._write(topic, stamp_ns, message)

    def image(self, topic: str, stamp_ns: int, frame: str, image: np.ndarray) -> None:
        """An image: (h, w, 3) uint8 RGB is written as rgb8, (h, w) uint8 as mono8."""
        image = np.ascontiguousarray(image, np.uint8)
        height, width = image.shape[:2]
        message = self._types["sensor_msgs/msg/Image"](
            self._header(stamp_ns, frame),
            height,
            width,
            "mono8" if image.ndim == 2 else "rgb8",
            0,
            image.size // height,
            image.reshape(-1),
        )
        self._write(topic, stamp_ns, message)

    def camera_info(
        self,
        topic: str,
        stamp_ns: int,
        frame: str,
        width: int,
        height: int,
        matrix: np.ndarray,
        distortion=(0.0, 0.0, 0.0, 0.0, 0.0),
        model: str = "plumb_bob",
    ) -> None:
        """A calibration: ``matrix`` K (3, 3) in pixels; the projection matrix repeats it, without a baseline."""
        matrix = np.asarray(matrix, float)
        projection = np.hstack([matrix, np.zeros((3, 1))])
        region = self._types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        message = self._types["sensor_msgs/msg/CameraInfo"](
            self._header(stamp_ns, frame),
            height,
            width,
            model,
            np.asarray(distortion, float),
            matrix.reshape(-1),
            np.eye(3).reshape(-1),
            projection.reshape(-1),
            0,
            0,
            region,
        )
        self._write(topic, stamp_ns, message)

    def odometry(
        self,
        topic: str,
        stamp_ns: int,
        frame: str,
        child: str,
        T_frame_child: np.ndarray,
        linear=(0.0, 0.0, 0.0),
        angular=(0.0, 0.0, 0.0),
        pose_covariance: np.ndarray | None = None,
    ) -> None:
        """Odometry: pose of ``child`` in ``frame``, twist in the child frame (m/s, rad/s), covariance (6, 6)."""
        t = self._types
        vector = t["geometry_msgs/msg/Vector3"]
        translation, rotation = self._parts(T_frame_child)
        pose = t["geometry_msgs/msg/Pose"](t["geometry_msgs/msg/Point"](*translation), rotation)
        covariance = np.zeros(36) if pose_covariance is None else np.asarray(pose_covariance, float).reshape(-1)
        twist = t["geometry_msgs/msg/Twist"](vector(*map(float, linear)), vector(*map(float, angular)))
        message = t["nav_msgs/msg/Odometry"](
            self._header(stamp_ns, frame),
            child,
            t["geometry_msgs/msg/PoseWithCovariance"](pose, covariance),
            t["geometry_msgs/msg/TwistWithCovariance"](twist, np.zeros(36)),
        )
        self._write(topic, stamp_ns, message)

    def fix(self, topic: str, stamp_ns: int, frame: str, geodetic: np.ndarray, sigma_m: float | None = None) -> None:
        """A position on the earth: ``geodetic`` (3,) latitude, longitude in degrees, altitude in metres (WGS 84).

        ``sigma_m`` is its standard deviation on each axis; None: not known.
        """
        t = self._types
        covariance = np.zeros(9) if sigma_m is None else (sigma_m**2 * np.eye(3)).reshape(-1)
        message = t["sensor_msgs/msg/NavSatFix"](
            self._header(stamp_ns, frame),
            t["sensor_msgs/msg/NavSatStatus"](0, 1),
            *map(float, geodetic),
            covariance,
            0 if sigma_m is None else 2,
        )
        self._write(topic, stamp_ns, message)

    def tf(self, stamp_ns: int, transforms: Mapping[tuple[str, str], np.ndarray], topic: str = "/tf") -> None:
        """Transforms of one moment: {(parent, child): T_parent_child (4, 4)}."""
        t = self._types
        out = []
        for (parent, child), pose in transforms.items():
            translation, rotation = self._parts(pose)
            transform = t["geometry_msgs/msg/Transform"](t["geometry_msgs/msg/Vector3"](*translation), rotation)
            out.append(t["geometry_msgs/msg/TransformStamped"](self._header(stamp_ns, parent), child, transform))
        self._write(topic, stamp_ns, t["tf2_msgs/msg/TFMessage"](out))

    def tf_static(self, stamp_ns: int, transforms: Mapping[tuple[str, str], np.ndarray]) -> None:
        """Transforms that never change, latched; write all of a bag in one call."""
        self.tf(stamp_ns, transforms, "/tf_static")

    def _parts(self, pose):
        """Translation and rotation message of a 4x4 pose."""
        translation, quaternion = to_quaternion(np.asarray(pose, float))
        rotation = self._types["geometry_msgs/msg/Quaternion"](*map(float, quaternion))
        return [float(v) for v in translation], rotation

    def _header(self, stamp_ns: int, frame: str):
        time = self._types["builtin_interfaces/msg/Time"](int(stamp_ns) // 10**9, int(stamp_ns) % 10**9)
        return self._types["std_msgs/msg/Header"](time, frame)

    def _write(self, topic: str, stamp_ns: int, message) -> None:
        if topic not in self._connections:
            qos = _LATCHED if topic == "/tf_static" else _VOLATILE
            self._connections[topic] = self._writer.add_connection(
                topic, message.__msgtype__, typestore=self._store, offered_qos_profiles=[qos]
            )
        data = self._store.serialize_cdr(message, message.__msgtype__)
        self._writer.write(self._connections[topic], int(stamp_ns), data)
