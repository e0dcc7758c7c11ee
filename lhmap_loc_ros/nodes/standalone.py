# SPDX-License-Identifier: Apache-2.0
"""The localizer's publishers without its node, to be timed."""

from __future__ import annotations

import rclpy
from rclpy.node import Node

from ..lhmap import LHMap
from .localizer_config import LocalizerConfig
from .localizer_output import LocalizerOutput


def standalone_output(lhmap: LHMap) -> LocalizerOutput:
    """Publishers of a node that is never spun; they publish /tf too: use a ROS domain of its own."""
    if not rclpy.ok():
        rclpy.init(args=[])
    return LocalizerOutput(Node("lhmap_bench"), LocalizerConfig(map_path=str(lhmap.path)), lhmap)
