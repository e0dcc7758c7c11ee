# SPDX-License-Identifier: Apache-2.0
"""A spinning 64-beam LiDAR that moves while it measures."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

BEAMS = 64
ELEVATION_TOP, ELEVATION_BOTTOM = 2.0, -24.8  # degrees


@dataclass(frozen=True)
class LidarScan:
    """One sweep. Point i was measured ``time[i]`` seconds after the sweep began.

    ``xyz`` is what the sensor itself reports: each point in the lidar frame at
    the moment it was measured, so that the sweep is distorted by the motion.
    """

    xyz: np.ndarray  # (n, 3) float32, metres, lidar frame at the point's own time
    intensity: np.ndarray  # (n,) float32 in [0, 1]
    ring: np.ndarray  # (n,) uint16, 0 = lowest beam
    time: np.ndarray  # (n,) float32, seconds from the start of the sweep


def sample_lidar_scan(world, T_map_lidar_start: np.ndarray, T_map_lidar_end: np.ndarray, time: float = 0.0,
                      azimuths: int = 1024, beams: int = BEAMS, period: float = 0.1) -> LidarScan:
    """Sweep once from ``time`` to ``time + period`` seconds.

    The sensor moves from one 4x4 pose to the other (x forward, y left, z up);
    it turns clockwise seen from above, beginning at the back. Beams are
    spread evenly from -24.8 to +2 degrees.
    """
    share = (np.arange(azimuths) + 0.5) / azimuths
    azimuth = np.pi - 2 * np.pi * share
    elevation = np.radians(np.linspace(ELEVATION_BOTTOM, ELEVATION_TOP, beams))
    # a small fixed stagger between beams, as in real sensors
    angle = azimuth[:, None] + 2 * np.pi / azimuths * 0.5 * (np.arange(beams) % 2)[None]
    local = np.stack(np.broadcast_arrays(np.cos(elevation) * np.cos(angle), np.cos(elevation) * np.sin(angle),
                                         np.sin(elevation)[None]), -1)
    rotation, position = _interpolate(T_map_lidar_start, T_map_lidar_end, share)
    directions = np.einsum("aij,abj->abi", rotation, local).reshape(-1, 3)
    origins = np.repeat(position, beams, axis=0)
    offset = np.repeat(share * period, beams)
    distance, intensity = world.scan_rays(origins, directions, time + offset)
    seen = np.isfinite(distance)
    xyz = local.reshape(-1, 3)[seen] * distance[seen, None]
    ring = np.tile(np.arange(beams, dtype=np.uint16), azimuths)
    return LidarScan(xyz.astype(np.float32), intensity[seen], ring[seen], offset[seen].astype(np.float32))


def deskew(scan: LidarScan, T_map_lidar_start: np.ndarray, T_map_lidar_end: np.ndarray, period: float = 0.1):
    """Points of a sweep in the map frame (n, 3) float64, with the motion taken out."""
    rotation, position = _interpolate(T_map_lidar_start, T_map_lidar_end, scan.time / period)
    return np.einsum("nij,nj->ni", rotation, scan.xyz.astype(float)) + position


def _interpolate(start, end, share):
    """Rotations (n, 3, 3) and positions (n, 3) at shares in [0, 1] of the way between two poses."""
    turn = Rotation.from_matrix(start[:3, :3].T @ end[:3, :3]).as_rotvec()
    rotation = start[:3, :3] @ Rotation.from_rotvec(share[:, None] * turn).as_matrix()
    return rotation, start[:3, 3] + share[:, None] * (end[:3, 3] - start[:3, 3])
