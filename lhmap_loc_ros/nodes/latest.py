# SPDX-License-Identifier: Apache-2.0
"""Between the callbacks and the worker: keeps the newest image, and all odometry."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ..localization.stamp_sets import MAX_MISSED, PATIENCE_S, SAME_NS

LATE_NS = 1_000_000_000
"""An image older than the one that waits by less comes late; by more, the clock may have gone back."""
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

    def __init__(self):
        self._changed = threading.Condition()
        self._frames: dict[str, Frame] = {}
        self._last_ns: dict[str, int] = {}  # of each camera that sent an image
        self._missed: dict[str, int] = {}  # of those that took images together with another: how often not, since
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
        """Images that no worker took: a newer one came before, or nobody wanted them any more."""

    def put_image(self, frame: Frame) -> None:
        """Replaces the waiting image of the same camera, unless that is the newer one."""
        with self._changed:
            self.received += 1
            self.came = frame.arrived
            waiting = self._frames.get(frame.camera)
            self.dropped += waiting is not None
            if waiting is None or not 0 <= waiting.stamp_ns - frame.stamp_ns < LATE_NS:
                self._frames[frame.camera] = frame
            for other, stamp_ns in self._last_ns.items():
                if other != frame.camera and abs(stamp_ns - frame.stamp_ns) <= SAME_NS:
                    self._missed[frame.camera] = self._missed[other] = 0
            self._last_ns[frame.camera] = frame.stamp_ns
            self._changed.notify_all()

    def drop_images(self) -> None:
        """Lets go of the images that wait."""
        with self._changed:
            self.dropped += len(self._frames)
            self._frames.clear()

    def put_odometry(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """Queues a pose (4, 4) of base_link in the odometry frame."""
        with self._changed:
            self._odometry.append((stamp_ns, T_odom_base))
            self._odometry_ns, self._odometry_came = stamp_ns, time.monotonic()
            if self._behind is not None and stamp_ns >= self._behind[0]:
                self._lag_s, self._behind = self._odometry_came - self._behind[1], None
            self._changed.notify_all()

    def take_images(self) -> list[Frame]:
        """Waits for an image, of several cameras the one that was taken first; none once closed.

        With it come those that other cameras took at the same moment. A camera that does so as a rule is waited for,
        `PATIENCE_S` at most; one that has missed some sets is not, until it comes again.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed)
            self._changed.wait_for(lambda: self._closed or not self._is_incomplete(), timeout=PATIENCE_S)
            if self._closed:
                return []
            taken = self._of_one_moment()
            for camera in self._missed:
                if camera not in taken:
                    self._missed[camera] += 1
            for camera in taken:
                del self._frames[camera]
            return list(taken.values())

    def _of_one_moment(self) -> dict[str, Frame]:
        """The waiting images that belong to the one that was taken first, by camera."""
        if not self._frames:
            return {}
        first_ns = min(frame.stamp_ns for frame in self._frames.values())
        return {c: frame for c, frame in sorted(self._frames.items()) if frame.stamp_ns <= first_ns + SAME_NS}

    def _is_incomplete(self) -> bool:
        """Whether an image of another camera, of the same moment, may be on its way."""
        found = self._of_one_moment()
        if not found or not found.keys() & self._missed.keys():
            return not found
        stamp_ns = min(frame.stamp_ns for frame in found.values())
        return any(
            missed < MAX_MISSED and camera not in found and self._last_ns[camera] < stamp_ns - SAME_NS
            for camera, missed in self._missed.items()
        )

    def take_odometry(self, until_ns: int, wait_s: float) -> list[tuple[int, np.ndarray]]:
        """All odometry that came, after waiting at most `wait_s` for one that is not older than `until_ns`.

        Without a wait where none has come for `SILENT_S`: nobody sends odometry, or nobody does any more; and where
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
