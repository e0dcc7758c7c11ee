# SPDX-License-Identifier: Apache-2.0
"""The transforms of one child frame over time."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from .exceptions import ExtrapolationException


class TimeCache:
    """Transforms of one child frame into its parent, in order of time; a static one holds for ever."""

    def __init__(self, length_ns: int, static: bool):
        self.static = static
        self._length_ns = length_ns
        self._entries: list[tuple[int, str, np.ndarray, np.ndarray]] = []

    def insert(self, stamp: int, parent: str, translation: np.ndarray, quaternion: np.ndarray) -> None:
        """Stores one transform, unless it is older than the cache is long.

        As in tf2 what is too old goes before, not after: one old transform more may stay.
        """
        if self.static:
            self._entries = [(0, parent, translation, quaternion)]
            return
        if self._entries:
            oldest = self._entries[-1][0] - self._length_ns
            del self._entries[: bisect_left(self._entries, oldest, key=_stamp)]
            if stamp < oldest:
                return
        entry = (stamp, parent, translation, quaternion)
        index = bisect_left(self._entries, stamp, key=_stamp)
        if index < len(self._entries) and self._entries[index][0] == stamp:
            self._entries[index] = entry
        else:
            insort(self._entries, entry, key=_stamp)

    def clear(self) -> None:
        """Forgets everything, unless static."""
        if not self.static:
            self._entries.clear()

    def parent(self) -> str | None:
        """The parent in the newest transform, if there is any."""
        return self._entries[-1][1] if self._entries else None

    def latest(self) -> int | None:
        """The newest stamp [ns]."""
        return self._entries[-1][0] if self._entries else None

    def at(self, stamp: int) -> np.ndarray:
        """The transform (4, 4) at a time [ns], linear and spherical interpolation; raises ExtrapolationException."""
        if self.static:
            return _matrix(self._entries[0])
        index = bisect_left(self._entries, stamp, key=_stamp)
        if index < len(self._entries) and self._entries[index][0] == stamp:
            return _matrix(self._entries[index])
        first, last = self._entries[0][0], self._entries[-1][0]
        if len(self._entries) == 1:
            raise ExtrapolationException(
                f"Lookup would require extrapolation at time {stamp / 1e9:.6f}, but only time {first / 1e9:.6f} is "
                "in the buffer"
            )
        if index == len(self._entries):
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the future.  Requested time {stamp / 1e9:.6f} but the "
                f"latest data is at time {last / 1e9:.6f}"
            )
        if index == 0:
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the past.  Requested time {stamp / 1e9:.6f} but the "
                f"earliest data is at time {first / 1e9:.6f}"
            )
        return _interpolate(self._entries[index - 1], self._entries[index], stamp)


def _stamp(entry: tuple) -> int:
    return entry[0]


def _matrix(entry: tuple) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(entry[3]).as_matrix()
    matrix[:3, 3] = entry[2]
    return matrix


def _interpolate(before: tuple, after: tuple, stamp: int) -> np.ndarray:
    if before[1] != after[1]:  # the parent changed in between: upstream takes the older one
        return _matrix(before)
    fraction = (stamp - before[0]) / (after[0] - before[0])
    rotation = Slerp([0.0, 1.0], Rotation.from_quat([before[3], after[3]]))(fraction)
    return _matrix((stamp, before[1], (1 - fraction) * before[2] + fraction * after[2], rotation.as_quat()))
