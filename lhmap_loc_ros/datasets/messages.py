# SPDX-License-Identifier: Apache-2.0
"""What comes out of a bag: small typed messages with arrays, free of any ROS type."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import Calibration, Rectifier


@dataclass(frozen=True)
class Stamped:
    """What all messages have."""

    topic: str
    stamp_ns: int
    """Time of measurement from the header, nanoseconds; time of recording where the header has none."""
    frame: str
    """frame_id of the header; for transforms and odometry the parent frame."""


@dataclass(frozen=True)
class Scan(Stamped):
    """Points of a LiDAR, in its frame; points that are not finite are left out."""

    points: np.ndarray
    """(N, 3) float32, metres."""
    intensity: np.ndarray
    """(N,) float32 in the sensor's unit; zero where it tells none."""
    offsets_ns: np.ndarray | None
    """(N,) int64, when each point was measured, relative to the stamp; None where the sensor does not tell."""

    @property
    def span_ns(self) -> tuple[int, int]:
        """When the first and the last point were measured, nanoseconds; the stamp where that is not known."""
        if self.offsets_ns is None or not len(self.offsets_ns):
            return self.stamp_ns, self.stamp_ns
        return self.stamp_ns + int(self.offsets_ns.min()), self.stamp_ns + int(self.offsets_ns.max())


@dataclass(frozen=True)
class Image(Stamped):
    """A camera image."""

    image: np.ndarray
    """(H, W, 3) uint8, RGB; grey images have three equal channels."""


@dataclass(frozen=True)
class CameraInfo(Stamped):
    """A camera calibration."""

    calibration: Calibration

    def rectifier(self) -> Rectifier:
        """What turns the raw images into those of a pinhole camera; raises InputError if not calibrated."""
        return self.calibration.rectifier()


@dataclass(frozen=True)
class Odometry(Stamped):
    """A pose of `child` in `frame`, as odometry or a localizer publishes it."""

    child: str
    pose: np.ndarray
    """T_frame_child (4, 4)."""
    covariance: np.ndarray | None
    """(6, 6) as in the ROS message, about the axes of the parent frame; None where the message has none."""


@dataclass(frozen=True)
class Transform(Stamped):
    """One transform of a tf message."""

    child: str
    pose: np.ndarray
    """T_frame_child (4, 4)."""


@dataclass(frozen=True)
class Fix(Stamped):
    """A position on the earth (WGS 84), as a GPS receiver tells it."""

    geodetic: np.ndarray
    """(3,) latitude, longitude [deg], altitude [m]; the altitude is 0 where the receiver tells none."""
    sigma_m: float | None
    """Standard deviation of the horizontal position [m]; None where the receiver tells none."""
