# SPDX-License-Identifier: Apache-2.0
"""Start poses as RViz and others send them: height, frame and doubt from the map where the message says nothing."""

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, write_map
from lhmap_loc_ros.nodes import conversions as convert
from lhmap_loc_ros.nodes.initial_pose import height_at, read_initial_pose
from lhmap_loc_ros.nodes.known_starts import KnownStarts
from lhmap_loc_ros.nodes.local_frame import LocalFrame
from lhmap_loc_ros.nodes.localizer_config import LocalizerConfig

PLANE = np.zeros((6, 6))
PLANE[[0, 1, 5], [0, 1, 5]] = 0.25, 0.25, 0.06


@pytest.fixture
def hill(tmp_path):
    """Makes maps of a slope, 300 m above the sea at x = 0 and 310 m at x = 200, with walls."""
    opened = []

    def make(path=(), corner=(0.0, 0.0, 0.0)):
        random, n = np.random.default_rng(0), 20_000
        x, wall = random.uniform(0, 200, n), random.random(n) < 0.7
        z = 300 + x / 20 + np.where(wall, random.uniform(0, 8, n), random.normal(0, 0.02, n))
        points = np.column_stack([x, random.uniform(-10, 10, n), z - 300]).astype(np.float32)
        ones, origin = np.ones(n, np.float32), np.add(corner, [0, 0, 300.0])
        name = tmp_path / f"{len(opened)}.lhmap"
        write_map(name, MapPoints(points, ones, ones, origin), MapMetadata(path=path, origin=tuple(origin)))
        opened.append(LHMap.open(name))
        return opened[-1]

    yield make
    for lhmap in opened:
        lhmap.close()


def read(lhmap, covariance=PLANE, frame="map", place=(10.0, 0.0, 0.0)):
    message = PoseWithCovarianceStamped(header=convert.header(5_000_000_000, frame))
    position = message.pose.pose.position
    position.x, position.y, position.z = map(float, place)
    message.pose.covariance = np.ravel(covariance)
    return read_initial_pose(message, lhmap, LocalFrame.of("map", lhmap.metadata), 2.0, 5.0)


def test_a_pose_drawn_in_the_plane_gets_height_and_doubt_from_the_map(hill):
    start = read(hill([(0.0, 0.0, 301.5, 0.0), (11.0, 0.0, 302.0, 0.0)]))
    assert start.T_map_base[2, 3] == 302.0
    tilt = np.radians(5.0) ** 2
    np.testing.assert_allclose(np.diag(start.covariance), [0.25, 0.25, 4.0, tilt, tilt, 0.06])


def test_a_full_initial_pose_is_taken_as_it_is(hill):
    start = read(hill([(10.0, 0.0, 0.0, 0.0)]), 0.1 * np.eye(6), place=(10, 0, 7))
    assert start.T_map_base[2, 3] == 7.0
    np.testing.assert_allclose(start.covariance, 0.1 * np.eye(6))


def test_on_a_map_without_a_path_a_pose_of_the_plane_stands_on_the_ground_there(hill):
    lhmap = hill()
    assert read(lhmap).T_map_base[2, 3] == pytest.approx(300.5, abs=0.3)
    assert read(lhmap, place=(180, 2, 0)).T_map_base[2, 3] == pytest.approx(309, abs=0.3)
    # where there is no map nobody knows
    assert read(lhmap, place=(900, 0, 0)).T_map_base[2, 3] == 0.0


def test_away_from_the_path_it_is_as_high_above_the_ground_as_on_it(hill):
    lhmap = hill([(20.0, 0.0, 302.6, 0.0)])  # 1.6 m above the ground
    assert height_at(lhmap, (30, 0), 0.0) == pytest.approx(302.6)
    assert height_at(lhmap, (160, 0), 0.0) == pytest.approx(309.6, abs=0.4)


def test_a_start_pose_in_the_parameters_without_a_height_stands_on_the_ground(hill):
    lhmap = hill()
    config = LocalizerConfig(map_path="m", set_initial_pose=True, initial_pose={"x": 100.0, "y": 1.0})
    assert KnownStarts(config, lhmap, print).take().T_map_base[2, 3] == pytest.approx(305, abs=0.3)


def test_an_initial_pose_in_another_frame_is_named(hill):
    with pytest.raises(InputError, match="'odom', expected 'map'"):
        read(hill(), frame="odom")


def test_in_the_local_frame_of_a_map_in_utm_it_is_moved_to_the_map(hill):
    lhmap = hill(corner=(412_300.0, 5_312_700.0, 0.0))
    local = LocalFrame.of("map", lhmap.metadata)
    assert (local.drawn, local.origin.tolist()) == ("map_local", [412_400.0, 5_312_700.0, 299.0])
    start = read(lhmap, frame="map_local", place=(-50, 3, 0))
    np.testing.assert_allclose(start.T_map_base[:2, 3], [412_350.0, 5_312_703.0])
    assert start.T_map_base[2, 3] == pytest.approx(302.5, abs=0.3)
    near = LocalFrame.of("map", hill().metadata)
    assert (near.drawn, near.origin.tolist()) == ("map", [0.0, 0.0, 0.0])
