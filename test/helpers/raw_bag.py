# SPDX-License-Identifier: Apache-2.0
"""Bags of single messages as drivers write them, right or wrong, for tests."""

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from helpers.tiny_bag import SECOND, START
from lhmap_loc_ros.geometry import to_quaternion

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
NAN = float("nan")


class Bag:
    """Writes messages at times of recording of their own."""

    def __init__(self, path):
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._connections, self._now = {}, START

    def __enter__(self):
        self._writer.open()
        return self

    def __exit__(self, *error):
        self._writer.__exit__(*error)

    def write(self, topic, message, spoil=None):
        """`spoil` makes other bytes of those of the message."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, message.__msgtype__, typestore=STORE)
        data = bytes(STORE.serialize_cdr(message, message.__msgtype__))
        self._now += 1000
        self._writer.write(self._connections[topic], self._now, spoil(data) if spoil else data)


def make(name, *fields):
    return TYPES[name.replace("/", "/msg/")](*fields)


def header(stamp, frame):
    return make("std_msgs/Header", make("builtin_interfaces/Time", stamp // SECOND, stamp % SECOND), frame)


def parts(pose, scale=1.0):
    position, quaternion = to_quaternion(pose)
    return position.tolist(), (scale * quaternion).tolist()


def mount(parent, child, pose, scale=1.0, shift=0.0):
    (x, y, z), quaternion = parts(pose, scale)
    moved = make("geometry_msgs/Vector3", x + shift, y, z), make("geometry_msgs/Quaternion", *quaternion)
    return make("geometry_msgs/TransformStamped", header(START, parent), child, make("geometry_msgs/Transform", *moved))
