# SPDX-License-Identifier: Apache-2.0
"""Which images of several cameras were taken at the same moment: no clock, no threads, no ROS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")

SAME_NS = 5_000_000
"""Stamps no further apart are of one moment: at 10 m/s the robot moves 5 cm."""
PATIENCE_S = 0.03
"""A set waits no longer than this for a camera that is missing."""
MAX_MISSED = 3
"""A camera that missed so many sets in a row is not waited for until it comes again."""
DUE_SHARE = 0.75
"""A camera is due after this share of its period."""
JUMP_NS = 1_000_000_000
"""Stamps that far behind the last set are those of a clock that began anew."""


class StampSet(NamedTuple, Generic[Item]):
    """What belongs to one moment."""

    stamp_ns: int
    """The earliest of its stamps."""
    items: dict[str, Item]
    """By camera, in the order of the cameras; one at least."""


class _Open(Generic[Item]):
    """A set that may still grow."""

    def __init__(self, stamp_ns: int, arrived_s: float):
        self.stamp_ns, self.arrived_s = stamp_ns, arrived_s
        self.items: dict[str, Item] = {}


class StampSets(Generic[Item]):
    """Hands out sets in order of their stamps; what comes later than that is dropped and counted.

    A set is handed out as soon as nothing more can be expected of any camera: it has its part, is ahead in time, is not
    due yet by its own rate, or has been silent. Else once a camera of the set sends its next image, or after
    `PATIENCE_S`, so that no camera ever holds up the others.
    """

    def __init__(self, cameras: Sequence[str]):
        self._cameras = tuple(cameras)
        self.late = 0
        """How many came after a later set was handed out."""
        self.clear()

    def clear(self) -> None:
        """Forgets everything, as after a jump of the clock."""
        self._open: list[_Open[Item]] = []
        self._last_ns: dict[str, int] = {}
        self._period_ns = dict.fromkeys(self._cameras, 0)
        self._missed = dict.fromkeys(self._cameras, 0)
        self._handed_ns: int | None = None

    def put(self, camera: str, stamp_ns: int, item: Item, now_s: float = 0.0) -> list[StampSet[Item]]:
        """Takes what a camera sent; gives the sets that are complete by now. `now_s` is of any steady clock."""
        if self._handed_ns is not None and stamp_ns < self._handed_ns - JUMP_NS:
            self.clear()
        if camera in self._last_ns:
            self._learn_period(camera, stamp_ns - self._last_ns[camera])
        self._last_ns[camera] = stamp_ns
        if self._handed_ns is not None and abs(stamp_ns - self._handed_ns) <= SAME_NS:
            self._missed[camera] = 0  # it missed the set by little: worth waiting for
        if self._handed_ns is not None and stamp_ns < self._handed_ns:
            self.late += 1
            return []
        self._set_for(camera, stamp_ns, now_s).items[camera] = item
        return self._hand_out(self._is_complete)

    def overdue(self, now_s: float) -> list[StampSet[Item]]:
        """The sets that have waited long enough."""
        return self._hand_out(lambda waiting: now_s >= waiting.arrived_s + PATIENCE_S)

    def flush(self) -> list[StampSet[Item]]:
        """All that is left, at the end."""
        return self._hand_out(lambda waiting: True)

    @property
    def deadline_s(self) -> float | None:
        """When to ask for what is `overdue`; None while nothing waits."""
        return min((waiting.arrived_s + PATIENCE_S for waiting in self._open), default=None)

    def _learn_period(self, camera: str, gap_ns: int) -> None:
        """A gap of a few lost images is no new rate, a smaller one is."""
        known = self._period_ns[camera]
        grown = known + (min(gap_ns, 2 * known) - known) // 4
        self._period_ns[camera] = gap_ns if not known or gap_ns < known else grown

    def _set_for(self, camera: str, stamp_ns: int, now_s: float) -> _Open[Item]:
        """The set of this moment that lacks the camera, a new one where there is none."""
        for waiting in self._open:
            if abs(waiting.stamp_ns - stamp_ns) <= SAME_NS and camera not in waiting.items:
                waiting.stamp_ns = min(waiting.stamp_ns, stamp_ns)
                return waiting
        self._open.append(_Open(stamp_ns, now_s))
        self._open.sort(key=lambda waiting: waiting.stamp_ns)
        return next(waiting for waiting in self._open if waiting.stamp_ns == stamp_ns and not waiting.items)

    def _is_complete(self, waiting: _Open[Item]) -> bool:
        goes_on = any(self._last_ns[camera] > waiting.stamp_ns + SAME_NS for camera in waiting.items)
        return goes_on or not any(
            self._is_due(camera, waiting) and self._missed[camera] < MAX_MISSED for camera in self._cameras
        )

    def _is_due(self, camera: str, waiting: _Open[Item]) -> bool:
        """Whether a camera that has no part in a set should have."""
        if camera in waiting.items:
            return False
        if camera not in self._last_ns:
            return True
        since_ns = waiting.stamp_ns - self._last_ns[camera]
        return since_ns > SAME_NS and since_ns >= DUE_SHARE * self._period_ns[camera]

    def _hand_out(self, wanted: Callable[[_Open[Item]], bool]) -> list[StampSet[Item]]:
        """The sets up to the last wanted one."""
        count = max((k + 1 for k, waiting in enumerate(self._open) if wanted(waiting)), default=0)
        out, self._open = self._open[:count], self._open[count:]
        return list(map(self._handed, out))

    def _handed(self, waiting: _Open[Item]) -> StampSet[Item]:
        for camera in self._cameras:
            if self._is_due(camera, waiting):
                self._missed[camera] += 1
            elif camera in waiting.items:
                self._missed[camera] = 0
        self._handed_ns = waiting.stamp_ns
        in_order = {camera: waiting.items[camera] for camera in self._cameras if camera in waiting.items}
        return StampSet(waiting.stamp_ns, in_order)
