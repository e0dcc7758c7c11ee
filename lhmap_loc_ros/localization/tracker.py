# SPDX-License-Identifier: Apache-2.0
"""Tracks the pose of a robot through a map: odometry predicts, images correct, gates guard.

The covariance shrinks only while TRACKING, with an accepted measurement. No threads and no ROS: the node, the offline
run and the evaluation call this one class.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..configuration import Config
from ..errors import InputError, LhmapError, ModelError
from ..geometry import Camera, Images, Rig, inverse, pose_error
from .estimate import PosedCamera, PoseEstimate
from .manifold import inflate_to, lengths, max_std, transport_covariance
from .measurement import Agreement, Measurement, MeasurementConfig, as_measurement
from .motion import Motion, MotionConfig, MotionModel
from .pose_filter import PoseFilter
from .refine_plan import RefineMode
from .start import StartPose
from .states import Signals, StateConfig, StateMachine, TrackState
from .submap_cache import MIN_SUBMAP_POINTS, SubmapCache

if TYPE_CHECKING:
    from ..lhmap import LHMap
    from .refine import Refinement, Refiner


SURE_M, SURE_DEG = 0.5, 2.0
"""A prediction less sure than this is refined over the whole image: docs/tuning.md, "What is not a parameter"."""
FITS_SHARE = 0.7
"""So is one after an image that fitted less well than this share of the usual."""


class TrackerConfig(Config):
    """All about tracking; one part per stage."""

    motion: MotionConfig = MotionConfig()
    measurement: MeasurementConfig = MeasurementConfig()
    states: StateConfig = StateConfig()


class Tracker:
    """Feed odometry and images in order of their stamps; each image, of whichever camera, gives a `PoseEstimate`."""

    def __init__(self, config: TrackerConfig, refiner: Refiner, lhmap: LHMap):
        self.config = config
        self._refiner, self._submaps = refiner, SubmapCache(lhmap)
        self._motion = MotionModel(config.motion)
        self._states = StateMachine(config.states)
        self._agreement = Agreement(config.measurement)
        self._filter: PoseFilter | None = None
        self._stamp_ns = 0
        self._first = True
        self._reported: np.ndarray | None = None
        self._last_inliers = 0.0

    def reconfigure(self, config: TrackerConfig) -> None:
        """Takes other settings from the next image on; what was learned so far stays."""
        self.config = config
        self._motion.reconfigure(config.motion)
        self._states.config = config.states
        self._agreement.config = config.measurement
        if self._filter is not None:
            self._filter.bias = config.measurement.bias

    @property
    def initialized(self) -> bool:
        """Whether a start pose was given."""
        return self._filter is not None

    @property
    def state(self) -> TrackState:
        """The state after the last image."""
        return self._states.state

    def initialize(self, stamp_ns: int, T_map_base: np.ndarray, covariance: np.ndarray) -> None:
        """Start at a pose (4, 4) with a covariance (6, 6, body frame of base_link), valid at `stamp_ns`.

        Odometry received so far stays, so the pose may be as old as the odometry history. Raises InputError for a
        pose that is not finite or a matrix that is not a covariance.
        """
        start = StartPose(T_map_base, covariance)
        self._filter = PoseFilter(start.T_map_base, start.covariance, self.config.measurement.bias)
        self._stamp_ns = stamp_ns
        self._motion.reset()
        self._states.restart()
        self._agreement.restart()
        self._first, self._reported = True, np.array(covariance)

    def clear(self) -> None:
        """Forget pose and odometry, as after a jump of the clock; `initialize` starts anew."""
        self._filter = None
        self._motion.reset()
        self._motion.odometry.clear()
        self._states.restart()

    @property
    def odometry_ns(self) -> int | None:
        """Stamp of the newest odometry, None while there is none."""
        return self._motion.odometry.latest_ns

    def odometry_at(self, stamp_ns: int) -> np.ndarray | None:
        """T_odom_base (4, 4) at a stamp [ns]; None where odometry does not tell."""
        return self._motion.odometry.at(stamp_ns)

    def forget_odometry(self) -> None:
        """Forget the odometry alone, as where its clock begins anew."""
        self._motion.odometry.clear()

    def add_odometry(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """Take a pose of base_link in the odometry frame; raises InputError if not finite or older than the last."""
        self._motion.odometry.add(stamp_ns, T_odom_base)

    def process_image(self, stamp_ns: int, image: Images, camera: PosedCamera) -> PoseEstimate:
        """The pose at an undistorted image (H, W, 3) uint8 RGB of a camera, or at those of one stamp of a rig.

        Raises InputError for an image of the wrong size or older than the last one, LhmapError before `initialize`.
        """
        self._check(stamp_ns, image, camera.camera)
        clock = _Stopwatch()
        # 1. Where the robot should be by now.
        motion = self._motion.between(self._stamp_ns, stamp_ns)
        self._filter.predict(motion)
        # 2. The piece of the map around it.
        T_map_camera = self._filter.pose @ camera.T_base_camera
        submap, damaged = self._submaps.get(T_map_camera[:3, 3])
        self._submaps.prefetch(T_map_camera[:3, 3])
        clock.lap("crop")
        # 3. What the image says against that piece of map.
        refinement, problem = self._refine(image, camera.camera, submap, T_map_camera, self._mode(motion))
        clock.lap("refine")
        # 4. The same as a measurement of base_link, judged against the prediction.
        confirmed = self.state in (TrackState.TRACKING, TrackState.DEGRADED)
        measurement = as_measurement(refinement, camera.T_base_camera, self.config.measurement, confirmed)
        if measurement is not None:
            self._last_inliers = measurement.inlier_ratio
        innovation, believed = self._judge(measurement, motion)
        # 5. Believed: the pose moves. Else the prediction stands and its covariance has grown.
        accepted = believed is not None
        if accepted:
            self._filter.update(believed)
        # 6. What this tells about the speed and about the state of the track.
        self._motion.learn(motion, self._stamp_ns, stamp_ns, self._filter.pose if accepted else None)
        self._stamp_ns = stamp_ns
        state = self._states.update(self._signals(measurement, accepted, innovation))
        result = self._result(state, accepted, refinement, innovation, motion, clock, problem)
        return replace(result, map_problem="; ".join(map(str, damaged)))

    def _check(self, stamp_ns: int, image: Images, camera: Camera | Rig) -> None:
        camera.check_image(image)
        if self._filter is None:
            raise LhmapError("no initial pose was given")
        if stamp_ns < self._stamp_ns:
            raise InputError(f"image at {stamp_ns} ns is older than the pose at {self._stamp_ns} ns")

    def _refine(self, image, camera, submap, T_map_camera, mode: RefineMode) -> tuple[Refinement | None, str]:
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
            # later, a robot on the move would leave the next images too far behind
            return RefineMode.MULTI_START
        return RefineMode.RECOVER if self.state is TrackState.TRACKING else RefineMode.WIDE

    def _is_near(self) -> bool:
        """Whether the prediction is sure, and the last image has confirmed the one before."""
        metres, degrees = max_std(self._filter.covariance)
        sure = metres <= SURE_M and degrees <= SURE_DEG
        # near by, refinements follow a prediction that went astray; what they still tell is that little fits there
        fits = self._last_inliers >= FITS_SHARE * self._agreement.usual_inliers
        return self.state is TrackState.TRACKING and sure and fits

    def _judge(self, measurement: Measurement | None, motion: Motion) -> tuple[float, Measurement | None]:
        """The squared Mahalanobis distance, and the measurement as far as it is believed."""
        if measurement is None:
            self._agreement.clear()
            return float("nan"), None
        difference, distance = self._filter.innovation(measurement)
        # a lost track has a wide covariance, which lets anything pass: there one measurement is not enough
        if distance <= self.config.measurement.gate and self.state is not TrackState.LOST:
            self._agreement.passed(measurement, self.state is TrackState.TRACKING)
            return distance, measurement
        if not self._agreement.add(measurement, motion) or not self._within_reach(difference):
            return distance, None
        # several measurements agree with each other against the prediction: the prediction was wrong
        return distance, self._converge_again(measurement, difference)

    def _converge_again(self, measurement: Measurement, difference: np.ndarray) -> Measurement:
        """Opens the filter to a measurement that it would reject; confirmation starts over."""
        self._filter.widen(difference)
        self._agreement.clear()
        if self.state is TrackState.LOST:
            self._states.restart()
            return measurement  # wide already
        return measurement.widened(self.config.measurement.unconfirmed_scale)

    def _within_reach(self, difference: np.ndarray) -> bool:
        c = self.config.measurement
        metres, degrees = lengths(difference)
        return metres <= c.reconverge_m and degrees <= c.reconverge_deg

    def _signals(self, measurement: Measurement | None, accepted: bool, innovation: float) -> Signals:
        metres = degrees = math.nan
        if measurement is not None:
            metres, degrees = pose_error(measurement.T_map_base, self._filter.pose)
        return Signals(
            self._stamp_ns,
            accepted,
            contradicts=measurement is not None and not accepted,
            inlier_ratio=float("nan") if measurement is None else measurement.inlier_ratio,
            usual_inliers=self._agreement.usual_inliers,
            innovation=float(np.minimum(innovation, self.config.measurement.gate)),
            scatter_m=metres,
            scatter_deg=degrees,
            **dict(zip(("sigma_m", "sigma_deg"), max_std(self._filter.covariance), strict=True)),
        )

    def _result(self, state, accepted, refinement, innovation, motion, clock, problem) -> PoseEstimate:
        T_odom_base = self._motion.odometry.at(self._stamp_ns)
        T_map_odom = None if T_odom_base is None else self._filter.pose @ inverse(T_odom_base)
        covariance = self._filter.covariance
        if state is not TrackState.TRACKING:
            covariance = inflate_to(covariance, transport_covariance(self._reported, motion.delta))
        self._reported = covariance
        return PoseEstimate(
            self._stamp_ns, state, self._filter.pose.copy(), covariance, T_map_odom, accepted, refinement,
            innovation, clock.timings(), motion.source, motion.delta, self._motion.velocity, problem,
        )  # fmt: skip


class _Stopwatch:
    """Durations between laps, in milliseconds."""

    def __init__(self):
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name], self._last = 1e3 * (now - self._last), now

    def timings(self) -> dict[str, float]:
        return {**self._laps, "total": 1e3 * (time.perf_counter() - self._start)}
