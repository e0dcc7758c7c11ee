# SPDX-License-Identifier: Apache-2.0
"""A camera in front of a wall of points, far from the map's origin."""

import numpy as np

from lhmap_loc_ros.geometry import Camera, se3_exp
from lhmap_loc_ros.lhmap import MapPoints

CAMERA = Camera(640, 200, 371.0, 371.0, 318.0, 95.0)
IMAGE = np.zeros((200, 640, 3), np.uint8)
ORIGIN = np.array([4000.0, -2500.0, 30.0])
TRUTH = se3_exp([0, 0, 0, -np.pi / 2, 0, 0])
TRUTH[:3, 3] = ORIGIN + (1.0, 2.0, 1.6)


def wall(points: int) -> MapPoints:
    """The map around `TRUTH`."""
    rng = np.random.default_rng(0)
    sides = ((-15, 15), (8, 30), (0, 6))
    xyz = np.column_stack([rng.uniform(*side, points) for side in sides])
    return MapPoints(xyz, rng.random(points), np.ones(points), ORIGIN)
