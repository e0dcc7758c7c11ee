# SPDX-License-Identifier: Apache-2.0
"""Tracks the pose of a robot through a map: odometry predicts, images correct, `health` decides which.

The covariance shrinks only while TRACKING, with an accepted measurement. No threads and no ROS: the node, the offline
run and the evaluation call this one class.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..configuration import Config
from ..errors import InputError, LhmapError, ModelError
from ..geometry import Camera, Images, Rig, inverse, pose_error
from .estimate import PosedCamera, PoseEstimate
from .health import Admission, Decision, HealthMonitor, Observation, Posterior
from .manifold import inflate_to, max_std, transport_covariance
from .measurement import NOISE, MeasurementConfig, MeasurementNoise, as_measurement
from .motion import SECOND_NS, Motion, MotionConfig, MotionModel, goes_on, shown_by_images
from .pose_filter import PoseFilter
from .refine_plan import RefineMode
from .relocalize import RelocalizeConfig
from .start import StartPose
from .states import StateConfig, TrackState
from .submap_cache import MIN_SUBMAP_POINTS, SubmapCache
from .visual_odometry import VisualOdometry

if TYPE_CHECKING:
    from ..lhmap import LHMap, MapPoints
    from .refine import Refinement, Refiner


SURE_M, SURE_DEG = 0.5, 2.0
"""A prediction less sure than this is refined over the whole image: docs/tuning.md, "What is not a parameter"."""
KNOWN_M, KNOWN_DEG = 0.8, 2.5
"""A start known as well as this, as one that was found in the map, is refined from once, not from many starts."""
SEEN_S = 0.08
"""Images tell how a robot without odometry turned between two that are this far apart; nearer ones are not worth it."""
FITS_SHARE = 0.7
"""So is one after an image that fitted less well than this share of the usual."""


class TrackerConfig(Config):
    """All about tracking; one part per stage."""

    motion: MotionConfig = MotionConfig()
    measurement: MeasurementConfig = MeasurementConfig()
    states: StateConfig = StateConfig()


class Tracker:
    """Feed odometry and images in order of their stamps; each image, of whichever camera, gives a `PoseEstimate`."""

    def __init__(
        self, config: TrackerConfig, refiner: Refiner, lhmap: LHMap, relocalize: RelocalizeConfig | None = None,
        noise: MeasurementNoise = NOISE,
    ):  # fmt: skip
        """`relocalize` says whether to look for a lost place: see `PoseEstimate.search`.

        `noise` is that of the refiner's networks.
        """
        self._noise = noise
        self.config, self._relocalize = config, relocalize or RelocalizeConfig()
        self._refiner, self._submaps = refiner, SubmapCache(lhmap)
        self._motion, self._visual = MotionModel(config.motion), VisualOdometry(lhmap)
        self.health = HealthMonitor(config.states, config.measurement, self._relocalize)
        """Decides which images are believed, and the state."""
        self._filter: PoseFilter | None = None
        self._stamp_ns = 0
        self._first = True
        self._reported: np.ndarray | None = None

    def reconfigure(self, config: TrackerConfig, relocalize: RelocalizeConfig | None = None) -> None:
        """Takes other settings from the next image on; what was learned so far stays."""
        self.config, self._relocalize = config, relocalize or self._relocalize
        self._motion.reconfigure(config.motion)
        self.health.reconfigure(config.states, config.measurement, self._relocalize)

    @property
    def initialized(self) -> bool:
        """Whether a start pose was given."""
        return self._filter is not None

    @property
    def state(self) -> TrackState:
        """The state after the last image."""
        return self.health.state

    def initialize(self, stamp_ns: int, T_map_base: np.ndarray, covariance: np.ndarray) -> None:
        """Start at a pose (4, 4) with a covariance (6, 6, body frame of base_link), valid at `stamp_ns`.

        Odometry received so far stays, so the pose may be as old as the odometry history. Raises InputError for a
        pose that is not finite or a matrix that is not a covariance.
        """
        start = StartPose(T_map_base, covariance)
        self._filter = PoseFilter(start.T_map_base, start.covariance, self._noise.bias())
        self._stamp_ns = stamp_ns
        self._motion.reset()
        self.health.start()
        self._first, self._reported = True, np.array(covariance)

    def move_on(self, stamp_ns: int, T_before_now: np.ndarray) -> None:
        """After `initialize`: how the robot (4, 4) moved until a later stamp, as images showed."""
        motion = shown_by_images(T_before_now, self._motion.between(self._stamp_ns, stamp_ns))
        self._belief.predict(motion)
        self._motion.observe(T_before_now, (stamp_ns - self._stamp_ns) / SECOND_NS)
        # it moves, so there is no time for many starts
        self._stamp_ns, self._first = stamp_ns, False

    def clear(self) -> None:
        """Forget pose and odometry, as after a jump of the clock; `initialize` starts anew."""
        self.forget_pose()
        self.health.forget_searches()
        self._motion.odometry.clear()

    def forget_pose(self) -> None:
        """Forget the pose alone; `initialize` starts anew."""
        self._filter = None
        self._motion.reset()
        self.health.start()

    @property
    def odometry_ns(self) -> int | None:
        """Stamp of the newest odometry, None while there is none."""
        return self._motion.odometry.latest_ns

    def odometry_at(self, stamp_ns: int) -> np.ndarray | None:
        """T_odom_base (4, 4) at a stamp [ns]; None where odometry does not tell."""
        return self._motion.odometry.at(stamp_ns)

    @property
    def odometry_begun(self) -> int:
        """How often odometry began anew, as where it jumped: poses from before are of another frame."""
        return self._motion.odometry.begun

    def forget_odometry(self) -> None:
        """Forget the odometry alone, as where its clock begins anew."""
        self._motion.odometry.clear()

    def add_odometry(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """Take a pose of base_link in the odometry frame; raises InputError if not finite or older than the last."""
        self._motion.odometry.add(stamp_ns, T_odom_base)

    def process_image(
        self, stamp_ns: int, image: Images, camera: PosedCamera, now_s: float | None = None
    ) -> PoseEstimate:  # fmt: skip
        """The pose at an undistorted image (H, W, 3) uint8 RGB of a camera, or at those of one stamp of a rig.

        `now_s` is of the clock that tells the time between searches, by default that of the stamps [s]. Raises
        InputError for an image of the wrong size or older than the last one, LhmapError before `initialize`.
        """
        self._check(stamp_ns, image, camera.camera)
        clock = _Stopwatch()
        # 1. Where the robot should be by now.
        motion = self._motion_until(stamp_ns, image, camera)
        self._belief.predict(motion)
        # 2. The piece of the map around it.
        T_map_camera = self._belief.pose @ camera.T_base_camera
        submap, damaged = self._submaps.get(T_map_camera[:3, 3])
        self._submaps.prefetch(T_map_camera[:3, 3])
        clock.lap("crop")
        # 3. What the image says against that piece of map.
        refinement, problem = self._refine(image, camera.camera, submap, T_map_camera, self._mode(motion))
        clock.lap("refine")
        # 4. The same as a measurement of base_link, seen from the prediction.
        self._belief.bias = self._noise.bias(camera.T_base_camera)
        measurement = as_measurement(
            refinement, camera.T_base_camera, self.config.measurement, self.state.confirmed, self._noise
        )
        difference, innovation = None, math.nan
        if measurement is not None:
            difference, innovation = self._belief.innovation(measurement)
        # 5. Believed: the pose moves. Else the prediction stands and its covariance has grown.
        now_s = stamp_ns / SECOND_NS if now_s is None else now_s
        seen = Observation(stamp_ns, now_s, motion, measurement, difference, innovation)
        decision = self.health.update(seen, partial(self._correct, seen))
        # 6. What this tells about the speed.
        self._motion.learn(motion, self._stamp_ns, stamp_ns, self._belief.pose if decision.accepted else None)
        self._stamp_ns = stamp_ns
        return self._result(decision, refinement, seen, clock, problem, "; ".join(map(str, damaged)))

    def _motion_until(self, stamp_ns: int, image: Images, camera: PosedCamera) -> Motion:
        """How the robot moved since the last image: by odometry, else as the images show, else at constant velocity."""
        motion, seconds = self._motion.between(self._stamp_ns, stamp_ns), (stamp_ns - self._stamp_ns) / SECOND_NS
        if motion.source == "odometry" or seconds < SEEN_S:
            self._visual.forget()
            return motion
        if not self._visual.follow(stamp_ns, image, camera):
            return motion
        way = None
        # a start may be of another moment than the image that was marked
        if self._visual.marked_ns == self._stamp_ns:
            if motion.source == "velocity":
                way = self._visual.way_at(float(np.linalg.norm(motion.delta[:3, 3])) / seconds)
                way = None if way is None or not goes_on(way, motion) else way
            else:
                way = self._visual.since_mark()[1](self._belief.pose)
        self._visual.mark()
        return motion if way is None else shown_by_images(way, motion)

    @property
    def _belief(self) -> PoseFilter:
        """The filter, after `initialize`."""
        assert self._filter is not None
        return self._filter

    def _check(self, stamp_ns: int, image: Images, camera: Camera | Rig) -> None:
        camera.check_image(image)
        if self._filter is None:
            raise LhmapError("no initial pose was given")
        if stamp_ns < self._stamp_ns:
            raise InputError(f"image at {stamp_ns} ns is older than the pose at {self._stamp_ns} ns")

    def _refine(
        self, image: Images, camera: Camera | Rig, submap: MapPoints, T_map_camera: np.ndarray, mode: RefineMode
    ) -> tuple[Refinement | None, str]:  # fmt: skip
        """The refinement, or None and the reason."""
        if len(submap.points) < MIN_SUBMAP_POINTS:
            return None, f"{len(submap.points)} map points around, expected {MIN_SUBMAP_POINTS}"
        self._first = False
        try:
            return self._refiner.refine(image, camera, submap, T_map_camera, mode), ""
        except (ModelError, np.linalg.LinAlgError) as error:
            # one image that upsets the network must not end the drive; the state tells if it goes on
            return None, str(error)

    def _mode(self, motion: Motion) -> RefineMode:
        """How far the prediction may be off."""
        if self._is_near():
            return RefineMode.TRACK_ODOMETRY if motion.source == "odometry" else RefineMode.TRACK
        if self._first:
            # later, or where it is known better, a robot on the move would leave the next images too far behind
            metres, degrees = max_std(self._belief.covariance)
            known = metres <= KNOWN_M and degrees <= KNOWN_DEG
            return RefineMode.WIDE if known else RefineMode.MULTI_START
        return RefineMode.RECOVER if self.state is TrackState.TRACKING else RefineMode.WIDE

    def _is_near(self) -> bool:
        """Whether the prediction is sure, and the last image has confirmed the one before."""
        metres, degrees = max_std(self._belief.covariance)
        sure = metres <= SURE_M and degrees <= SURE_DEG
        # near by, refinements follow a prediction that went astray; what they still tell is that little fits there
        fits = not self.health.fits_less_than(FITS_SHARE)
        return self.state is TrackState.TRACKING and sure and fits

    def _correct(self, seen: Observation, admission: Admission) -> Posterior:
        """Moves the pose to a measurement as far as it is believed, and says how sure it is then."""
        measurement, difference = seen.measurement, seen.difference
        scatter = math.nan, math.nan
        if measurement is not None and difference is not None:
            if admission in (Admission.RECONVERGED, Admission.RESTARTED):
                # the prediction was wrong: the filter opens to what it would reject
                self._belief.widen(difference)
            if admission is Admission.RECONVERGED:  # the covariance of a lost track is wide already
                measurement = measurement.unconfirmed()
            if admission is not Admission.REJECTED:
                self._belief.update(measurement)
            scatter = pose_error(measurement.T_map_base, self._belief.pose)
        return Posterior(*max_std(self._belief.covariance), *scatter)

    def _result(
        self, decision: Decision, refinement: Refinement | None, seen: Observation, clock: _Stopwatch, problem: str,
        map_problem: str,
    ) -> PoseEstimate:  # fmt: skip
        T_odom_base = self._motion.odometry.at(self._stamp_ns)
        T_map_odom = None if T_odom_base is None else self._belief.pose @ inverse(T_odom_base)
        covariance = self._belief.honest
        if decision.state is not TrackState.TRACKING:
            covariance = self._belief.covariance
            if self._reported is not None:
                covariance = inflate_to(covariance, transport_covariance(self._reported, seen.motion.delta))
        self._reported = covariance
        return PoseEstimate(
            self._stamp_ns, decision.state, self._belief.pose.copy(), covariance, T_map_odom, decision.accepted,
            refinement, seen.innovation, clock.timings(), seen.motion.source, seen.motion.delta,
            self._motion.velocity, problem, map_problem, decision.search,
        )  # fmt: skip


class _Stopwatch:
    """Durations between laps, in milliseconds."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name], self._last = 1e3 * (now - self._last), now

    def timings(self) -> dict[str, float]:
        return {**self._laps, "total": 1e3 * (time.perf_counter() - self._start)}
