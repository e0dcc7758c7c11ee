# SPDX-License-Identifier: Apache-2.0
"""Scans of a bag in the map frame, compensated for motion: each point at the pose of the time it was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
from scipy.spatial.transform import Rotation

from ..datasets.bag import BagReader
from ..datasets.messages import Scan
from ..datasets.trajectory import Trajectory
from ..geometry import from_quaternion
from .config import BuildConfig

MAX_GAP_S = 2.0
"""Poses further apart in time are not interpolated between, unless the vehicle stood still."""
_KNOTS = 33
_SLACK_NS = 150_000_000
_STANDSTILL_M, _STANDSTILL_RAD = 1.0, 0.35
"""Motion between two poses up to which the vehicle counts as standing still, however far they are apart in time."""

_JUMP_M, _JUMP_RAD = 4.5, np.radians(27)
"""Jumps of 5 m and 30 degrees, less the noise of poses."""
_MAX_SPEED_M_S, _MAX_SPEED_RAD_S = 100.0, 2 * np.pi


@dataclass(frozen=True)
class PlacedScan:
    """A scan in the map frame."""

    stamp_ns: int
    points: np.ndarray
    """(N, 3) float64, metres, map frame."""
    intensity: np.ndarray
    """(N,) float32 in [0, 1]."""
    T_map_lidar: np.ndarray
    """Pose of the LiDAR at the middle of the sweep (4, 4)."""


@numba.njit(cache=True, nogil=True)
def _place(
    points: np.ndarray, offsets: np.ndarray, start: float, step: float, poses: np.ndarray, out: np.ndarray
) -> None:  # fmt: skip
    """Interpolates the matrices of poses at evenly spaced times, so close that this is exact enough."""
    last = poses.shape[0] - 2
    for i in range(points.shape[0]):
        position = (offsets[i] - start) / step
        k = min(max(int(position), 0), last)
        w = position - k
        for r in range(3):
            a = poses[k, r, 3]
            b = poses[k + 1, r, 3]
            for c in range(3):
                a += poses[k, r, c] * points[i, c]
                b += poses[k + 1, r, c] * points[i, c]
            out[i, r] = a + w * (b - a)


@numba.njit(cache=True, nogil=True)
def _transform(points: np.ndarray, T: np.ndarray, out: np.ndarray) -> None:
    for i in range(points.shape[0]):
        for r in range(3):
            out[i, r] = T[r, 0] * points[i, 0] + T[r, 1] * points[i, 1] + T[r, 2] * points[i, 2] + T[r, 3]


def place_points(points: np.ndarray, offsets_ns: np.ndarray, stamp_ns: int, trajectory: Trajectory) -> np.ndarray:
    """Points (N, 3) of a moving sensor in the trajectory's parent frame, (N, 3) float64.

    Each is placed by the sensor's pose at ``stamp_ns + offsets_ns[i]``. `trajectory` is that of the sensor.
    """
    low, high = int(offsets_ns.min()), int(offsets_ns.max())
    knots = np.linspace(low, max(high, low + 1), _KNOTS)
    poses = trajectory.at(stamp_ns + np.round(knots).astype(np.int64))
    out = np.empty((len(points), 3))
    _place(points, offsets_ns, float(low), knots[1] - knots[0], poses, out)
    return out


class ScanSource:
    """The scans of one bag, read anew by each iteration so that they need not fit into memory."""

    def __init__(
        self, bag: BagReader, config: BuildConfig, T_map_lidar: Trajectory,
        start_ns: int | None = None, stop_ns: int | None = None,
    ):  # fmt: skip
        """`start_ns` and `stop_ns` are bounds of the time of recording."""
        self._bag, self._config, self._bounds = bag, config, (start_ns, stop_ns)
        self._gaps = np.concatenate([gaps(T_map_lidar, MAX_GAP_S), jumps(T_map_lidar)])
        self.trajectory = T_map_lidar
        """Poses of the LiDAR in the map frame."""

    def __iter__(self) -> Iterator[PlacedScan | None]:
        """Each scan in the map frame; None for one without a known pose or without points in range."""
        for scan in self._bag.messages_as(Scan, self._config.points_topic, *self._bounds):
            yield self._placed(in_range(scan, self._config.min_range_m, self._config.max_range_m))

    def _placed(self, scan: Scan) -> PlacedScan | None:
        first, last = scan.span_ns
        middle = (first + last) // 2
        if not len(scan.points) or not self.trajectory.covers(middle, _SLACK_NS):
            return None
        if ((self._gaps[:, 0] < last) & (self._gaps[:, 1] > first)).any():
            return None
        T_map_lidar = self.trajectory.at(middle)
        if scan.offsets_ns is None:
            # faster than a BLAS with threads on three columns
            points = np.empty((len(scan.points), 3))
            _transform(scan.points, T_map_lidar, points)
        else:
            points = place_points(scan.points, scan.offsets_ns, scan.stamp_ns, self.trajectory)
        return PlacedScan(scan.stamp_ns, points, scan.intensity, T_map_lidar)


def gaps(trajectory: Trajectory, max_gap_s: float) -> np.ndarray:
    """Gaps (G, 2) in the poses, from stamp to stamp [ns]: longer than `max_gap_s`, with motion in between.

    Interpolation over such a gap would smear scans: the vehicle may have stopped in it.
    """
    before = np.flatnonzero(np.diff(trajectory.stamps_ns) > max_gap_s * 1e9)
    a, b = trajectory.poses[before], trajectory.poses[before + 1]
    moved = np.linalg.norm(b[:, :3, 3] - a[:, :3, 3], axis=1)
    turned = np.arccos(np.clip((np.einsum("nij,nij->n", a[:, :3, :3], b[:, :3, :3]) - 1) / 2, -1, 1))
    before = before[(moved > _STANDSTILL_M) | (turned > _STANDSTILL_RAD)]
    return np.column_stack([trajectory.stamps_ns[before], trajectory.stamps_ns[before + 1]])


def jumps(trajectory: Trajectory) -> np.ndarray:
    """Jumps (J, 2) of the poses, from stamp to stamp [ns]: by 5 m or 30 degrees more than the motion before and after.

    Steps longer than a second may differ more from their neighbours, as a vehicle accelerates.
    """
    if len(trajectory) < 2:
        return np.zeros((0, 2), np.int64)
    seconds = np.diff(trajectory.stamps_ns) / 1e9
    rotations = Rotation.from_matrix(trajectory.poses[:, :3, :3])
    steps = np.diff(trajectory.poses[:, :3, 3], axis=0), (rotations[1:] * rotations[:-1].inv()).as_rotvec()
    slack, jumped = np.maximum(seconds, 1.0) ** 2, np.zeros(len(seconds), bool)
    for step, least, fastest in zip(steps, (_JUMP_M, _JUMP_RAD), (_MAX_SPEED_M_S, _MAX_SPEED_RAD_S), strict=True):
        speed = step / seconds[:, None]
        beyond = [
            np.linalg.norm(step[1:] - speed[:-1] * seconds[1:, None], axis=1),
            np.linalg.norm(step[:-1] - speed[1:] * seconds[:-1, None], axis=1),
        ]
        far = np.linalg.norm(step, axis=1) > np.maximum(least, fastest * seconds)
        unlike = np.minimum(np.r_[np.inf, beyond[0]], np.r_[beyond[1], np.inf])
        jumped |= (np.isfinite(unlike) & (unlike > least * slack)) | far
    before = np.flatnonzero(jumped)
    return np.column_stack([trajectory.stamps_ns[before], trajectory.stamps_ns[before + 1]])


def unbroken(trajectory: Trajectory) -> list[Trajectory]:
    """The parts of a drive between gaps and jumps of its poses, over which nobody drove."""
    broken = np.concatenate([gaps(trajectory, MAX_GAP_S), jumps(trajectory)])
    ends = np.searchsorted(trajectory.stamps_ns, np.unique(broken[:, 1]))
    parts = zip(np.split(trajectory.stamps_ns, ends), np.split(trajectory.poses, ends), strict=True)
    return [Trajectory(stamps, poses) for stamps, poses in parts]


def in_range(scan: Scan, least: float, most: float) -> Scan:
    """The points of a scan between two distances from the sensor, metres."""
    distance2 = np.einsum("ij,ij->i", scan.points, scan.points)
    keep = (distance2 >= least**2) & (distance2 <= most**2)
    offsets = None if scan.offsets_ns is None else scan.offsets_ns[keep]
    return Scan(scan.topic, scan.stamp_ns, scan.frame, scan.points[keep], scan.intensity[keep], offsets)


def lidar_extrinsics(bag: BagReader, config: BuildConfig) -> np.ndarray:
    """T_base_lidar (4, 4) from the settings, else from the bag's static transforms; raises BagError without either."""
    if config.lidar_in_base is not None:
        return from_quaternion(config.lidar_in_base[:3], config.lidar_in_base[3:])
    frame = config.lidar_frame
    if frame is None:
        first = next(bag.messages_as(Scan, config.points_topic), None)
        frame = config.base_frame if first is None else first.frame
    if frame == config.base_frame:
        return np.eye(4)
    return bag.static_transforms(config.tf_static_topic).lookup(config.base_frame, frame)


def lidar_trajectory(T_map_base: Trajectory, T_base_lidar: np.ndarray) -> Trajectory:
    """The poses of the LiDAR from those of the vehicle."""
    return T_map_base.moved(T_base_lidar)
