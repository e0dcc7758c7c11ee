# SPDX-License-Identifier: Apache-2.0
"""A LiDAR that moves while it measures: spinning, or with one beam that never repeats its pattern."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from .sensors import LIDARS, LidarSpec

BEAMS = 64
ELEVATION_TOP, ELEVATION_BOTTOM = 2.0, -24.8  # degrees
PETALS_HZ, TURNS_HZ = 61.7, 23.713  # of a rosette; no ratio of small numbers, so that no sweep repeats another


@dataclass(frozen=True)
class LidarScan:
    """One sweep. Point i was measured ``time[i]`` seconds after the sweep began.

    ``xyz`` is what the sensor itself reports: each point in the lidar frame at
    the moment it was measured, so that the sweep is distorted by the motion.
    """

    xyz: np.ndarray  # (n, 3) float32, metres, lidar frame at the point's own time
    intensity: np.ndarray | None  # (n,) float32 in [0, 1], or as the sensor tells it
    ring: np.ndarray | None  # (n,) uint16, 0 = lowest beam; None for a rosette
    time: np.ndarray  # (n,) float32, seconds from the start of the sweep


def sample_lidar_scan(
    world,
    T_map_lidar_start: np.ndarray,
    T_map_lidar_end: np.ndarray,
    time: float = 0.0,
    azimuths: int = 1024,
    beams: int = BEAMS,
    period: float = 0.1,
) -> LidarScan:
    """Sweep once from ``time`` to ``time + period`` seconds, beams spread evenly from -24.8 to +2 degrees.

    The sensor moves from one 4x4 pose to the other (x forward, y left, z up).
    """
    elevations = tuple(np.linspace(ELEVATION_BOTTOM, ELEVATION_TOP, beams).tolist())
    changed = {"elevations_deg": elevations, "azimuths": azimuths, "sweep_time": period}
    spec = LIDARS["default"].model_copy(update=changed)
    return sweep(world, np.stack([T_map_lidar_start, T_map_lidar_end]), time, spec)


def sweep(world, T_map_lidar: np.ndarray, time: float, spec: LidarSpec) -> LidarScan:
    """One sweep from ``time`` to ``time + spec.sweep_time`` seconds; intensity in [0, 1].

    ``T_map_lidar`` (m, 4, 4): where the sensor is (x forward, y left, z up) at m >= 2 moments spread evenly over
    the sweep.
    """
    local, share, ring = _rosette(spec, time) if spec.pattern == "rosette" else _turn(spec)
    rotation, position = _along(T_map_lidar, share)
    directions = np.einsum("nij,nj->ni", rotation, local)
    offset = share * spec.sweep_time
    distance, intensity = world.scan_rays(position, directions, time + offset, spec.max_range, spec.range_noise)
    seen = np.isfinite(distance)
    xyz = local[seen] * distance[seen, None]
    return LidarScan(
        xyz.astype(np.float32), intensity[seen], None if ring is None else ring[seen], offset[seen].astype(np.float32)
    )


def as_recorded(scan: LidarScan, spec: LidarSpec, resolution: float) -> LidarScan:
    """The sweep as the sensor tells it: coordinates in steps of ``resolution`` metres, intensity encoded."""
    xyz = np.round(scan.xyz / resolution) * resolution
    return replace(scan, xyz=xyz.astype(np.float32), intensity=spec.encoded(scan.intensity))


def deskew(scan: LidarScan, T_map_lidar_start: np.ndarray, T_map_lidar_end: np.ndarray, period: float = 0.1):
    """Points of a sweep in the map frame (n, 3) float64, with the motion taken out."""
    rotation, position = _interpolate(T_map_lidar_start, T_map_lidar_end, scan.time / period)
    return np.einsum("nij,nj->ni", rotation, scan.xyz.astype(float)) + position


def _turn(spec: LidarSpec):
    """Directions (n, 3), shares of the sweep (n,) and rings (n,): clockwise seen from above, from the back."""
    beams = len(spec.elevations_deg)
    share = (np.arange(spec.azimuths) + 0.5) / spec.azimuths
    azimuth = np.pi - 2 * np.pi * share
    elevation = np.radians(np.array(spec.elevations_deg))
    # a small fixed stagger between beams, as in real sensors
    angle = azimuth[:, None] + 2 * np.pi / spec.azimuths * 0.5 * (np.arange(beams) % 2)[None]
    local = np.stack(
        np.broadcast_arrays(
            np.cos(elevation) * np.cos(angle), np.cos(elevation) * np.sin(angle), np.sin(elevation)[None]
        ),
        -1,
    )
    ring = np.tile(np.arange(beams, dtype=np.uint16), spec.azimuths)
    return local.reshape(-1, 3), np.repeat(share, beams), ring


def _rosette(spec: LidarSpec, time: float):
    """Directions (n, 3) and shares (n,): a rose of many petals that turns on from sweep to sweep."""
    share = (np.arange(spec.points) + 0.5) / spec.points
    moment = time + share * spec.sweep_time
    away = np.radians(spec.fov_deg / 2) * np.sin(2 * np.pi * PETALS_HZ * moment)
    around = 2 * np.pi * TURNS_HZ * moment
    local = np.stack([np.cos(away), np.sin(away) * np.cos(around), np.sin(away) * np.sin(around)], -1)
    return local, share, None


def _along(poses: np.ndarray, share: np.ndarray):
    """Rotations (n, 3, 3) and positions (n, 3) at shares in [0, 1] of the way through poses (m, 4, 4)."""
    if len(poses) == 2:
        return _interpolate(*poses, share)
    knots = np.linspace(0.0, 1.0, len(poses))
    rotation = Slerp(knots, Rotation.from_matrix(poses[:, :3, :3]))(share).as_matrix()
    return rotation, np.stack([np.interp(share, knots, poses[:, k, 3]) for k in range(3)], 1)


def _interpolate(start, end, share):
    """Rotations (n, 3, 3) and positions (n, 3) at shares in [0, 1] of the way between two poses."""
    turn = Rotation.from_matrix(start[:3, :3].T @ end[:3, :3]).as_rotvec()
    rotation = start[:3, :3] @ Rotation.from_rotvec(share[:, None] * turn).as_matrix()
    return rotation, start[:3, 3] + share[:, None] * (end[:3, 3] - start[:3, 3])
