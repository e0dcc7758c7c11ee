# SPDX-License-Identifier: Apache-2.0
"""A street of boxes and a LiDAR in it, cast ray by ray: small, and every surface is known."""

from __future__ import annotations

import numpy as np

from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.geometry import se3_exp

START = 1_700_000_000 * 10**9
SWEEP_NS = 100_000_000
T_BASE_LIDAR = se3_exp([0.2, 0.0, 1.8, 0.0, 0.02, 0.05])

# least and greatest corner; intensity
STATIC = [
    ((-60, -60, -1), (60, 60, 0), 0.2),  # ground
    ((-20, 8, 0), (30, 9, 6), 0.5),  # walls along the street
    ((-20, -9, 0), (30, -8, 6), 0.4),
    ((34, -9, 0), (35, 9, 6), 0.6),  # and at its end
    ((8, 4, 0), (10, 6, 1.5), 0.9),  # a parked car
    ((-12, -7, 0), (-11, -5, 3), 0.3),
    ((3, 6, 0), (3.3, 6.3, 4), 0.8),  # a pole
    ((18, -7, 0), (20, -4.5, 2.5), 0.7),
    # pillars: without them a street between even walls looks the same from everywhere
    *(((x, side * 7.6 - 0.6, 0), (x + 1.2, side * 7.6 + 0.6, 5), 0.35) for x in range(-18, 30, 5) for side in (-1, 1)),
]


def moving_car(time_s: float):
    """A car that comes towards us on the other lane."""
    x = 26 - 18 * time_s
    return (x, -3.5, 0.2), (x + 3, -1.8, 1.6), 1.0


def pose_at(stamp_ns) -> np.ndarray:
    """T_map_base (..., 4, 4) at stamps (...): from rest along x, in light curves."""
    t = (np.asarray(stamp_ns) - START) / 1e9
    yaw = 0.25 * np.sin(1.5 * t)
    poses = np.zeros((*t.shape, 4, 4))
    poses[..., 0, 0] = poses[..., 1, 1] = np.cos(yaw)
    poses[..., 1, 0], poses[..., 0, 1] = np.sin(yaw), -np.sin(yaw)
    poses[..., 2, 2] = poses[..., 3, 3] = 1
    poses[..., 0, 3], poses[..., 1, 3] = 5 * t * t / (1 + np.abs(t)), 0.3 * np.sin(t)
    return poses


def trajectory(scans: int) -> Trajectory:
    stamps = START + np.arange(-1, 10 * scans + 11) * (SWEEP_NS // 10)
    return Trajectory(stamps, pose_at(stamps))


def cast(origins: np.ndarray, directions: np.ndarray, boxes) -> tuple[np.ndarray, np.ndarray]:
    """Distances (N,), infinite for a miss, and intensities (N,) of rays against boxes."""
    distance, intensity = np.full(len(origins), np.inf), np.zeros(len(origins))
    with np.errstate(divide="ignore", invalid="ignore"):
        for low, high, brightness in boxes:
            t0, t1 = (np.array(low) - origins) / directions, (np.array(high) - origins) / directions
            near, far = np.minimum(t0, t1).max(axis=1), np.maximum(t0, t1).min(axis=1)
            hit = (near <= far) & (near > 0) & (near < distance)
            distance[hit], intensity[hit] = near[hit], brightness
    return distance, intensity


def sweep(stamp_ns: int, with_car: bool, rings: int = 24, columns: int = 360, at_once: bool = False):
    """Points (N, 3) in the LiDAR frame at the time of each, intensities (N,), times (N,) in seconds."""
    # no two sweeps of a real LiDAR have the same rays; if they had, ICP would find that nothing moves
    rng = np.random.default_rng(stamp_ns)
    azimuth = np.linspace(-np.pi, np.pi, columns, endpoint=False) + rng.uniform(0, 2 * np.pi / columns)
    elevation = np.radians(np.linspace(-22, 10, rings) + rng.uniform(-16, 16) / rings)
    local = np.stack(
        [
            np.outer(np.cos(elevation), np.cos(azimuth)),
            np.outer(np.cos(elevation), np.sin(azimuth)),
            np.repeat(np.sin(elevation)[:, None], columns, axis=1),
        ],
        axis=-1,
    )
    offsets = np.zeros(columns, int) if at_once else (np.arange(columns) * SWEEP_NS) // columns
    T = pose_at(stamp_ns + offsets) @ T_BASE_LIDAR
    directions = np.einsum("cij,rcj->rci", T[:, :3, :3], local).reshape(-1, 3)
    origins = np.broadcast_to(T[None, :, :3, 3], local.shape).reshape(-1, 3)
    # within one sweep the car may stand still: it is there to be removed
    boxes = STATIC + [moving_car((stamp_ns - START) / 1e9)] * with_car
    distance, intensity = cast(origins, directions, boxes)
    ok = distance < 50
    times = np.broadcast_to(offsets / 1e9, (rings, columns)).ravel()
    return local.reshape(-1, 3)[ok] * distance[ok, None], intensity[ok], times[ok]


def write_bag(path, scans=12, with_car=True, tf=True, odometry=False, times=True, chain=False, first=0, rings=24):
    """A mapping bag of this street."""
    drive = trajectory(first + scans)
    with BagWriter(path) as writer:
        writer.tf_static(START, {("base_link", "lidar"): T_BASE_LIDAR})
        for stamp, pose in zip(drive.stamps_ns.tolist(), drive.poses, strict=True):
            if chain:
                shift = se3_exp([3, 1, 0, 0, 0, 0.4])
                writer.tf(stamp, {("map", "odom"): shift, ("odom", "base_link"): np.linalg.inv(shift) @ pose})
            elif tf:
                writer.tf(stamp, {("map", "base_link"): pose})
            if odometry:
                writer.odometry("/odom", stamp, "odom", "base_link", pose)
        for k in range(first, first + scans):
            stamp = START + k * SWEEP_NS
            points, intensity, time = sweep(stamp, with_car, rings, 15 * rings, at_once=not times)
            writer.points("/points", stamp, "lidar", points, intensity, time=time if times else None)
    return path


def surface_distance(points: np.ndarray, boxes=STATIC) -> np.ndarray:
    """Distance (N,) of map points from the nearest surface."""
    nearest = np.full(len(points), np.inf)
    for low, high, _ in boxes:
        low, high = np.array(low), np.array(high)
        outside = np.linalg.norm(np.maximum(np.maximum(low - points, points - high), 0), axis=1)
        inside = np.minimum(points - low, high - points).min(axis=1)
        nearest = np.minimum(nearest, np.where(inside > 0, inside, outside))
    return nearest
