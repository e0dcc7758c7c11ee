# SPDX-License-Identifier: Apache-2.0
"""A map in UTM: what is drawn in single precision is so about a local origin."""

import numpy as np
import pytest
from helpers.one_session import SureRefiner, one_session
from helpers.robot import write_street
from helpers.ros_side import RosSide, wait_until
from nav_msgs.msg import Path
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2
from tf2_ros import Buffer, TransformListener

from lhmap_loc_ros.geometry import make_pose
from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, write_map
from lhmap_loc_ros.nodes import conversions as convert

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
UTM = np.array([412_350.0, 5_312_720.0, 430.0])


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """The same street at the origin and in UTM."""
    folder = tmp_path_factory.mktemp("streets")
    near = write_street(folder / "near.lhmap")
    with LHMap.open(near) as lhmap:
        points = lhmap.all_points()
    moved = MapPoints(points.points, points.intensity, points.heat, points.origin + UTM)
    write_map(folder / "utm.lhmap", moved, MapMetadata(origin=tuple(UTM - [50, 50, 0])))
    return near, folder / "utm.lhmap"


@pytest.mark.parametrize("number", (0, 1), ids=("near", "utm"))
def test_clouds_and_path_are_to_the_millimetre_about_a_local_origin(ros, streets, number):
    place = make_pose(np.eye(3), [20.0, 0, 0] + number * UTM)
    with RosSide() as other:
        clouds, paths = other.collect(PointCloud2, "map_cloud", LATCHED), other.collect(Path, "path")
        buffer = Buffer()
        buffer.listener = TransformListener(buffer, other.node)  # the real one listens for as long as it lives
        with one_session(ros.node, streets[number], SureRefiner(place)) as fed:
            fed.initialpose(place)
            assert wait_until(lambda: ros.node.count_subscribers("path"))
            wait_until(lambda: False, 0.3)
            fed.image()
            assert wait_until(lambda: clouds and paths and buffer.can_transform("map", "map_local", Time()))
            local = convert.transform_to_matrix(buffer.lookup_transform("map", "map_local", Time()).transform)[:3, 3]
            with LHMap.open(streets[number]) as lhmap:
                points = lhmap.hottest(100_000)
    assert clouds[0].header.frame_id == paths[0].header.frame_id == ("map", "map_local")[number]
    assert (np.abs(local).max() > 1e5) == bool(number) and not (local % 1).any()
    rows = point_cloud2.read_points_numpy(clouds[0], ["x", "y", "z"])
    np.testing.assert_allclose(rows + local, points.points + points.origin, atol=1e-3)
    there = convert.pose_to_matrix(paths[0].poses[0].pose)
    np.testing.assert_allclose(there[:3, 3] + local, place[:3, 3], atol=0.2)
    assert np.abs(there[:3, 3]).max() < 1000
