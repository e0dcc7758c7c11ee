# SPDX-License-Identifier: Apache-2.0
"""Poses on SE(3), camera models and projection: NumPy and numba, nothing else of this package."""

from .camera import Calibration, Camera, Rectifier, is_rectified
from .pose import (
    check_pose,
    distance_along,
    every_so_far,
    from_quaternion,
    interpolate,
    inverse,
    make_pose,
    perturb,
    pose_error,
    se3_exp,
    se3_log,
    to_quaternion,
    transform,
)
from .projection import MAX_REACH, NO_POINT, YIELD_M, YIELD_SHARE, may_be_seen, project, z_buffer
from .rig import Images, PosedImage, Rig, front_index, front_view, joined, joined_images, posed_images

__all__ = [
    "MAX_REACH",
    "NO_POINT",
    "YIELD_M",
    "YIELD_SHARE",
    "Calibration",
    "Camera",
    "Images",
    "PosedImage",
    "Rectifier",
    "Rig",
    "check_pose",
    "distance_along",
    "every_so_far",
    "from_quaternion",
    "front_index",
    "front_view",
    "interpolate",
    "inverse",
    "is_rectified",
    "joined",
    "joined_images",
    "make_pose",
    "may_be_seen",
    "perturb",
    "pose_error",
    "posed_images",
    "project",
    "se3_exp",
    "se3_log",
    "to_quaternion",
    "transform",
    "z_buffer",
]
