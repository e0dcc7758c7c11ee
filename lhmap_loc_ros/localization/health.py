# SPDX-License-Identifier: Apache-2.0
"""Whether to believe an image, how far the pose may be trusted, and when to look for it: one decision an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from .manifold import lengths
from .measurement import Measurement, MeasurementConfig
from .motion import SECOND_NS, Motion
from .reconvergence import RECONVERGE_DEG, RECONVERGE_M, ReconvergenceMonitor
from .relocalize import RelocalizeConfig
from .states import Evidence, Search, Signals, StateConfig, TrackState
from .transitions import (
    CONFIRMATIONS,
    Event,
    Situation,
    Transition,
    few_inliers,
    images_do_not_fit,
    measurements_scatter,
    next_transition,
)

SEARCH_PERIOD_S = 5.0
"""Time from one search nearby of a lost track to the next: a search takes a second or two, and holds images up."""
DOUBT_S = 30.0
"""A track that images neither confirm nor refute for so long is looked for, and then as often."""
CARRIED_OFF = 0.3
"""Where images do not fit for this share of `lost_after_s`, the robot may have been carried to another place."""
STOOD_S = 1.0
"""Who carries a robot stops it first, or switches it off: for no less than this [s]."""


class Admission(Enum):
    """What becomes of a measurement."""

    REJECTED = "rejected"
    """There is none, or the pose does not move to it."""
    ACCEPTED = "accepted"
    """It passed the gate."""
    RECONVERGED = "re-converged"
    """It did not, but several agree with each other: the prediction was wrong, and gives way."""
    RESTARTED = "restarted"
    """The same of a lost track, which begins anew there."""


@dataclass(frozen=True)
class Observation:
    """What one image brought, before the pose moves."""

    stamp_ns: int
    now_s: float
    """On the clock that tells the time between searches."""
    motion: Motion
    """Since the image before."""
    measurement: Measurement | None
    """None where the image could not be used."""
    difference: np.ndarray | None
    """(6,) the measurement seen from the prediction [m, rad]."""
    innovation: float
    """Squared Mahalanobis distance of the measurement from the prediction; NaN without a measurement."""


@dataclass(frozen=True)
class Posterior:
    """The pose after the image, moved to the measurement where that was believed."""

    sigma_m: float
    """Largest standard deviation of the position [m]."""
    sigma_deg: float
    """Largest standard deviation of the rotation [deg]."""
    scatter_m: float
    """Distance of the measurement from the position [m]; NaN without one."""
    scatter_deg: float
    """The same of the rotation [deg]."""


@dataclass(frozen=True)
class Decision:
    """What follows from an image."""

    state: TrackState
    admission: Admission
    transition: Transition | None
    """What changed the state last at this image; None where it stays."""
    search: Search

    @property
    def accepted(self) -> bool:
        """The pose moves to the measurement."""
        return self.admission is not Admission.REJECTED


class HealthMonitor:
    """Gate, re-convergence, state and search: hears of every image, and decides."""

    def __init__(
        self, states: StateConfig, measurement: MeasurementConfig, relocalize: RelocalizeConfig | None = None
    ):  # fmt: skip
        self._reconvergence = ReconvergenceMonitor(measurement)
        self.reconfigure(states, measurement, relocalize or RelocalizeConfig())
        self._last_inliers = 0.0
        self._searched_s = -math.inf
        self.state = TrackState.INITIALIZING
        """How far the pose may be trusted."""
        self.start()

    def reconfigure(
        self, states: StateConfig, measurement: MeasurementConfig, relocalize: RelocalizeConfig
    ) -> None:  # fmt: skip
        """Takes other settings; what was learned so far stays."""
        self._states, self._measurement, self._relocalize = states, measurement, relocalize
        self._reconvergence.config = measurement

    def start(self) -> Transition:
        """A start pose, or a place found: nothing before it counts, and only images after it confirm it."""
        self.usual_inliers = 0.0
        """The inlier ratio of a good measurement here; 0 before the first."""
        self._evidence = Evidence()
        self._confirmed_s: float | None = None
        self._misfit_s: float | None = None
        self._stood_s, self._stood_until_s, self._odometry_s = math.inf, -math.inf, -math.inf
        self._reconvergence.reset()
        begun = self._step(Event.START)
        assert begun is not None  # from every state
        return begun

    def fits_less_than(self, share: float) -> bool:
        """The last measurement fitted less well than this share of the usual."""
        return not self._last_inliers >= share * self.usual_inliers

    def update(self, seen: Observation, correct: Callable[[Admission], Posterior]) -> Decision:
        """Decides on an image. `correct` moves the pose, or not, as it is told, and says how sure it is then."""
        # 1. is the measurement believed?
        admission = self._admit(seen)
        transition = None
        if admission is Admission.RESTARTED:
            transition = self._step(Event.RECONVERGENCE)
            self._evidence = Evidence()
        # 2. the pose with it, and what images say together
        self._notice_stand(seen)
        self._evidence.add(self._signals(seen, admission, correct(admission)))
        # 3. the state
        transition = self._step(Event.IMAGE) or transition
        self._notice_misfit(seen)
        # 4. the search
        return Decision(self.state, admission, transition, self._search(seen.now_s))

    def searched(self, now_s: float) -> None:
        """A search nearby has ended: the time until the next begins, as the search itself may take longer."""
        self._searched_s = now_s

    def forget_searches(self) -> None:
        """The clock began anew: when the place was looked for last says nothing."""
        self._searched_s = -math.inf

    def after_silence(self, age_s: float) -> Transition | None:
        """What to tell others of a pose so old [s]; None: nothing new.

        The state itself stays, for the next image to go on from.
        """
        return next_transition(Event.SILENCE, self.state, self._situation(age_s))

    def _step(self, event: Event) -> Transition | None:
        row = next_transition(event, self.state, self._situation())
        if row is not None:
            self.state = row.target
        return row

    def _situation(self, silent_s: float = 0.0) -> Situation:
        return Situation(self._states, self._evidence, self._measurement.min_inlier_ratio, silent_s)

    def _admit(self, seen: Observation) -> Admission:
        """Whether the measurement is believed."""
        if seen.measurement is None:
            self._reconvergence.reset()
            return Admission.REJECTED
        self._last_inliers = seen.measurement.inlier_ratio
        lost = self.state is TrackState.LOST
        # a lost track has a wide covariance, which lets anything pass: there one measurement is not enough
        if seen.innovation <= self._measurement.gate and not lost:
            self._learn_usual(seen.measurement.inlier_ratio)
            self._reconvergence.reset()
            return Admission.ACCEPTED
        agree = self._reconvergence.add(seen.measurement, seen.motion, self.usual_inliers)
        if not agree or seen.difference is None or not self._within_reach(seen.difference):
            return Admission.REJECTED
        self._reconvergence.reset()
        return Admission.RESTARTED if lost else Admission.RECONVERGED

    def _learn_usual(self, inlier_ratio: float) -> None:
        """What a good measurement looks like.

        It learns over some 50 images, so that a sudden fall shows. Where the state is not TRACKING it takes five times
        as long: what passes by chance is no example, but light and map may have changed for good.
        """
        tracking = self.state is TrackState.TRACKING
        rate = 1.0 if self.usual_inliers == 0 else 0.02 if tracking else 0.004
        self.usual_inliers += rate * (inlier_ratio - self.usual_inliers)

    def _within_reach(self, difference: np.ndarray) -> bool:
        metres, degrees = lengths(difference)
        return metres <= RECONVERGE_M and degrees <= RECONVERGE_DEG

    def _signals(self, seen: Observation, admission: Admission, posterior: Posterior) -> Signals:
        accepted = admission is not Admission.REJECTED
        return Signals(
            seen.stamp_ns,
            accepted,
            contradicts=seen.measurement is not None and not accepted,
            inlier_ratio=math.nan if seen.measurement is None else seen.measurement.inlier_ratio,
            usual_inliers=self.usual_inliers,
            innovation=float(np.minimum(seen.innovation, self._measurement.gate)),
            scatter_m=posterior.scatter_m,
            scatter_deg=posterior.scatter_deg,
            sigma_m=posterior.sigma_m,
            sigma_deg=posterior.sigma_deg,
        )

    def _search(self, now_s: float) -> Search:
        """Where to look now, if anywhere."""
        lost = self.state is TrackState.LOST
        if self.state is TrackState.TRACKING or self._confirmed_s is None:
            self._confirmed_s = now_s
        due_s = self._searched_s + SEARCH_PERIOD_S
        if not lost:
            # images that pass, and yet never confirm the pose, may be those of another place
            due_s = max(due_s, self._confirmed_s + DOUBT_S, self._searched_s + DOUBT_S)
        nearby = Search.NEARBY if self._relocalize.enabled and now_s >= due_s else Search.NONE
        carried_off = self.state is TrackState.DEGRADED and self._has_not_fitted(CARRIED_OFF, now_s)
        return nearby | Search.EVERYWHERE if lost or carried_off else nearby

    def may_be_elsewhere(self, now_s: float) -> bool:
        """Whether a place that a search found anywhere in the map may be where the robot is.

        While odometry drives a robot on nobody carries it: images that fit elsewhere are false, unless they do so for
        `lost_after_s`.
        """
        return self._stood_s >= STOOD_S or self._has_not_fitted(1.0, now_s)

    def _has_not_fitted(self, share: float, now_s: float) -> bool:
        """A track that was confirmed fits no more, for this share of `lost_after_s`."""
        return self._misfit_s is not None and now_s - self._misfit_s >= share * self._states.lost_after_s

    def _notice_misfit(self, seen: Observation) -> None:
        """Whether images fit the track, and since when not."""
        situation = self._situation()
        accepted, lost = self._evidence.accepted > 0, self.state is TrackState.LOST
        tracking, degraded = self.state is TrackState.TRACKING, self.state is TrackState.DEGRADED
        if (tracking and accepted) or (degraded and self._fits(situation)):
            self._misfit_s = None
            lost_after_s = self._states.lost_after_s
            if seen.now_s - self._odometry_s >= lost_after_s:
                self._stood_s = math.inf  # without odometry nobody knows
            elif seen.now_s - self._stood_until_s >= CARRIED_OFF * lost_after_s:
                self._stood_s = 0.0  # for a moment images fit by chance, also where a robot was put down
        elif self._misfit_s is None and (lost or images_do_not_fit(situation) or few_inliers(situation)):
            self._misfit_s = seen.now_s

    def _notice_stand(self, seen: Observation) -> None:
        """How long the robot stood since images fitted, or nothing was heard of it."""
        if seen.motion.source == "odometry":
            self._odometry_s = seen.now_s
        if self._evidence.images == 0:
            return
        seconds = (seen.stamp_ns - self._evidence.last.stamp_ns) / SECOND_NS
        # where odometry is silent for a while, images tell that the robot goes on
        if seen.motion.idle_s > 0 and (seen.motion.source == "odometry" or seconds >= STOOD_S):
            self._stood_s += seen.motion.idle_s
            self._stood_until_s = seen.now_s

    def _fits(self, situation: Situation) -> bool:
        """Several images in a row agree: one or two pass by chance where the prediction is not sure."""
        agree = self._evidence.accepted >= CONFIRMATIONS and not measurements_scatter(situation)
        return agree and not few_inliers(situation)
