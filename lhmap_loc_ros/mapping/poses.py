# SPDX-License-Identifier: Apache-2.0
"""Poses of the vehicle: from a file, from TF, from odometry, or by LiDAR odometry on the scans."""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path

import numpy as np

from ..datasets.bag import BagReader
from ..datasets.messages import Scan, Transform
from ..datasets.moving_frames import trajectory_from_odometry, trajectory_from_tf
from ..datasets.trajectory import Trajectory
from ..datasets.tum import read_trajectory
from ..errors import BagError, ConfigError, InputError
from ..geometry import inverse
from ..progress import Report
from .config import BuildConfig
from .scans import in_range

SOURCES = ("auto", "tf", "odometry", "icp")
"""Of poses; all else is the path of a file."""
_LOOKED_AT = 500
_log = logging.getLogger(__name__)
_MIN_POINTS = 100
"""Points of a scan that LiDAR odometry needs."""
_MIN_ICP_RANGE_M = 80.0
"""Range that LiDAR odometry uses at least, metres: farther points fix the rotation."""


def find_poses(
    bag: BagReader, config: BuildConfig, T_base_lidar: np.ndarray, report: Report | None = None
) -> tuple[Trajectory, str]:  # fmt: skip
    """The trajectory T_map_base of a bag, and its source: file, tf, odometry or icp.

    Raises BagError, ConfigError or InputError if the source that is asked for does not exist or has poses that are not
    finite.
    """
    source = config.poses
    if source not in SOURCES:
        return _from_file(bag, config), "file"
    if source == "tf" or (source == "auto" and config.tf_topic in bag.topics):
        trajectory = trajectory_from_tf(
            bag, config.tf_topic, config.map_frame, config.base_frame, config.tf_static_topic
        )
        if trajectory is not None:
            return trajectory, "tf"
        if source == "tf":
            raise BagError(
                f"{bag.path}: {config.tf_topic} has no transforms from {config.map_frame} to {config.base_frame}, "
                f"with those of {config.tf_static_topic} neither"
            )
        some = {(t.frame, t.child) for t in islice(bag.messages_as(Transform, config.tf_topic), _LOOKED_AT)}
        _log.warning(
            "%s: %s has no transforms from %s to %s (map_frame, base_frame), but %s: other poses are taken",
            bag.path, config.tf_topic, config.map_frame, config.base_frame,
            ", ".join(f"{parent} -> {child}" for parent, child in sorted(some)) or "none",
        )  # fmt: skip
    if source == "odometry" or (source == "auto" and config.odometry_topic in bag.topics):
        frames = config.base_frame, config.tf_static_topic
        return trajectory_from_odometry(bag, config.odometry_topic, *frames), "odometry"
    return poses_by_icp(bag, config, T_base_lidar, report), "icp"


def _from_file(bag: BagReader, config: BuildConfig) -> Trajectory:
    """The poses around the bag's scans: the bag may be a part of the run that the file has poses of."""
    if not Path(config.poses).is_file():
        raise ConfigError(f"poses: found {config.poses!r}, expected {', '.join(SOURCES)}, or a TUM or KITTI file")
    stamps: list[int] = []
    bounds: list[int] = []
    for scan in bag.messages_as(Scan, config.points_topic):
        stamps.append(scan.stamp_ns)
        bounds += scan.span_ns
    if not stamps:
        raise BagError(f"{bag.path}: {config.points_topic} holds no message, expected scans")
    trajectory = read_trajectory(config.poses, stamps)
    if not trajectory.covers(np.array(stamps, dtype=np.int64)).any():
        raise InputError(
            f"{config.poses}: poses from {trajectory.stamps_ns[0]} to {trajectory.stamps_ns[-1]} ns do not "
            f"cover the scans of {bag.path}, {stamps[0]} to {stamps[-1]} ns"
        )
    return trajectory.between(min(bounds), max(bounds))


def poses_by_icp(
    bag: BagReader, config: BuildConfig, T_base_lidar: np.ndarray, report: Report | None = None
) -> Trajectory:  # fmt: skip
    """LiDAR odometry (kiss-icp) on the bag's scans; the map frame is the vehicle's first pose.

    Raises InputError if kiss-icp is not installed.
    """
    try:
        from kiss_icp.config.parser import load_config
        from kiss_icp.kiss_icp import KissICP
    except ImportError as error:
        raise InputError(
            f"{bag.path}: has no poses, and kiss-icp ({error.name}) is not installed to find them"
        ) from None
    settings = load_config(None)
    settings.data.min_range, settings.data.max_range = config.min_range_m, max(config.max_range_m, _MIN_ICP_RANGE_M)
    settings.mapping.voxel_size = settings.data.max_range / 100.0
    settings.registration.max_num_threads = 0
    odometry = KissICP(settings)
    total = bag.count(config.points_topic)
    stamps, poses = [], []
    for done, scan in enumerate(bag.messages_as(Scan, config.points_topic), 1):
        scan = in_range(scan, config.min_range_m, settings.data.max_range)
        if len(scan.points) < _MIN_POINTS:
            continue
        times, (first, last) = np.zeros(0), scan.span_ns
        if scan.offsets_ns is not None:
            times = (scan.offsets_ns + scan.stamp_ns - first) / max(last - first, 1)
        odometry.register_frame(scan.points.astype(np.float64), times)
        # kiss-icp gives the pose at the end of a sweep
        stamps.append(last)
        poses.append(T_base_lidar @ odometry.last_pose @ inverse(T_base_lidar))
        if report:
            report("poses", done, total)
    if not poses:
        raise BagError(f"{bag.path}: no scan on {config.points_topic} has {_MIN_POINTS} points or more in range")
    return Trajectory.sorted(stamps, poses)
