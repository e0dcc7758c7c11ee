# SPDX-License-Identifier: Apache-2.0
"""Poses from the GPS/IMU packets of KITTI's raw drives.

A packet is a text file of 30 values, of which the first six are needed: latitude and longitude [deg], altitude [m],
roll (left side up), pitch (front down) and yaw (0 is east, counter-clockwise) [rad] (Geiger, Lenz, Stiller, Urtasun,
"Vision meets Robotics: The KITTI Dataset", IJRR 2013, section on the Mercator projection).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..errors import BagError

EARTH_RADIUS_M = 6_378_137.0
_VALUES = 30


def read_packets(paths: list[Path]) -> np.ndarray:
    """Latitude, longitude [deg], altitude [m], roll, pitch, yaw [rad] of packets (N, 6); raises BagError."""
    return np.array([_packet(path) for path in paths]).reshape(-1, 6)


def _packet(path: Path) -> np.ndarray:
    try:
        words = path.read_text().split()
        values = np.array(words[:6], dtype=float)
    except OSError as error:
        raise BagError(f"{path}: cannot be read: {error.strerror}, expected a GPS/IMU packet") from None
    except ValueError as error:
        raise BagError(f"{path}: {error}, expected {_VALUES} numbers") from None
    if len(words) != _VALUES:
        raise BagError(f"{path}: {len(words)} values found, expected {_VALUES}")
    if not np.isfinite(values).all() or abs(values[0]) >= 90:
        raise BagError(f"{path}: {' '.join(words[:6])} found, expected latitude, longitude, altitude and three angles")
    return values


def imu_poses(packets: np.ndarray, latitude_deg: float) -> np.ndarray:
    """T_world_imu (N, 4, 4) of packets (N, 6); world: x east, y north, z up, metres; IMU: x forward, y left, z up.

    `latitude_deg` is where the Mercator projection is true to scale: that of the first frame of the drive.
    """
    latitude, longitude = np.radians(packets[:, :2]).T
    scale = np.cos(np.radians(latitude_deg)) * EARTH_RADIUS_M
    poses = np.tile(np.eye(4), (len(packets), 1, 1))
    poses[:, 0, 3] = scale * longitude
    poses[:, 1, 3] = scale * np.arctanh(np.sin(latitude))
    poses[:, 2, 3] = packets[:, 2]
    poses[:, :3, :3] = Rotation.from_euler("ZYX", packets[:, [5, 4, 3]]).as_matrix()
    return poses
