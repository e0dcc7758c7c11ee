# SPDX-License-Identifier: Apache-2.0
"""A correction of the camera's rotation and how sure it is, by whichever way it was found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ...geometry import make_pose

RESAMPLES = 200
AGREE_SIGMAS, AGREE_DEG = 3.0, 0.1
"""Two ways agree where they differ by no more than so many standard deviations, or by no more than this."""


@dataclass(frozen=True)
class RotationEstimate:
    """``T_base_camera`` is to be multiplied by this rotation on its right."""

    degrees: np.ndarray
    """(3,) rotation vector about the camera's axes (right, down, forward) [deg]."""
    sigma_deg: np.ndarray
    """(3,) standard deviations, from the spread over the drive: what all images err alike is not in them [deg]."""
    images: int
    """Images that had a part in it."""

    def applied(self, T_base_camera: np.ndarray) -> np.ndarray:
        """The corrected pose (4, 4) of the camera."""
        return T_base_camera @ turn(self.degrees)


def turn(degrees: np.ndarray) -> np.ndarray:
    """The pose (4, 4) that turns by a rotation vector (3,) [deg] and stays where it is."""
    return make_pose(Rotation.from_rotvec(degrees, degrees=True), np.zeros(3))


def agree(first: RotationEstimate, second: RotationEstimate) -> np.ndarray:
    """About which axes (3, bool) two estimates agree."""
    apart = np.abs(first.degrees - second.degrees)
    return apart <= np.maximum(AGREE_SIGMAS * np.hypot(first.sigma_deg, second.sigma_deg), AGREE_DEG)


def block_resamples(images: int) -> np.ndarray:
    """How often each image counts (RESAMPLES, images) in drives drawn from this one, a stretch of road at a time.

    Images that follow each other see the same street and err alike: drawn one by one they would seem surer.
    """
    length = max(1, round(np.sqrt(images)))
    blocks = -(-images // length)
    starts = np.random.default_rng(0).integers(0, images, (RESAMPLES, blocks))
    drawn = (starts[:, :, None] + np.arange(length)) % images
    return np.array([np.bincount(row.ravel()[:images], minlength=images) for row in drawn])
