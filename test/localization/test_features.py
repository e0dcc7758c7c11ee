# SPDX-License-Identifier: Apache-2.0
"""What the networks are shown of the map."""

import numpy as np
import pytest

from lhmap_loc_ros.localization.features import MAX_WIDTH_M, MIN_WIDTH_M, point_widths


def test_points_are_drawn_as_wide_as_their_neighbours_are_apart():
    """A wall of a point every 0.1 m, of one every 0.25 m, and points of their own."""

    def wall(step):
        return np.stack(np.meshgrid(np.arange(0.01, 6, step), [0.0], np.arange(0.01, 6, step)), -1).reshape(-1, 3)

    dense, thin = point_widths(wall(0.1).astype(np.float32)), point_widths(wall(0.25).astype(np.float32))
    assert np.median(dense) == pytest.approx(MIN_WIDTH_M, rel=0.05) and np.median(thin) == pytest.approx(0.5, rel=0.05)
    lone = np.arange(30, dtype=np.float32).reshape(-1, 3) * 10
    assert (point_widths(lone) == np.float32(MAX_WIDTH_M)).all() and len(point_widths(lone[:0])) == 0
