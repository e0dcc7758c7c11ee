# SPDX-License-Identifier: Apache-2.0
"""What takes seconds at the first image is done before it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from ..evaluation.overlay import draw_overlay
from ..geometry import Camera, make_pose
from ..lhmap import LHMap
from ..localization.refine import Refiner
from ..memory import give_back_compiler

_LOOKING_AHEAD = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [0.0, 0.0, 1.6])
"""A camera 1.6 m above base_link: optical axes (right, down, ahead) in those of the robot."""


def warm_up(refiner: Refiner, lhmap: LHMap, radius_m: float) -> None:
    """Does once all that is done for an image: the first time compiles and allocates for seconds."""
    x, y, z, yaw = lhmap.metadata.path[0] if len(lhmap.metadata.path) else (*lhmap.metadata.origin, 0.0)
    camera = Camera(640, 192, 400.0, 400.0, 320.0, 96.0)
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    pose = make_pose(Rotation.from_euler("z", yaw), (x, y, z)) @ _LOOKING_AHEAD
    crop = lhmap.crop((x, y, z), radius_m, damaged=[])
    refiner.refine(image, camera, crop, pose)
    draw_overlay(image, camera, crop, pose)
    give_back_compiler()
