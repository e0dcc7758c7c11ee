# SPDX-License-Identifier: Apache-2.0
"""What the simulator knows of robots, for whoever simulates others like them."""

import pytest

from lhmap_loc_ros.datasets.synthetic.robots import ROBOTS, heights_off_road


@pytest.mark.parametrize("sensor", ["camera", "lidar"])
def test_heights_off_the_road_are_those_of_all_robots_there_and_of_no_car(sensor):
    low, high = heights_off_road(sensor)
    mounts = {name: getattr(robot, sensor) for name, robot in ROBOTS.items()}
    walking = [mounts[name] for name, robot in ROBOTS.items() if not robot.on_road]
    assert low == min(mount[0][2] for mount in walking) and high == max(mount[1][2] for mount in walking)
    assert 0 < low < high < mounts["car"][0][2]
