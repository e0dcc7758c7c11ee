#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tells a lost robot where to look: at poses of one's own, such as charging docks, beacons or a GNSS fix.

    examples/own_relocalizer.py campus.lhmap street/query docks.csv X Y Z YAW_DEG

docks.csv holds lines of x,y,z,yaw_deg. X Y Z YAW_DEG is the start, and may be all wrong.
"""

import sys

import numpy as np

from lhmap_loc_ros import Localizer, PoseHypothesis
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.localization.image_sets import BagCameras
from lhmap_loc_ros.localization.inputs import BagInputs
from lhmap_loc_ros.localization.start import given


class Docks:
    """Proposes places; the localizer compares the image with the map there and believes none that does not fit."""

    def __init__(self, poses):
        self.poses = poses

    def candidates(self, image, camera):
        """Poses of base_link in the map, the likeliest first.

        Wrong places fit by chance, so one is believed only where several starts lead: two beside each dock.
        """
        for x, y, z, yaw in self.poses:
            for ahead in (-1.0, 1.0):
                beside = (x + ahead * np.cos(np.radians(yaw)), y + ahead * np.sin(np.radians(yaw)), z, yaw)
                start = given(beside)
                yield PoseHypothesis(start.T_map_base, start.covariance)


def main(map_path, bag, docks, *start):
    relocalizer = Docks(np.loadtxt(docks, delimiter=",", ndmin=2))
    with BagReader(bag) as reader, Localizer(map_path, relocalizer=relocalizer) as localizer:
        localizer.start(given([float(value) for value in start]).T_map_base)
        state = None
        for seen in BagCameras(reader, BagInputs()):
            estimate = localizer.localize(seen.image, seen.camera, seen.stamp_ns)
            if estimate.state is not state:
                state = estimate.state
                print(f"{seen.stamp_ns} {state.value} at {estimate.T_map_base[:3, 3].round(2).tolist()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
