# SPDX-License-Identifier: Apache-2.0
"""Stand-in of tf_transformations for machines without a ROS installation: what the nodes use of it, upstream names."""

import numpy
from scipy.spatial.transform import Rotation

__all__ = ["quaternion_from_matrix", "quaternion_matrix"]


def quaternion_matrix(quaternion) -> numpy.ndarray:
    """The 4x4 homogeneous rotation matrix of a quaternion (x, y, z, w) of any length but zero."""
    matrix = numpy.eye(4)
    matrix[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    return matrix


def quaternion_from_matrix(matrix) -> tuple:
    """The unit quaternion (x, y, z, w), w >= 0, of the rotation in a 4x4 homogeneous matrix."""
    quaternion = Rotation.from_matrix(numpy.asarray(matrix)[:3, :3]).as_quat()
    return tuple(quaternion if quaternion[3] >= 0 else -quaternion)
