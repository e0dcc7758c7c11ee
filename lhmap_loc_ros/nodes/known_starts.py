# SPDX-License-Identifier: Apache-2.0
"""Start poses that need no message: the one in the parameters, and the last good one, kept for a restart."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..lhmap import LHMap
from ..localization import start
from ..localization.motion import UNKNOWN_SPEED
from ..localization.saved_pose import load_pose, save_pose
from ..outputs import check_file
from .initial_pose import InitialPose, height_at
from .localizer_config import LocalizerConfig

MAX_DRIVEN_M = 1000.0
"""A clock may go back by years; a larger standard deviation means nothing."""


class KnownStarts:
    """Takes and keeps them, by the parameters of the node."""

    def __init__(self, config: LocalizerConfig, lhmap: LHMap, warn: Callable[[str], None]):
        """`warn` is told of a file that cannot be read or written."""
        self.config, self._map, self._warn = config, lhmap, warn
        self._good: tuple[np.ndarray, np.ndarray] | None = None
        self._saved_at = -math.inf
        if config.save_pose_path:
            try:
                check_file(config.save_pose_path)
            except InputError as error:
                warn(f"save_pose_path: {error}: the pose will not be saved")

    def take(self) -> InitialPose | None:
        """That of the parameters, else the saved one, else None."""
        c = self.config
        if c.set_initial_pose:
            p = c.initial_pose
            z = p.z if p.z is not None else height_at(self._map, (p.x, p.y), 0.0)
            pose = start.given((p.x, p.y, z, math.degrees(p.yaw)), c.initial_sigma_m, c.initial_sigma_deg)
            return InitialPose(0, pose.T_map_base, pose.covariance, "parameter initial_pose")
        if not c.save_pose_path or c.always_reset_initial_pose:
            return None
        try:
            saved = load_pose(Path(c.save_pose_path), self._map)
        except InputError as error:
            self._warn(str(error))
            return None
        if saved is None:
            return None
        pose, age_s = saved.start(), time.time() - saved.saved_at
        return InitialPose(0, pose.T_map_base, pose.covariance, f"pose saved {age_s:.0f} s ago")

    def after_a_jump(self, seconds: float) -> InitialPose | None:
        """That of the parameters, as for a bag that begins again; else the last good one, else None.

        The clock went back by `seconds`: the robot may be where it was, or where a bag has it so long before.
        """
        if self.config.set_initial_pose:
            return self.take()
        if self._good is None:
            return None
        pose, covariance = self._good
        driven_m = min(UNKNOWN_SPEED * seconds, MAX_DRIVEN_M)
        driven = np.diag([driven_m**2] * 3 + [np.radians(10.0) ** 2] * 3)
        return InitialPose(0, pose, covariance + driven, "last good pose")

    def remember(self, T_map_base: np.ndarray, covariance: np.ndarray) -> None:
        """A good pose (4, 4) and its covariance (6, 6), saved as often as the parameters say."""
        self._good = T_map_base, covariance
        if time.monotonic() >= self._saved_at + 1 / self.config.save_pose_rate:
            self.save()

    def save(self) -> None:
        """Writes the last good pose, if there is one and a file is named."""
        if not self.config.save_pose_path or self._good is None:
            return
        self._saved_at = time.monotonic()
        try:
            save_pose(Path(self.config.save_pose_path), self._map, *self._good)
        except InputError as error:
            self._warn(str(error))
