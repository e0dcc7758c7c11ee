# SPDX-License-Identifier: Apache-2.0
"""The LHMap: compact LiDAR heat maps, in memory and on disk. No ROS, no networks."""

from .metadata import GeodeticDatum, HeatModel, MapMetadata
from .points import MapPoints
from .reader import LHMap, best_points
from .writer import SectionData, write_map

__all__ = ["GeodeticDatum", "HeatModel", "LHMap", "MapMetadata", "MapPoints", "SectionData", "best_points", "write_map"]
