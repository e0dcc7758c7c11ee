# SPDX-License-Identifier: Apache-2.0
"""Where the robot is in the whole map, from its images alone: before there is a start pose, when lost, when asked."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from ..errors import LhmapError
from ..geometry import Images
from ..localization.estimate import PosedCamera
from ..localization.relocalize import PoseHypothesis
from ..localization.search_area import Region
from ..places.start_search import StartSearch

TOLD = "a start pose was given meanwhile"


class GlobalLocalization:
    """A `StartSearch` that is made when it is first needed, and whose results other threads may wait for."""

    def __init__(self, make: Callable[[], StartSearch] | None):
        """`make` may raise LhmapError: no places in the map, or no networks. None: the search is switched off."""
        self._make = make
        self._search: StartSearch | None = None
        self._asked, self._answered = False, threading.Condition()
        self._result: PoseHypothesis | None = None
        self.problem = "" if make is not None else "global_localization is false"
        """Why there is no search; empty if there is one."""

    @property
    def asked(self) -> bool:
        """Somebody waits for a place, wherever the track thinks it is."""
        return self._asked

    @property
    def images(self) -> int:
        """How many were looked at since the search began."""
        return self._search.images if self._search is not None else 0

    @property
    def possible(self) -> bool:
        """Whether there is a search; the first time its networks are loaded."""
        return self._made() is not None

    def find(
        self, stamp_ns: int, image: Images, camera: PosedCamera, T_odom_base: np.ndarray | None,
        should_continue: Callable[[], bool], region: Region | None = None,
    ) -> PoseHypothesis | None:  # fmt: skip
        """The pose to start from at this image; None as long as it is not known, or where there is no search."""
        search = self._made()
        if search is None:
            with self._answered:
                self._answered.notify_all()
            return None
        return search.find(stamp_ns, image, camera, T_odom_base, should_continue, region)

    def forget_odometry(self) -> None:
        """See `PlaceSearch`."""
        if self._search is not None:
            self._search.forget_odometry()

    @property
    def follows(self) -> bool:
        """See `PlaceSearch`."""
        return self._search is not None and self._search.follows

    def follow(self, stamp_ns: int, image: Images, camera: PosedCamera) -> None:
        """See `PlaceSearch`."""
        if self._search is not None:
            self._search.follow(stamp_ns, image, camera)

    def moved_on(self, T_map_base: np.ndarray) -> tuple[int, np.ndarray] | None:
        """See `PlaceSearch`."""
        return None if self._search is None else self._search.moved_on(T_map_base)

    def restart(self) -> None:
        """Forgets the images so far: it is known where the robot is."""
        if self._search is not None and not self._asked:
            self._search.restart()

    def ask(self, wait_s: float) -> tuple[PoseHypothesis | None, str]:
        """The place found from images to come; None after `wait_s`, or where the search has ended, and why."""
        before = self.images
        with self._answered:
            self._asked, self._result = True, None
            self._answered.wait_for(lambda: not self._asked or self.problem, wait_s)
            late, self._asked = self._asked, False
            if self._result is not None:
                return self._result, ""
            looked = max(self.images - before, 0)
            in_vain = f"not found within {wait_s:.0f} s: {looked} images looked at" if late else TOLD
            return None, self.problem or in_vain

    def answer(self, found: PoseHypothesis | None) -> None:
        """Those who wait are told where the track begins anew; None: a start pose was given."""
        with self._answered:
            if self._asked:
                self._asked, self._result = False, found
                self._answered.notify_all()

    def give_up(self) -> None:
        """Those who wait get no answer: the session ends."""
        with self._answered:
            self.problem = self.problem or "the localizer was shut down"
            self._answered.notify_all()

    def _made(self) -> StartSearch | None:
        if self._search is None and self._make is not None and not self.problem:
            try:
                self._search = self._make()
            except LhmapError as error:
                self.problem = str(error)
        return self._search
