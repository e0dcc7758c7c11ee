# SPDX-License-Identifier: Apache-2.0
"""Where in the map a place is looked for: around GPS fixes, or around a pose that is roughly known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..geometry import inverse
from .motion import SECOND_NS

SIGMAS = 4.0
"""The region reaches so many standard deviations around what was told."""
MIN_RADIUS_M = 25.0
"""And so far at least: receivers between houses believe themselves more than they should."""
UNKNOWN_SIGMA_M = 15.0
"""Of a fix that does not tell how good it is."""
FIX_AGE_S = 5.0
"""Older fixes tell nothing."""
SPEED_MPS = 20.0
"""How fast a robot moves away from what was told, where no odometry tells."""


@dataclass(frozen=True)
class Region:
    """Where a robot may be, as told by a GPS fix or a person."""

    center: tuple[float, float]
    """x, y [m], map frame."""
    radius_m: float


@dataclass(frozen=True)
class _Told:
    position: np.ndarray
    radius_m: float
    stamp_ns: int
    T_odom_base: np.ndarray | None


class SearchArea:
    """Remembers what was told last, and how far the robot may be from it since."""

    def __init__(self) -> None:
        self._fix: _Told | None = None
        self._around: _Told | None = None

    def add_fix(
        self, stamp_ns: int, position: np.ndarray, sigma_m: float | None, T_odom_base: np.ndarray | None
    ) -> None:
        """A GPS fix: position (3,) in the map with its standard deviation [m]; None or not finite: not known.

        `T_odom_base` (4, 4) is the pose in the odometry frame at the stamp, None where odometry does not tell.
        """
        if sigma_m is None or not np.isfinite(sigma_m):
            sigma_m = UNKNOWN_SIGMA_M
        self._fix = _told(stamp_ns, position, sigma_m, T_odom_base)

    def set_around(self, stamp_ns: int, position: np.ndarray, sigma_m: float, T_odom_base: np.ndarray | None) -> None:
        """What a person said, as in `add_fix`; it counts more than fixes, until `clear`."""
        self._around = _told(stamp_ns, position, sigma_m, T_odom_base)

    def clear(self) -> None:
        """The robot knows where it is."""
        self._around = None

    def forget_odometry(self) -> None:
        """The odometry began anew: how far the robot moved since is not known by it."""
        self._fix = None if self._fix is None else replace(self._fix, T_odom_base=None)
        self._around = None if self._around is None else replace(self._around, T_odom_base=None)

    def at(self, stamp_ns: int, T_odom_base: np.ndarray | None) -> Region | None:
        """Where the robot may be at a stamp [ns], at a pose (4, 4) in the odometry frame; None: anywhere."""
        told = self._around
        if told is None and self._fix is not None and abs(stamp_ns - self._fix.stamp_ns) <= FIX_AGE_S * SECOND_NS:
            told = self._fix
        if told is None:
            return None
        if T_odom_base is None or told.T_odom_base is None:
            moved_m = SPEED_MPS * abs(stamp_ns - told.stamp_ns) / SECOND_NS
        else:
            moved_m = float(np.linalg.norm((inverse(told.T_odom_base) @ T_odom_base)[:2, 3]))
        x, y = told.position[:2].tolist()
        return Region((x, y), told.radius_m + moved_m)


def _told(stamp_ns: int, position: np.ndarray, sigma_m: float, T_odom_base: np.ndarray | None) -> _Told:
    return _Told(np.asarray(position, float), max(SIGMAS * sigma_m, MIN_RADIUS_M), stamp_ns, T_odom_base)
