# SPDX-License-Identifier: Apache-2.0
"""localizer_node with a refiner that reads from an image where it was taken: python THIS [ROS arguments]."""

import sys
import time

import numpy as np

from helpers.robot import place_in
from helpers.tiny_bag import T_BASE_CAMERA
from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.geometry import perturb, pose_error, se3_exp
from lhmap_loc_ros.localization import localizer, submap_cache
from lhmap_loc_ros.localization.refine import Refinement
from lhmap_loc_ros.nodes import localizer_node, localizer_output, localizer_session

SIGMA = np.array([0.03, 0.03, 0.05, 0.002, 0.002, 0.002])
REACH_M = 6.0


class ReadingRefiner:
    """Finds the place from near by; from afar, or where the image shows nothing, something else with few inliers."""

    networks = ()

    def __init__(self):
        self.random, self.config = np.random.default_rng(5), None

    def refine(self, image, camera, submap, T_map_camera, mode=None, keep_trace=False):
        if image[0, 0, 0] == 13:
            raise ModelError("the flow network returned values that are not finite")
        if image[0, 0, 0] == 17:
            time.sleep(2)
        place = place_in(image)
        if place is not None and pose_error(place @ T_BASE_CAMERA, T_map_camera)[0] < REACH_M:
            pose = place @ T_BASE_CAMERA @ se3_exp(SIGMA * self.random.standard_normal(6))
            return Refinement(pose, np.diag(SIGMA**2), 0.8, 400, (0, 0))
        astray = perturb(T_map_camera, self.random.uniform(-3, 3, 3), self.random.uniform(-3, 3, 3))
        return Refinement(astray, np.diag(SIGMA**2), 0.15, 200, (0.3, 1.0))


if "--short-sighted" in sys.argv:
    # 30 m around, so that a street has tiles that are not read at once
    sys.argv.remove("--short-sighted")
    for module in (submap_cache, localizer, localizer_session, localizer_output):
        module.SUBMAP_RADIUS_M = 30.0
    submap_cache.PREFETCH_M = 5.0
localizer_node.make_refiner = lambda config: ReadingRefiner()
localizer_node.main()
