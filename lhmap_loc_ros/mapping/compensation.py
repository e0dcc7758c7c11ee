# SPDX-License-Identifier: Apache-2.0
"""Whether the scans of a bag are compensated for motion already, although their points still have times."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ..datasets.bag import BagReader
from ..datasets.messages import Scan
from ..datasets.trajectory import Trajectory
from ..geometry import distance_along, pose_error, transform
from .config import BuildConfig
from .scans import in_range, place_points

_SCANS, _MAX_READ, _POINTS = 24, 600, 4000
"""Scans that are compared, scans of a moving sensor that are read at most to find them, and points of each, about."""
_SPACING_M, _SPACING_DEG = 0.5, 3.0
_MAX_RANGE_M = 30.0
_SAMPLES, _NEIGHBOURS, _RADIUS_M = 3000, 30, 1.0
"""Points whose neighbourhoods are measured, neighbours of each, and their largest distance, metres."""
_MAX_RATIO = 0.8
"""Scans are compensated already if surfaces are at most so thick without times, in units of that with them."""


def is_compensated(bag: BagReader, config: BuildConfig, T_map_lidar: Trajectory) -> bool:
    """Whether surfaces are clearly sharper if the times of points are ignored.

    Measured on some scans along the first metres that the sensor moved.
    """
    scans = _spread(bag, config, T_map_lidar)
    if len(scans) < 2:
        return False
    with_times = [
        place_points(s.points, s.offsets_ns, s.stamp_ns, T_map_lidar) for s in scans if s.offsets_ns is not None
    ]  # fmt: skip
    without = [transform(T_map_lidar.at(s.stamp_ns), s.points) for s in scans]
    return _thickness(without) < _MAX_RATIO * _thickness(with_times)


def _spread(bag: BagReader, config: BuildConfig, T_map_lidar: Trajectory) -> list[Scan]:
    """Some scans at different poses, thinned."""
    kept: list[Scan] = []
    last, read = None, 0
    # before a drive a vehicle may stand for minutes
    standing = int(np.searchsorted(distance_along(T_map_lidar.poses[:, :3, 3]), 0.0, side="right")) - 1
    begins_ns = T_map_lidar.stamps_ns[standing] if standing < len(T_map_lidar) - 1 else T_map_lidar.stamps_ns[0]
    for scan in bag.messages_as(Scan, config.points_topic):
        if read == _MAX_READ or len(kept) == _SCANS or scan.offsets_ns is None:
            break
        if scan.stamp_ns < begins_ns:
            continue
        read += 1
        if not T_map_lidar.covers(np.array(scan.span_ns)).all():
            continue
        pose = T_map_lidar.at(scan.stamp_ns)
        if last is not None:
            distance, angle = pose_error(pose, last)
            if distance < _SPACING_M and angle < _SPACING_DEG:
                continue
        scan = in_range(scan, config.min_range_m, min(config.max_range_m, _MAX_RANGE_M))
        step = max(1, len(scan.points) // _POINTS)
        if len(scan.points) and scan.offsets_ns is not None:
            some = scan.points[::step], scan.intensity[::step], scan.offsets_ns[::step]
            kept.append(Scan(scan.topic, scan.stamp_ns, scan.frame, *some))
            last = pose
    return kept


def _thickness(clouds: list[np.ndarray]) -> float:
    """Thickness of the surfaces of all clouds together, metres.

    The median, over some points, of the least standard deviation of their neighbourhoods.
    """
    points = np.concatenate(clouds)
    tree = cKDTree(points)
    some = points[:: max(1, len(points) // _SAMPLES)]
    distance, near = tree.query(some, k=_NEIGHBOURS, distance_upper_bound=_RADIUS_M)
    full = np.isfinite(distance).all(axis=1)
    if not full.any():
        return 0.0
    offsets = points[near[full]]
    offsets = offsets - offsets.mean(axis=1, keepdims=True)
    least = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", offsets, offsets) / _NEIGHBOURS)[:, 0]
    return float(np.sqrt(np.median(np.maximum(least, 0))))
