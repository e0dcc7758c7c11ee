# SPDX-License-Identifier: Apache-2.0
"""localizer_node whose networks match an image but once or twice: python THIS [ROS arguments]."""

from lhmap_loc_ros.localization.network_set import NetworkSet
from lhmap_loc_ros.localization.refine import RefineMode, RefinePlan, Refiner
from lhmap_loc_ros.nodes import localizer_node

ONCE = RefinePlan().adapted([RefineMode.WIDE, RefineMode.MULTI_START], coarse=1, fine=1)

localizer_node.make_refiner = lambda config: Refiner(config, NetworkSet(config, wait=False), ONCE)
localizer_node.main()
