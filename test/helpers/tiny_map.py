# SPDX-License-Identifier: Apache-2.0
"""A map of a few points."""

import numpy as np

from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, write_map


def tiny_map(path, heat=0.5):
    points = np.random.default_rng(0).uniform(-20, 20, (50, 3)).astype(np.float32)
    values = np.full(50, heat, np.float32)
    write_map(path, MapPoints(points, values, values, np.zeros(3)), MapMetadata())
    return LHMap.open(path)
