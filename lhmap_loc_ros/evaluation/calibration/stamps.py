# SPDX-License-Identifier: Apache-2.0
"""Whether images were taken when their stamps say, by the clock of the poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...geometry import inverse
from .by_matches import MatchResult
from .drive import Drive
from .estimate import block_resamples

MAX_SIGMA_S = 0.02
"""What is less sure than this says nothing."""
OFF_SIGMAS, OFF_S = 3.0, 0.005


@dataclass(frozen=True)
class TimeOffset:
    """Images were taken `seconds` later than their stamps say."""

    seconds: float
    sigma_s: float
    """Infinite where the robot neither turned nor changed its speed."""

    @property
    def known(self) -> bool:
        """Whether this drive tells the offset at all."""
        return self.sigma_s <= MAX_SIGMA_S

    @property
    def off(self) -> bool:
        """Whether the stamps are off."""
        return self.known and abs(self.seconds) > max(OFF_SIGMAS * self.sigma_s, OFF_S)


def time_offset(drive: Drive, matches: MatchResult) -> TimeOffset:
    """The offset by which the errors of the images go with the robot's velocity.

    At a constant velocity the robot is ahead by a constant way, as it is with a camera that is mounted elsewhere: only
    what changes with speed and yaw rate over the drive counts.
    """
    twists = {image.stamp_ns: image.twist for image in drive.images}
    velocity = _of_camera(np.array([twists[stamp] for stamp in matches.stamps_ns.tolist()]), drive.T_base_camera)
    errors = matches.errors
    scatter = 1.4826 * np.median(np.abs(errors - np.median(errors, axis=0)), axis=0) + 1e-6
    offset = _slope(errors / scatter, velocity / scatter, np.ones((1, len(errors))))[0]
    drawn = _slope(errors / scatter, velocity / scatter, block_resamples(len(errors)))
    return TimeOffset(float(offset), float(np.std(drawn)) if np.isfinite(drawn).all() else float("inf"))


def _of_camera(twists: np.ndarray, T_base_camera: np.ndarray) -> np.ndarray:
    """Velocities (N, 6) of the base as those of the camera, along and about its own axes."""
    turned, lever = inverse(T_base_camera)[:3, :3], T_base_camera[:3, 3]
    return np.hstack([(twists[:, :3] + np.cross(twists[:, 3:], lever)) @ turned.T, twists[:, 3:] @ turned.T])


def _slope(errors: np.ndarray, velocity: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """One slope [s] of errors (N, 6) over velocities (N, 6), an intercept an axis, for each row of `counts` (M, N)."""
    out = []
    for count in counts:
        weight = count[:, None] * np.ones(6)
        for _ in range(5):
            total = weight.sum(axis=0)
            v = velocity - (weight * velocity).sum(axis=0) / total
            e = errors - (weight * errors).sum(axis=0) / total
            changes = (weight * v * v).sum()
            if changes < 1e-6 * len(errors):
                return np.full(len(counts), np.inf)
            slope = (weight * v * e).sum() / changes
            # Cauchy weights: an image gone astray is ten scatters off
            weight = count[:, None] / (1 + ((e - slope * v) / 3) ** 2)
        out.append(slope)
    return np.array(out)
