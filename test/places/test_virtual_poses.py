# SPDX-License-Identifier: Apache-2.0
"""Where beside the path a robot can be, by the points of the map."""

import numpy as np
import pytest

from lhmap_loc_ros.places.virtual_poses import beside

PLACE = np.array([0.0, 0.0, 0.3, np.pi / 2])
"""Looks along y, so that x = -3 is on its left."""


def street(*others):
    """Level ground from x = -5 to 5, and other points (N, 3)."""
    x, y = np.meshgrid(np.arange(-5, 5.1, 0.5), np.arange(-6, 6.1, 0.5))
    return np.concatenate([np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]), *others])


def test_on_open_ground_there_is_a_lane_on_either_side():
    found = beside(street(), PLACE, (3.0, -3.0))
    np.testing.assert_allclose(found, [(-3, 0, 0.3), (3, 0, 0.3)], atol=1e-9)


@pytest.mark.parametrize("height, free", ((0.1, True), (1.0, False), (4.0, True)))
def test_a_wall_blocks_a_lane_and_a_kerb_or_branches_above_do_not(height, free):
    wall = np.column_stack([np.full(9, -3.2), np.linspace(-2, 2, 9), np.full(9, height)])
    assert len(beside(street(wall), PLACE, (3.0,))) == free


def test_where_no_ground_is_seen_there_is_no_lane():
    """As behind the front of a house, and beside a bridge."""
    ground = street()
    ground = ground[ground[:, 0] < 1.0]
    below = np.column_stack([np.full(9, 3.0), np.linspace(-2, 2, 9), np.full(9, -5.0)])
    found = beside(np.concatenate([ground, below]), PLACE, (3.0, -3.0))
    np.testing.assert_allclose(found, [(-3, 0, 0.3)], atol=1e-9)


def test_a_map_without_points_has_no_lanes():
    assert beside(np.zeros((0, 3)), PLACE, (3.0, -3.0)).shape == (0, 3)
