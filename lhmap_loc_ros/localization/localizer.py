# SPDX-License-Identifier: Apache-2.0
"""Where a robot is in a map, image by image: tracking, odometry, start poses and finding a lost place in one object."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..configuration import Config
from ..errors import InputError, LhmapError, MapFormatError
from ..geometry import Images
from ..lhmap import LHMap
from .estimate import PosedCamera, PoseEstimate
from .motion import SECOND_NS
from .refine import Refiner, RefinerConfig
from .relocalize import (
    RELOCALIZER,
    PlaceSearch,
    PoseHypothesis,
    Recovery,
    RelocalizeConfig,
    Relocalizer,
    RelocalizerName,
)
from .search_area import SearchArea
from .start import StartPose, start_covariance
from .states import Search, TrackState
from .submap_cache import MIN_SUBMAP_POINTS, SUBMAP_RADIUS_M
from .tracker import Tracker, TrackerConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _MovedOn:
    """How a robot without odometry moved on while its place was found, which takes seconds."""

    T_map_base: np.ndarray
    """(4, 4), the place found."""
    stamp_ns: int
    """When it was there."""
    until_ns: int
    T_before_now: np.ndarray
    """(4, 4), from then until `until_ns`."""


class LocalizerConfig(Config):
    """All about localizing; one part per stage. The defaults are those of localizer_node and `lhmap localize`."""

    refiner: RefinerConfig = RefinerConfig()
    tracker: TrackerConfig = TrackerConfig()
    relocalize: RelocalizeConfig = RelocalizeConfig()
    relocalizer: RelocalizerName = RELOCALIZER


class Localizer:
    """Give it odometry if there is any, and images in order of their stamps; it tells the poses.

    It begins at a start pose; where none is known, `locate` finds it in a map with places.

    It holds the track of one robot with any number of cameras, and knows neither threads nor ROS: call it from one
    thread. Frames: `map` is that of the map file, `odom` that of the odometry, `base` the robot's (x forward, y left,
    z up), `camera` the optical frame (x right, y down, z forward). T_a_b is the pose of b in a, (4, 4).
    """

    def __init__(
        self,
        lhmap: LHMap | Path | str,
        config: LocalizerConfig | None = None,
        *,
        refiner: Refiner | None = None,
        relocalizer: Relocalizer | None = None,
        search: PlaceSearch | None = None,
        clock: Callable[[], float] | None = None,
    ):
        """A map, or the path of one, which `close` then closes.

        `relocalizer` proposes where a lost robot may be; without one, the poses of the mapping drive around the last
        good pose are. `search` finds the place in the whole map, by default as `config.relocalizer` says, with the
        shipped networks. `clock` tells the time between two such attempts [s], by default by the stamps of the images.
        `refiner` holds the networks, for several localizers to share; by default they are loaded as `config.refiner`
        says. Raises MapFormatError for a file that is no map, ModelError for networks that cannot be used.
        """
        config = config or LocalizerConfig()
        self._owns_map = isinstance(lhmap, str | Path)
        self.map = LHMap.open(lhmap) if isinstance(lhmap, str | Path) else lhmap
        """The map that poses are in."""
        try:
            self.refiner = refiner or Refiner(config.refiner)
            """Compares an image with the map, around a pose."""
        except LhmapError:
            self.close()
            raise
        self._tracker = Tracker(config.tracker, self.refiner, self.map, config.relocalize)
        self._recovery = Recovery(self.map, self.refiner, relocalizer)
        self._clock = clock
        self._search, self._searches = search, search is not None or _can_be_found_in(self.map)
        self._area = SearchArea()
        self._relocalizer_name = config.relocalizer
        self._start: StartPose | None = None
        self._moved_on: _MovedOn | None = None
        self._odometry_begun = 0
        self._problem = ""

    def _now_s(self, stamp_ns: int) -> float:
        return stamp_ns / SECOND_NS if self._clock is None else self._clock()

    def __enter__(self) -> Localizer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the map, if it was opened here."""
        if self._owns_map:
            self.map.close()

    @property
    def state(self) -> TrackState:
        """The state after the last image; INITIALIZING before the first."""
        return self._tracker.state

    def after_silence(self, age_s: float) -> TrackState | None:
        """What to tell others where the last image is so old [s]; None: nothing new.

        The state itself stays, for the next image to go on from.
        """
        row = self._tracker.health.after_silence(age_s)
        return None if row is None else row.target

    @property
    def started(self) -> bool:
        """Whether there is a start pose; without one no image is localized."""
        return self._start is not None or self._tracker.initialized

    def start(self, T_map_base: np.ndarray, covariance: np.ndarray | None = None, stamp_ns: int | None = None) -> None:
        """Start, or start anew, at a pose (4, 4), which may be some metres wrong.

        `covariance` (6, 6) tells how far: body frame of base, translation [m] first, rotation [rad]; by default one
        standard deviation is 1 m and 3 degrees. The pose is that at `stamp_ns`, from where odometry moves it on, by
        default that at the next image. Raises InputError for a pose that is not finite, a matrix that is no
        covariance, or a place where the map is empty: it is the wrong map or the wrong pose; MapFormatError where all
        tiles around are damaged.
        """
        start = StartPose(np.asarray(T_map_base), start_covariance() if covariance is None else np.asarray(covariance))
        self._check_map_around(start.T_map_base[:3, 3])
        self._area.clear()
        self._start = start
        if stamp_ns is not None:
            self._begin(start, stamp_ns)

    def search_around(self, T_map_base: np.ndarray, covariance: np.ndarray, stamp_ns: int) -> None:
        """Forget the pose, and `locate` the robot near this one (4, 4): for start poses too rough to `start` from.

        `covariance` (6, 6), body frame of base, tells how far it may be: four standard deviations are searched, and as
        much more as the robot moves meanwhile. The pose is that at `stamp_ns`. Raises InputError as `start` does for
        what is no pose or no covariance.
        """
        start = StartPose(np.asarray(T_map_base), np.asarray(covariance))
        self._start = None
        self._tracker.forget_pose()
        if self._search is not None:
            self._search.restart()
        odometry = self._tracker.odometry_at(stamp_ns)
        self._area.set_around(stamp_ns, start.T_map_base[:3, 3], start.sigma_level_m, odometry)

    def add_fix(self, stamp_ns: int, geodetic: np.ndarray, sigma_m: float | None = None) -> None:
        """A GPS fix: latitude, longitude [deg] and altitude [m] (3,); `locate` looks only around it for some seconds.

        `sigma_m` is its standard deviation, None: not known. It moves no pose, and tells nothing where the map has no
        datum. Raises InputError for a fix that is not finite.
        """
        if not np.isfinite(geodetic).all():
            raise InputError(f"a fix at {list(geodetic)} found, expected finite numbers")
        if self.map.metadata.datum is not None:
            position = self.map.metadata.datum.to_map(np.asarray(geodetic, float))
            self._area.add_fix(stamp_ns, position, sigma_m, self._tracker.odometry_at(stamp_ns))

    def locate(
        self, image: Images, camera: PosedCamera, stamp_ns: int, should_continue: Callable[[], bool] = lambda: True
    ) -> PoseHypothesis | None:
        """Where the robot is in the whole map, without a start pose; None as long as it is not known.

        Each call adds an image (H, W, 3) uint8 RGB, undistorted, to those since the robot was last known to be
        somewhere; odometry carries them on, or without any what the images show of the motion. Places away from what
        `search_around` and `add_fix` told are left out. It takes a second or two, and ends early once `should_continue`
        says no. It starts nothing: hand the place to `start`.
        Raises what `prepare_search` does, and InputError or ModelError for an image that cannot be used.
        """
        search = self._prepared_search()
        odometry = self._tracker.odometry_at(stamp_ns)
        area = self._area.at(stamp_ns, odometry)
        found = search.find(stamp_ns, image, camera, odometry, should_continue, area)
        if found is not None and odometry is None:
            moved = search.moved_on(found.T_map_base)
            if moved is not None:
                self._moved_on = _MovedOn(found.T_map_base, stamp_ns, *moved)
        return found

    def prepare_search(self) -> None:
        """Loads what `locate` needs, which else its first call does.

        Raises InputError for a map without what `config.relocalizer` needs, MapFormatError for one where it cannot be
        used, ModelError for networks that cannot be.
        """
        self._prepared_search()

    def _prepared_search(self) -> PlaceSearch:
        if self._search is None:
            from ..places.start_search import StartSearch

            self._search = StartSearch.in_map(self.map, self.refiner, self._relocalizer_name)
        return self._search

    @property
    def follows(self) -> bool:
        """Whether `follow` is of use: the place is looked for, without odometry."""
        return self._search is not None and self._search.follows

    def follow(self, image: Images, camera: PosedCamera, stamp_ns: int) -> None:
        """An image that came while `locate` looks at another, see `PlaceSearch`; for another thread."""
        if self._search is not None:
            self._search.follow(stamp_ns, image, camera)

    def add_odometry(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """A pose (4, 4) of base in the odometry frame; add what is no later than an image before the image.

        One pose later than the image as well lets odometry be interpolated at its stamp. Raises InputError for a pose
        that is not finite or older than the one before.
        """
        self._tracker.add_odometry(stamp_ns, T_odom_base)
        self._heed_odometry()

    def _heed_odometry(self) -> None:
        """Where odometry began anew, poses of before are of another frame."""
        if self._tracker.odometry_begun != self._odometry_begun:
            self._odometry_begun = self._tracker.odometry_begun
            self._area.forget_odometry()
            if self._search is not None:
                self._search.forget_odometry()

    def localize(self, image: Images, camera: PosedCamera, stamp_ns: int) -> PoseEstimate:
        """The pose at an undistorted image (H, W, 3) uint8 RGB of a camera.

        A lost robot looks for its place, now and then: that takes seconds, and the next image starts from what was
        found. Raises InputError for an image of another size than the camera's or older than the last one, LhmapError
        before `start`.
        """
        estimate = self.track(image, camera, stamp_ns)
        found = self.recover(estimate, image, camera)
        if found is not None:
            self.restart_from(found, stamp_ns)
        return estimate

    def track(self, image: Images, camera: PosedCamera, stamp_ns: int) -> PoseEstimate:
        """`localize` without looking for a lost place; for callers that publish the pose before they call `recover`."""
        camera.camera.check_image(image)
        if self._start is not None:
            self._begin(self._start, stamp_ns)
        if not self._tracker.initialized:
            raise LhmapError("no start pose was given: call start(T_map_base) first")
        return self._tracker.process_image(stamp_ns, image, camera, self._now_s(stamp_ns))

    def recover(
        self,
        estimate: PoseEstimate,
        image: Images,
        camera: PosedCamera,
        should_continue: Callable[[], bool] = lambda: True,
    ) -> PoseHypothesis | None:
        """After `track`: where a lost robot was at this image, if it is time to look and the place is found.

        First around the last good pose, then, where the map has places, anywhere in it; but where odometry drives the
        robot on, nobody has carried it there before images have fitted nothing else for `lost_after_s`. Nothing is
        found once `should_continue` says no. It changes no track: `restart_from` does.
        """
        try:
            found = self._recovery.update(estimate, image, camera, SUBMAP_RADIUS_M, should_continue)
        finally:
            if Search.NEARBY in estimate.search:
                self._tracker.health.searched(self._now_s(estimate.stamp_ns))
        if Search.EVERYWHERE not in estimate.search:
            if self._search is not None:
                self._search.restart()
        elif found is None and self._searches:
            found = self._locate_lost(image, camera, estimate.stamp_ns, should_continue)
            if not self._tracker.health.may_be_elsewhere(self._now_s(estimate.stamp_ns)):
                return None
        return found

    def _locate_lost(
        self, image: Images, camera: PosedCamera, stamp_ns: int, should_continue: Callable[[], bool]
    ) -> PoseHypothesis | None:  # fmt: skip
        """As `locate`; what goes wrong is told once, as the track may find its place without."""
        try:
            self.prepare_search()
        except LhmapError as error:
            # places of other networks, or damaged ones: the track goes on without them
            self._searches = False
            _log.warning("%s", error)
            return None
        try:
            return self.locate(image, camera, stamp_ns, should_continue)
        except LhmapError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.warning("%s", error)
            return None

    def restart_from(self, place: PoseHypothesis, stamp_ns: int) -> None:
        """Track on from a place found at an image; unlike `start`, it is not yet believed: see `RelocalizeConfig`."""
        self._initialize(place, stamp_ns)

    def _begin(self, start: StartPose, stamp_ns: int) -> None:
        self._start = None
        self._initialize(start, stamp_ns)
        self._recovery.reset(start.T_map_base)

    def _initialize(self, start: StartPose | PoseHypothesis, stamp_ns: int) -> None:
        self._tracker.initialize(stamp_ns, start.T_map_base, start.covariance)
        moved, self._moved_on = self._moved_on, None
        if moved is not None and moved.stamp_ns == stamp_ns and np.array_equal(moved.T_map_base, start.T_map_base):
            self._tracker.move_on(moved.until_ns, moved.T_before_now)

    def _check_map_around(self, position: np.ndarray) -> None:
        position, damaged = position.round(2), list[MapFormatError]()
        found = len(self.map.crop(position, SUBMAP_RADIUS_M, damaged=damaged).points)
        if found < MIN_SUBMAP_POINTS and damaged:
            raise damaged[0]
        if found < MIN_SUBMAP_POINTS:
            spanned = " to ".join(str(np.round(corner, 1).tolist()) for corner in self.map.metadata.bounds or ())
            raise InputError(
                f"{self.map.path}: {found} points within {SUBMAP_RADIUS_M:g} m of the start {position.tolist()}, "
                f"expected {MIN_SUBMAP_POINTS}; the map spans {spanned} m"
            )

    # -- for programs that run on and on

    @property
    def odometry_ns(self) -> int | None:
        """Stamp of the newest odometry; None while there is none."""
        return self._tracker.odometry_ns

    def odometry_at(self, stamp_ns: int) -> np.ndarray | None:
        """T_odom_base (4, 4) at a stamp [ns]; None where odometry does not tell."""
        return self._tracker.odometry_at(stamp_ns)

    def forget_odometry(self) -> None:
        """Forget the odometry alone, as where its clock begins anew."""
        self._tracker.forget_odometry()
        self._heed_odometry()

    def clear(self) -> None:
        """Forget pose and odometry, as after a jump of the clock; `start` starts anew."""
        self._start = self._moved_on = None
        self._tracker.clear()
        self._heed_odometry()

    def reconfigure(self, config: LocalizerConfig) -> None:
        """Takes other settings from the next image on; what was learned so far stays. Networks are not loaded anew."""
        self._tracker.reconfigure(config.tracker, config.relocalize)


def _can_be_found_in(lhmap: LHMap) -> bool:
    from ..places.start_search import StartSearch

    return StartSearch.possible_in(lhmap)
