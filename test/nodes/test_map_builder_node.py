# SPDX-License-Identifier: Apache-2.0
"""map_builder_node as a process of its own."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from helpers.ros_side import Process, ros_parameters, wait_until
from helpers.tiny_bag import START
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2

from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.geometry import inverse, make_pose, transform
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.nodes.map_builder_node import MapBuilderConfig
from lhmap_loc_ros.nodes.parameters import fields_of

BUILDER = ("-m", "lhmap_loc_ros.nodes.map_builder_node")
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def mapping_bag(tmp_path_factory):
    """A drive of 6 m between two walls, seen by a LiDAR."""
    path = tmp_path_factory.mktemp("mapping") / "bag"
    random = np.random.default_rng(0)
    n = 8000
    wall = np.column_stack([random.uniform(-15, 25, n), random.choice([-5.0, 5.0], n), random.uniform(0, 3, n)])
    with BagWriter(path) as bag:
        bag.tf_static(START, {("base_link", "lidar"): make_pose(np.eye(3), [0, 0, 1.5])})
        for k in range(7):
            stamp = START + k * 200_000_000
            pose = make_pose(np.eye(3), [float(k), 0, 0])
            bag.odometry("/odom", stamp, "odom", "base_link", pose)
            bag.tf(stamp, {("map", "base_link"): pose})
            seen = transform(inverse(pose @ make_pose(np.eye(3), [0, 0, 1.5])), wall)
            bag.points("/points", stamp, "lidar", seen, np.full(n, 0.5, np.float32))
    return path


def test_it_builds_reports_and_offers_the_map(mapping_bag, tmp_path, ros):
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    parameters = {"bag_path": mapping_bag, "map_path": tmp_path / "walls.lhmap", "build__heat": "none"}
    with Process(*BUILDER, *ros_parameters(**parameters)) as node:
        assert wait_until(lambda: any(m.status[0].message == "done" for m in diagnostics), 200)
        # latched: it arrives though the subscription comes after it was published
        clouds = ros.collect(PointCloud2, "map_cloud", LATCHED)
        assert wait_until(lambda: clouds, 30)
        assert node.end(seconds=30)[0] == 0
    with LHMap.open(tmp_path / "walls.lhmap") as lhmap:
        points = lhmap.all_points()
    rows = point_cloud2.read_points_numpy(clouds[0], ["x", "y", "z"])
    assert len(rows) == len(points) > 1000
    assert np.median(np.abs(np.abs(rows[:, 1]) - 5.0)) < 0.1
    assert clouds[0].header.frame_id == "map"


def test_a_bag_without_scans_is_one_clear_line_and_leaves_no_map(world, tmp_path):
    parameters = {"bag_path": world / "bag", "map_path": tmp_path / "map.lhmap", "build__heat": "none"}
    with Process(*BUILDER, *ros_parameters(**parameters)) as node:
        code, _, err = node.end(None, 60)
    assert code == 2
    assert "/points" in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_every_parameter_describes_itself():
    for name, field in fields_of(MapBuilderConfig):
        assert len(field.description or "") > 10 and field.description.endswith("."), name
