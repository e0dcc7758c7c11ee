# SPDX-License-Identifier: Apache-2.0
"""Poses over time, and poses between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ..errors import InputError
from ..geometry import distance_along

_STEP_NS = 50_000_000


@dataclass(frozen=True)
class Trajectory:
    """The pose of one frame in another over time."""

    stamps_ns: np.ndarray
    """(N,) int64, nanoseconds, strictly increasing."""
    poses: np.ndarray
    """(N, 4, 4) float64, T_parent_child."""

    def __post_init__(self):
        stamps = np.asarray(self.stamps_ns, dtype=np.int64)
        poses = np.asarray(self.poses, dtype=np.float64)
        if stamps.ndim != 1 or poses.shape != (len(stamps), 4, 4):
            raise InputError(f"trajectory of {stamps.shape} stamps has poses of shape {poses.shape}")
        if not len(stamps):
            raise InputError("trajectory has no poses, expected at least one")
        if not np.isfinite(poses).all():
            bad = int(np.flatnonzero(~np.isfinite(poses).all(axis=(1, 2)))[0])
            raise InputError(f"pose {bad} of the trajectory (stamp {stamps[bad]} ns) is not finite")
        if (np.diff(stamps) <= 0).any():
            bad = int(np.flatnonzero(np.diff(stamps) <= 0)[0])
            raise InputError(f"stamps of the trajectory do not increase: {stamps[bad]} then {stamps[bad + 1]} ns")
        object.__setattr__(self, "stamps_ns", stamps)
        object.__setattr__(self, "poses", poses)

    @classmethod
    def sorted(cls, stamps_ns, poses) -> Trajectory:
        """A trajectory from poses in any order; of equal stamps the last one counts."""
        latest = {int(stamp): pose for stamp, pose in zip(stamps_ns, poses, strict=True)}
        stamps = np.array(sorted(latest), dtype=np.int64)
        return cls(stamps, np.array([latest[int(s)] for s in stamps]).reshape(-1, 4, 4))

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @property
    def length_m(self) -> float:
        """Distance driven, metres; standing adds nothing."""
        return float(distance_along(self.poses[:, :3, 3])[-1])

    def covers(self, stamps_ns, slack_ns: int = 0) -> np.ndarray:
        """Which stamps lie within the trajectory, or at most `slack_ns` outside of it: bool, same shape."""
        stamps = np.asarray(stamps_ns, dtype=np.int64)
        return (stamps >= self.stamps_ns[0] - slack_ns) & (stamps <= self.stamps_ns[-1] + slack_ns)

    def between(self, first_ns: int, last_ns: int) -> Trajectory:
        """The poses from one stamp to another, and those next to them on either side, to interpolate with."""
        start = max(int(np.searchsorted(self.stamps_ns, first_ns, side="right")) - 1, 0)
        stop = int(np.searchsorted(self.stamps_ns, last_ns)) + 1
        return Trajectory(self.stamps_ns[start:stop], self.poses[start:stop])

    def at(self, stamps_ns) -> np.ndarray:
        """The poses (..., 4, 4) at stamps (...): straight lines and even turns between the known poses.

        Before the first and after the last pose the motion of the nearest steps, of `_STEP_NS` at least, goes on;
        callers that mind ask `covers` first.
        """
        wanted = np.asarray(stamps_ns, dtype=np.int64)
        flat = wanted.ravel()
        if len(self) == 1:
            return np.broadcast_to(self.poses[0], (*wanted.shape, 4, 4)).copy()
        i = np.clip(np.searchsorted(self.stamps_ns, flat, side="right") - 1, 0, len(self) - 2)
        j = i + 1
        # two poses at almost the same time tell no speed
        first, last = self.stamps_ns[0], self.stamps_ns[-1]
        j[flat < first] = min(np.searchsorted(self.stamps_ns, first + _STEP_NS), len(self) - 1)
        i[flat > last] = max(np.searchsorted(self.stamps_ns, last - _STEP_NS, side="right") - 1, 0)
        t0, t1 = self.stamps_ns[i], self.stamps_ns[j]
        w = (flat - t0) / (t1 - t0)
        before, after = (Rotation.from_matrix(self.poses[k, :3, :3]) for k in (i, j))
        turn = (before.inv() * after).as_rotvec()
        out = np.tile(np.eye(4), (len(flat), 1, 1))
        out[:, :3, :3] = (before * Rotation.from_rotvec(turn * w[:, None])).as_matrix()
        p0, p1 = self.poses[i, :3, 3], self.poses[j, :3, 3]
        out[:, :3, 3] = p0 + w[:, None] * (p1 - p0)
        return out.reshape(*wanted.shape, 4, 4)

    def moved(self, T_child_new: np.ndarray) -> Trajectory:
        """The same motion of another frame fixed to the child."""
        return Trajectory(self.stamps_ns, self.poses @ T_child_new)
