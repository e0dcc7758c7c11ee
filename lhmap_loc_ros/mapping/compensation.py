# SPDX-License-Identifier: Apache-2.0
"""Whether the points of a bag were compensated for motion already, although they still carry times."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ..datasets.bag import BagReader
from ..datasets.messages import Scan
from ..datasets.trajectory import Trajectory
from ..geometry import pose_error, transform
from .config import BuildConfig
from .scans import in_range, place_points

_SCANS, _LOOKED_AT, _POINTS = 24, 600, 4000
_APART_M, _APART_DEG = 0.5, 3.0
_REACH_M = 30.0
_ASKED, _NEIGHBOURS, _AROUND_M = 3000, 30, 1.0
_CLEARLY = 0.8


def is_compensated(bag: BagReader, config: BuildConfig, T_map_lidar: Trajectory) -> bool:
    """Whether walls are clearly sharper if the times of points are left out of account.

    Judged are some scans along the first metres that the sensor moved.
    """
    scans = _spread(bag, config, T_map_lidar)
    if len(scans) < 2:
        return False
    with_times = [place_points(s.points, s.offsets_ns, s.stamp_ns, T_map_lidar) for s in scans]
    without = [transform(T_map_lidar.at(s.stamp_ns), s.points) for s in scans]
    return _thickness(without) < _CLEARLY * _thickness(with_times)


def _spread(bag: BagReader, config: BuildConfig, T_map_lidar: Trajectory) -> list[Scan]:
    """Some scans of different places, thinned."""
    kept: list[Scan] = []
    last = None
    for number, scan in enumerate(bag.messages([config.points_topic])):
        if number == _LOOKED_AT or len(kept) == _SCANS or scan.offsets_ns is None:
            break
        if not T_map_lidar.covers(np.array(scan.span_ns)).all():
            continue
        pose = T_map_lidar.at(scan.stamp_ns)
        if last is not None:
            distance, angle = pose_error(pose, last)
            if distance < _APART_M and angle < _APART_DEG:
                continue
        scan = in_range(scan, config.min_range_m, min(config.max_range_m, _REACH_M))
        step = max(1, len(scan.points) // _POINTS)
        if len(scan.points):
            some = scan.points[::step], scan.intensity[::step], scan.offsets_ns[::step]
            kept.append(Scan(scan.topic, scan.stamp_ns, scan.frame, *some))
            last = pose
    return kept


def _thickness(clouds: list[np.ndarray]) -> float:
    """How thick the surfaces of all clouds together are, metres: their mean plane variance.

    It is the median, over some points, of the least standard deviation of their neighbourhoods.
    """
    points = np.concatenate(clouds)
    tree = cKDTree(points)
    some = points[:: max(1, len(points) // _ASKED)]
    distance, near = tree.query(some, k=_NEIGHBOURS, distance_upper_bound=_AROUND_M)
    full = np.isfinite(distance).all(axis=1)
    if not full.any():
        return 0.0
    offsets = points[near[full]]
    offsets = offsets - offsets.mean(axis=1, keepdims=True)
    least = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", offsets, offsets) / _NEIGHBOURS)[:, 0]
    return float(np.sqrt(np.median(np.maximum(least, 0))))
