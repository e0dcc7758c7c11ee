# SPDX-License-Identifier: Apache-2.0
"""The LHMap: compact LiDAR heat maps, in memory and on disk. No ROS, no networks."""

from .points import MapPoints

__all__ = ["MapPoints"]
