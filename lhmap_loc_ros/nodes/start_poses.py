# SPDX-License-Identifier: Apache-2.0
"""Where the track begins: what a user says, what is known, and what the images show, each in its turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from sensor_msgs.msg import NavSatFix

from ..datasets.decoding import decode_fix
from ..errors import InputError
from ..lhmap import LHMap
from ..localization.localizer import Localizer
from ..localization.relocalize import PoseHypothesis
from ..localization.start import SEARCHED_SIGMA_M, StartPose
from . import conversions as convert
from .diagnostics import SEARCHING, WAITING, Health
from .global_localization import GlobalLocalization
from .initial_pose import InitialPose, NextStart, read_initial_pose
from .known_starts import KnownStarts
from .local_frame import LocalFrame
from .localizer_config import LocalizerConfig
from .reports import Reports


class StartPoses:
    """`on_...`, `restart` and `ask` are for the executor's threads, the rest for the worker's."""

    def __init__(
        self, node: Node, config: LocalizerConfig, lhmap: LHMap, search: GlobalLocalization, health: Health,
        reports: Reports,
    ):  # fmt: skip
        self._node, self._config, self._map = node, config, lhmap
        self._health, self._reports = health, reports
        self.known = KnownStarts(config, lhmap, partial(reports.warn, "start pose"))
        """What is known without being told: parameters, the saved pose, the last good one."""
        self.search = search
        """Finds the place in the whole map."""
        self._next = NextStart()
        self._fix: tuple[int, np.ndarray, float | None] | None = None

    def reconfigure(self, config: LocalizerConfig) -> None:
        """Takes other settings."""
        self._config = self.known.config = config

    def on_initial_pose(self, message: PoseWithCovarianceStamped, frame: LocalFrame) -> None:
        """A start pose from a user, in the map's own frame or the one it is drawn in."""
        c = self._config
        try:
            start = read_initial_pose(message, self._map, frame, c.initial_sigma_m, c.initial_sigma_deg)
        except InputError as error:
            # always: a user has just sent it, and waits
            self._health.complain(f"initialpose: {error}")
            self._node.get_logger().warning(f"initialpose: {error}")
            return
        self._say(start)

    def on_fix(self, message: NavSatFix) -> None:
        """A GPS fix, which tells where to look."""
        try:
            geodetic, sigma_m = decode_fix(message)
        except InputError as error:
            self._reports.leave_out("fix", f"fix: {error}")
            return
        self._fix = convert.to_ns(message.header.stamp), geodetic, sigma_m

    def restart(self) -> str:
        """Starts anew, at the next image, from what is known; says from what, "" if from nothing."""
        known = self.known.take()
        if known is None:
            return ""
        self._say(known)
        return f"starting from the {known.origin}"

    def ask(self, wait_s: float) -> tuple[PoseHypothesis | None, str]:
        """Waits for the place that images to come show, wherever the track is; says why there is none."""
        return self.search.ask(wait_s)

    def _say(self, start: InitialPose) -> None:
        # in this order: an asked search that has not ended yet may find a place, which this pose then replaces
        self.search.answer(None)
        self._next.put(start)

    @property
    def waits(self) -> bool:
        """Whether a start pose was given that no image has taken yet."""
        return self._next.waits

    def offer_known(self) -> None:
        """The next image starts from what is known, unless a user gives a start pose."""
        self._next.offer(self.known.take())

    def offer_after_a_jump(self, seconds: float) -> None:
        """The same, where the clock went back by so much."""
        self._next.offer(self.known.after_a_jump(seconds))

    def offer_found(self, found: PoseHypothesis | None, stamp_ns: int) -> None:
        """The next image starts from the place found at an image, unless a user gives a start pose."""
        if found is None:
            return
        if self._next.offer(InitialPose(stamp_ns, found.T_map_base, found.covariance, "found in the map", found=True)):
            self.search.answer(found)

    def begin(self, localizer: Localizer, image_ns: int, begun: Callable[[], None]) -> bool:
        """Hands to the localizer what came; False while there never was a start pose. `begun`: there is a new one."""
        fix, self._fix = self._fix, None
        if fix is not None:
            localizer.add_fix(*fix)
        initial = self._next.take()
        if initial is not None:
            stamp_ns = initial.stamp_for(image_ns)
            rough = StartPose(initial.T_map_base, initial.covariance).sigma_level_m > SEARCHED_SIGMA_M
            searched = rough and self.search.possible
            if initial.found and localizer.started:
                localizer.restart_from(PoseHypothesis(initial.T_map_base, initial.covariance), stamp_ns)
            else:
                start = localizer.search_around if searched else localizer.start
                start(initial.T_map_base, initial.covariance, stamp_ns)
            begun()
            place = np.array2string(initial.T_map_base[:3, 3], precision=2)
            what = "looking for the place around" if searched else "starting at"
            self._node.get_logger().info(f"{what} {place} m ({initial.origin})")
        return localizer.started

    def why_none(self) -> str:
        """Why an image without a start pose has no pose."""
        if self.search.problem:
            return f"{WAITING} (RViz: 2D Pose Estimate); or set initial_pose, save_pose_path ({self.search.problem})"
        return f"{SEARCHING}, {self.search.images} images looked at; initialpose would tell it"
