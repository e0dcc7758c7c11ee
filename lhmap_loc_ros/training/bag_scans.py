# SPDX-License-Identifier: Apache-2.0
"""What all trainings read alike of a bag: which of its images show something new, and its scans in the map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..datasets.bag import BagReader
from ..datasets.trajectory import Trajectory
from ..geometry import pose_error
from ..localization.inputs import BagInputs
from ..mapping.config import BuildConfig
from ..mapping.scans import PlacedScan, ScanSource, lidar_extrinsics, lidar_trajectory

TURN_DEG = 5.0
"""An image is also taken where the camera has turned this much on the spot."""
OWN_SCAN_NS = 100_000_000
"""A scan further than this from an image tells nothing about it: what moves is elsewhere by then."""


def is_near(pose: np.ndarray, last: np.ndarray, spacing_m: float) -> bool:
    """Whether a camera at a pose (4, 4) sees what it saw at the last one: neither driven so far nor turned by much."""
    metres, degrees = pose_error(pose, last)
    return metres < spacing_m and degrees < TURN_DEG


def placed_scans(
    reader: BagReader, inputs: BagInputs, T_map_base: Trajectory, points_topic: str
) -> Iterator[PlacedScan]:  # fmt: skip
    """The scans of a bag whose poses are known, in the map frame, up to 80 m."""
    config = BuildConfig(
        points_topic=points_topic, tf_static_topic=inputs.tf_static, base_frame=inputs.base_frame, max_range_m=80.0
    )
    source = ScanSource(reader, config, lidar_trajectory(T_map_base, lidar_extrinsics(reader, config)))
    return (scan for scan in source if scan is not None)
