# SPDX-License-Identifier: Apache-2.0
"""Finding the pose that a run starts from, and that a lost one goes on from, in a whole map."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from ..errors import InputError, MapFormatError, ModelError
from ..geometry import Images, inverse
from ..localization.motion import SECOND_NS
from ..localization.relocalize import UNSURE, PoseHypothesis, RelocalizerName
from ..localization.search_area import Region
from ..localization.visual_odometry import MotionFrom, VisualOdometry
from .database import SECTION
from .hypotheses import BETWEEN_M
from .locate import PlaceFinder, VerifiedSearch, check_places

if TYPE_CHECKING:
    from ..lhmap import LHMap
    from ..localization.estimate import PosedCamera
    from ..localization.refine import Refiner
    from ..scenes.locate import SceneFinder

_log = logging.getLogger(__name__)
FURTHER_M, SLOW_S = 5.0, 3.0
"""An image is looked at so far beyond the one before: nearer ones look the same and say the same of every place. A slow
robot's after so many seconds, if it is at least `BETWEEN_M` further on."""
AUTO, PLACES, BEST = "auto", "places", "coordinates"
RELOCALIZERS = get_args(RelocalizerName)
"""How a place can be found in the whole map."""
PERIOD_S = 0.5
"""Least time between two images that are looked at without odometry."""


class StartSearch:
    """Hears of images until one says where the robot is; those that show nothing new are passed over."""

    def __init__(self, finder: PlaceFinder | SceneFinder, places: PlaceFinder | None = None):
        """With `places` a `SceneFinder`'s candidates and theirs are looked at, half of each."""
        self._search: VerifiedSearch
        if places is None or isinstance(finder, PlaceFinder):
            self._search = finder.search()
        else:
            self._search = finder.search(places)
        self._looked_at_ns: int | None = None
        self._looked_from: np.ndarray | None = None
        self._visual, self._follows = VisualOdometry(finder.verifier.map), False

    @classmethod
    def in_map(cls, lhmap: LHMap, refiner: Refiner, relocalizer: str = AUTO) -> StartSearch:
        """With the shipped networks, by one of `RELOCALIZERS`; auto: coordinates and places, as the map has them.

        Raises InputError for a map without what the relocalizer needs, MapFormatError for what cannot be used (auto
        tells it in the log and takes the other, where the map has it), and ModelError.
        """
        from ..scenes.locate import SceneFinder
        from .describe import PlaceDescriber

        if relocalizer not in RELOCALIZERS:
            raise InputError(f"relocalizer {relocalizer!r} found, expected one of {', '.join(RELOCALIZERS)}")
        learned = None
        if relocalizer == AUTO:
            if lhmap.has_section(BEST):
                try:
                    learned = SceneFinder(lhmap, refiner, BEST)
                except (MapFormatError, ModelError) as error:
                    if not lhmap.has_section(SECTION):
                        raise
                    _log.warning("%s; places are taken instead", error)
            if learned is not None and not lhmap.has_section(SECTION):
                return cls(learned)
        elif relocalizer != PLACES:
            return cls(SceneFinder(lhmap, refiner, relocalizer))
        check_places(lhmap)
        try:
            places = PlaceFinder(lhmap, refiner, PlaceDescriber())
        except (MapFormatError, ModelError) as error:
            if learned is None:
                raise
            _log.warning("%s; what was learned is taken alone", error)
            return cls(learned)
        return cls(places) if learned is None else cls(learned, places=places)

    @staticmethod
    def possible_in(lhmap: LHMap, relocalizer: str | None = None) -> bool:
        """Whether a map has what one of `RELOCALIZERS` needs, None: what any of them needs; whatever is in it."""
        # sections are named as what reads them
        needed = RELOCALIZERS if relocalizer is None else (BEST, PLACES) if relocalizer == AUTO else (relocalizer,)
        return any(lhmap.has_section(name) for name in needed)

    @property
    def images(self) -> int:
        """How many were looked at since the search began."""
        return self._search.images

    def restart(self) -> None:
        """Forgets all images: the robot is known to be somewhere."""
        self._search.restart()
        self._looked_at_ns = self._looked_from = None
        self._visual.forget()

    def forget_odometry(self) -> None:
        """See `PlaceSearch`."""
        self._looked_from = None

    def find(
        self, stamp_ns: int, image: Images, camera: PosedCamera, T_odom_base: np.ndarray | None,
        should_continue: Callable[[], bool] = lambda: True, region: Region | None = None,
    ) -> PoseHypothesis | None:  # fmt: skip
        """The pose to start from at this image, None while it is not known. See `VerifiedSearch.process_image`.

        Without odometry (None) the images tell how the robot moved, all that are told here or to `follow`.
        """
        if T_odom_base is None and not self._visual.follow(stamp_ns, image, camera):
            return None  # where it was taken the images of the camera that is followed do not tell
        if not self._is_new(stamp_ns, T_odom_base):
            return None
        motion = self._motion_to(T_odom_base)
        self._looked_at_ns, self._looked_from = stamp_ns, T_odom_base
        self._follows = T_odom_base is None
        try:
            found = self._search.process_image(image, camera, motion, region, should_continue)
        finally:
            self._follows = False
        return None if found is None else replace(found, covariance=found.covariance + UNSURE)

    @property
    def follows(self) -> bool:
        """Whether `find` looks at an image, without odometry: the images that come meanwhile are to be followed."""
        return self._follows

    def follow(self, stamp_ns: int, image: Images, camera: PosedCamera) -> None:
        """An image that came while another was looked at, which tells how a robot without odometry moves on.

        For another thread than the one that is in `find`.
        """
        self._visual.follow(stamp_ns, image, camera)

    def moved_on(self, T_map_base: np.ndarray) -> tuple[int, np.ndarray] | None:
        """How a robot without odometry that was at a pose (4, 4) where the last image looked at was taken moved on.

        The stamp [ns] of the last image that was followed, and T_before_now (4, 4) until then; None: not known.
        """
        if self._looked_at_ns is None or self._looked_from is not None:
            return None
        stamp_ns, motion = self._visual.since_mark()
        way = motion(T_map_base) if stamp_ns > self._looked_at_ns else None
        return None if way is None else (stamp_ns, way)

    def _motion_to(self, T_odom_base: np.ndarray | None) -> MotionFrom | None:
        """Since the last image that was looked at."""
        if T_odom_base is None:
            _, motion = self._visual.since_mark()
            self._visual.mark()
            # images were not followed while there was odometry
            return motion if self._looked_from is None else None
        self._visual.forget()
        if self._looked_from is None:
            return None
        way = inverse(self._looked_from) @ T_odom_base
        return lambda _: way

    def _is_new(self, stamp_ns: int, T_odom_base: np.ndarray | None) -> bool:
        if self._looked_at_ns is None:
            return True
        # stamps may go back, as where a bag is played again
        seconds = abs(stamp_ns - self._looked_at_ns) / SECOND_NS
        if T_odom_base is None or self._looked_from is None:
            return seconds >= PERIOD_S
        metres = float(np.linalg.norm((inverse(self._looked_from) @ T_odom_base)[:3, 3]))
        return metres >= (BETWEEN_M if seconds >= SLOW_S else FURTHER_M)
