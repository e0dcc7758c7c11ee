# SPDX-License-Identifier: Apache-2.0
"""localizer_node with a refiner that knows the truth, and a player of its bag, as processes."""

from rclpy.qos import DurabilityPolicy, QoSProfile

from helpers import FOLDER
from helpers.ros_side import Process, ros_parameters
from lhmap_loc_ros.nodes import conversions as convert

LOCALIZER = FOLDER / "localizer_with_truth.py"


TOPICS = [
    *("-r", "image:=/camera/image_raw"),
    *("-r", "camera_info:=/camera/camera_info"),
    *("-r", "odometry:=/odom"),
]


LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def localizer(world, **parameters):
    """The node with a refiner that knows the truth."""
    arguments = ros_parameters(map_path=world / "walls.lhmap", **parameters)
    return Process(LOCALIZER, world / "bag", *arguments, *TOPICS)


def player(world, *options):
    return Process("-m", "lhmap_loc_ros.nodes.player_node", world / "bag", "--wait", "60", *options)


def near_start():
    """Half a metre beside the truth."""
    place = {"x": 1000.3, "y": 2000.4, "z": 5.0, "yaw": 0.017}
    return {"set_initial_pose": "true", **{f"initial_pose.{name}": value for name, value in place.items()}}


def stamp_of(message):
    return convert.to_ns(message.header.stamp)
