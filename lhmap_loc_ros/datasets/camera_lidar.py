# SPDX-License-Identifier: Apache-2.0
"""A drive with one camera and one LiDAR, whatever data set it comes from: what every reader here offers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..errors import BagError
from .trajectory import Trajectory


@dataclass(frozen=True)
class Calibration:
    """Where the sensors are, and how the camera projects; images are free of distortion."""

    matrix: np.ndarray
    """K (3, 3), pixels."""
    T_base_camera: np.ndarray
    """Pose of the camera's optical frame in base_link (4, 4)."""
    T_base_lidar: np.ndarray
    """Pose of the LiDAR in base_link (4, 4)."""


class CameraLidarDrive(Protocol):
    """Scans and images of one drive, each with its own stamps, numbered from 0 without gaps.

    `base_link` has x forward, y left, z up. Scans are free of the distortion by motion: all points of one are as
    seen at its stamp.
    """

    @property
    def calibration(self) -> Calibration:
        """Of the camera, and how camera and LiDAR are mounted."""

    scan_stamps: np.ndarray
    """(N,) int64, nanoseconds, strictly increasing, never 0: in ROS that means "latest"."""
    image_stamps: np.ndarray
    """(M,) int64, likewise."""
    truth: Trajectory | None
    """T_map_base over all scans and images; None if it is not known."""
    truth_path: Path
    """Where the truth comes from, or would."""

    def scan(self, number: int) -> np.ndarray:
        """x, y, z [m], LiDAR frame, and intensity [0, 1] of the points (n, 4) float32; raises BagError."""

    def image(self, number: int) -> np.ndarray:
        """An image (H, W, 3) uint8 RGB; raises BagError."""


def nearest_scans(drive: CameraLidarDrive) -> tuple[np.ndarray, np.ndarray]:
    """The number of the scan nearest in time to each image (M,), and how far off it is (M,), nanoseconds."""
    scans, images = drive.scan_stamps, drive.image_stamps
    after = np.clip(np.searchsorted(scans, images), 1, max(len(scans) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(scans) - 1)
    nearest = np.where(images - scans[before] <= scans[after] - images, before, after)
    return nearest, np.abs(scans[nearest] - images)


def numbered_files(folder: Path, suffixes: tuple[str, ...]) -> dict[int, Path]:
    """Files by the number that is their name; raises BagError if there are none."""
    found = {int(p.stem): p for p in sorted(folder.glob("*")) if p.suffix in suffixes and p.stem.isdigit()}
    if not found:
        raise BagError(f"{folder}: no files found, expected numbers with {' or '.join(suffixes)}")
    return found


def read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB; raises BagError if it is missing or damaged."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.exists() else None
    if image is None:
        raise BagError(f"{path}: {'cannot be decoded' if path.exists() else 'not there'}, expected an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
