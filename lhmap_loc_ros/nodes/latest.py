# SPDX-License-Identifier: Apache-2.0
"""Between the callbacks and the worker: keeps the newest image, and all odometry."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..localization.image_order import TIME_JUMP_S
from ..localization.motion import SECOND_NS
from ..localization.stamp_sets import StampSet, StampSets

ODOMETRY_WAIT_S = 0.1
"""An image waits at most so long for odometry that is not older than it: drivers send it some tens of ms late."""
SILENT_S = 0.5
"""Odometry that has not come for so long, on the steady clock, is not waited for."""


@dataclass(frozen=True)
class Frame:
    """An image as it arrived."""

    stamp_ns: int
    data: bytes
    """sensor_msgs Image or CompressedImage, as it was sent."""
    camera: str = ""
    """Name of the camera, where there are several."""
    frame_id: str = ""
    """The camera's optical frame."""
    arrived: float = field(default_factory=time.monotonic)
    """Steady clock, seconds."""


class Mailbox:
    """Callbacks put, one worker takes. Images not taken in time are dropped and counted; odometry is kept for long."""

    def __init__(self, cameras: Sequence[str] = ("",)):
        """The names of all cameras that send images."""
        self._changed = threading.Condition()
        self._sets: StampSets[Frame] = StampSets(cameras)
        self._waiting: list[dict[str, Frame]] = []  # complete sets, in the order to take them, by camera
        self._odometry: deque[tuple[int, np.ndarray]] = deque(maxlen=10_000)
        self._odometry_ns, self._odometry_came = -1, -math.inf
        self._behind: tuple[int, float] | None = None  # an image that odometry did not reach: stamp, asked at
        self._lag_s = 0.0  # so long odometry let the last such image wait
        self._closed = False
        self.came = -math.inf
        """When the last image came, steady clock [s]."""
        self.received = 0
        """Images that came."""
        self.dropped = 0
        """Images that no worker took: a newer one came before, they came late, or the node was deactivated."""

    def put_image(self, frame: Frame) -> None:
        """An image; with those of the same moment it takes the place of older ones of the same cameras."""
        with self._changed:
            self.received += 1
            self.came = frame.arrived
            late = self._sets.late
            self._keep(self._sets.put(frame.camera, frame.stamp_ns, frame, frame.arrived))
            self.dropped += self._sets.late - late
            self._changed.notify_all()

    def _keep(self, sets: list[StampSet[Frame]]) -> None:
        for _, frames in sets:
            older = [waiting for waiting in self._waiting if waiting.keys() <= frames.keys()]
            self._waiting = [waiting for waiting in self._waiting if waiting not in older] + [frames]
            self.dropped += sum(map(len, older))

    def drop_images(self) -> None:
        """Lets go of the images that wait."""
        with self._changed:
            waiting = [*self._waiting, *(frames for _, frames in self._sets.flush())]
            self.dropped += sum(map(len, waiting))
            self._waiting = []

    def put_odometry(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """Queues a pose (4, 4) of base_link in the odometry frame."""
        with self._changed:
            if stamp_ns < self._odometry_ns - TIME_JUMP_S * SECOND_NS:  # what it was late for is of the clock before
                self._behind, self._lag_s = None, 0.0
            self._odometry.append((stamp_ns, T_odom_base))
            self._odometry_ns, self._odometry_came = stamp_ns, time.monotonic()
            if self._behind is not None and stamp_ns >= self._behind[0]:
                self._lag_s, self._behind = self._odometry_came - self._behind[1], None
            self._changed.notify_all()

    def take_images(self) -> list[Frame]:
        """Waits for an image, and for those that other cameras took at the same moment, see `StampSets`.

        In the order of the cameras; none once closed.
        """
        with self._changed:
            while not self._closed:
                self._keep(self._sets.overdue(time.monotonic()))
                if self._waiting:
                    return list(self._waiting.pop(0).values())
                deadline_s = self._sets.deadline_s
                self._changed.wait(None if deadline_s is None else max(deadline_s - time.monotonic(), 0.0))
            return []

    def waiting_images(self) -> list[Frame]:
        """Those that `take_images` would give now, which stay; none where it would wait."""
        with self._changed:
            return list(self._waiting[0].values()) if self._waiting else []

    def take_odometry(self, until_ns: int, wait_s: float) -> list[tuple[int, np.ndarray]]:
        """All odometry that came, after waiting at most `wait_s` for one that is not older than `until_ns`.

        Without a wait where none has come for `SILENT_S`: there is no odometry, or none any more; and where
        the wait would have been in vain of late: odometry comes too late, or too seldom.
        """
        with self._changed:
            asked = time.monotonic()
            lag_s = self._lag_s if self._behind is None else max(self._lag_s, asked - self._behind[1])
            if self._odometry_ns < until_ns and self._behind is None:
                self._behind = until_ns, asked
            if asked < self._odometry_came + SILENT_S and lag_s <= wait_s:
                self._changed.wait_for(lambda: self._odometry_ns >= until_ns or self._closed, timeout=wait_s)
            taken = list(self._odometry)
            self._odometry.clear()
            return taken

    def close(self) -> None:
        """Lets the worker end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
