# SPDX-License-Identifier: Apache-2.0
"""GPS fixes and people say roughly where the robot is; the place is looked for only there."""

import numpy as np
import pytest

from lhmap_loc_ros.geometry import make_pose
from lhmap_loc_ros.localization.search_area import FIX_AGE_S, MIN_RADIUS_M, SIGMAS, UNKNOWN_SIGMA_M, SearchArea

SECOND = 1_000_000_000
HERE = np.array([100.0, -50.0, 2.0])


def odometry(x):
    return make_pose(np.eye(3), [x, 0.0, 0.0])


def test_without_anything_told_the_whole_map_is_looked_at():
    assert SearchArea().at(SECOND, None) is None


def test_a_fix_counts_for_some_seconds_and_its_region_grows_as_the_robot_moves():
    area = SearchArea()
    area.add_fix(SECOND, HERE, 10.0, odometry(0.0))
    region = area.at(2 * SECOND, odometry(7.0))
    assert region.center == (100.0, -50.0) and region.radius_m == pytest.approx(4 * 10.0 + 7.0)
    assert area.at(round((1.5 + FIX_AGE_S) * SECOND), odometry(7.0)) is None


def test_a_receiver_that_is_too_sure_of_itself_is_not_believed():
    area = SearchArea()
    area.add_fix(SECOND, HERE, 0.01, None)
    assert area.at(SECOND, None).radius_m == MIN_RADIUS_M


@pytest.mark.parametrize("sigma_m", [None, float("nan"), float("inf")])
def test_a_fix_that_does_not_say_how_good_it_is_is_as_good_as_most(sigma_m):
    area = SearchArea()
    area.add_fix(SECOND, HERE, sigma_m, None)
    assert area.at(SECOND, None).radius_m == SIGMAS * UNKNOWN_SIGMA_M


def test_what_a_person_says_counts_before_fixes_until_the_place_is_known():
    area = SearchArea()
    area.set_around(SECOND, HERE + 500.0, 20.0, odometry(0.0))
    area.add_fix(60 * SECOND, HERE, 5.0, odometry(100.0))
    assert area.at(60 * SECOND, odometry(100.0)).center == (600.0, 450.0)
    area.clear()
    assert area.at(60 * SECOND, odometry(100.0)).center == (100.0, -50.0)
