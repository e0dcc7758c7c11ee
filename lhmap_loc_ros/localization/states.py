# SPDX-License-Identifier: Apache-2.0
"""The state of a tracker, judged from measured signals, with hysteresis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from pydantic import Field, model_validator

from ..configuration import Config
from .motion import SECOND_NS

ENOUGH = 3
"""So many times the images that could have confirmed a start say that it is wrong, if none did."""
MOST_SCATTER = 1.0, 4.0
"""A measurement further from the pose counts as that far [m, deg]."""


class TrackState(str, Enum):
    """How far the pose may be trusted."""

    INITIALIZING = "INITIALIZING"
    """A start pose is known; images have not confirmed it yet."""
    TRACKING = "TRACKING"
    """Images confirm the pose."""
    DEGRADED = "DEGRADED"
    """Images do not confirm the pose at the moment: it rests on the prediction and its covariance grows."""
    LOST = "LOST"
    """The pose is not to be used."""

    def __str__(self) -> str:
        return self.value


class StateConfig(Config):
    """When the state changes. Thresholds to enter a better state are tighter than those to leave it."""

    confirmations: int = Field(3, ge=1, le=100, description="accepted images in a row that make the state TRACKING")
    tracking_sigma_m: float = Field(0.5, gt=0, description="TRACKING needs a smaller standard deviation [m]")
    tracking_sigma_deg: float = Field(2.0, gt=0, description="TRACKING needs a smaller standard deviation [deg]")
    tracking_scatter_m: float = Field(
        0.25,
        gt=0,
        description="TRACKING needs a smaller running mean of the distance from measurement to pose: at a wrong place "
        "each image says something else [m]",
    )
    tracking_scatter_deg: float = Field(0.8, gt=0, description="as tracking_scatter_m, of rotation [deg]")
    degraded_after: int = Field(3, ge=1, le=100, description="images in a row not accepted that end TRACKING")
    degraded_sigma_m: float = Field(0.8, gt=0, description="TRACKING ends above this standard deviation [m]")
    degraded_sigma_deg: float = Field(3.0, gt=0, description="TRACKING ends above this standard deviation [deg]")
    degraded_inlier_ratio: float = Field(
        0.1, ge=0, le=1, description="TRACKING ends when the running mean of the inlier ratio falls below this"
    )
    degraded_inlier_share: float = Field(
        0.5, ge=0, le=1, description="TRACKING ends when that mean falls below this share of what was usual of late"
    )
    degraded_innovation: float = Field(
        6.0,
        gt=0,
        description="TRACKING ends when the running mean of the innovation (chi-square, 6 dof; usually near 1, as "
        "covariances are on the large side) exceeds this",
    )
    degraded_scatter_m: float = Field(0.5, gt=0, description="TRACKING ends above this mean distance [m]")
    degraded_scatter_deg: float = Field(1.6, gt=0, description="as degraded_scatter_m, of rotation [deg]")
    lost_rejections: int = Field(
        12, ge=1, le=1000, description="contradicting images that end in LOST; an accepted one makes up for two"
    )
    lost_after_s: float = Field(
        10.0, gt=0, description="time without an accepted image, or of a start not confirmed, that ends in LOST [s]"
    )
    lost_sigma_m: float = Field(4.0, gt=0, description="LOST above this standard deviation [m]")
    lost_sigma_deg: float = Field(20.0, gt=0, description="LOST above this standard deviation [deg]")

    @model_validator(mode="after")
    def _better_states_need_more(self):
        for signal in ("scatter_m", "scatter_deg", "sigma_m", "sigma_deg"):
            enter, leave = getattr(self, f"tracking_{signal}"), getattr(self, f"degraded_{signal}")
            if enter > leave:
                raise ValueError(
                    f"tracking_{signal} is {enter:g}, expected at most degraded_{signal}, {leave:g}: or TRACKING would "
                    "end as soon as it began"
                )
        return self


@dataclass(frozen=True)
class Signals:
    """What one image told."""

    stamp_ns: int
    accepted: bool
    """The measurement passed the gate and moved the pose."""
    contradicts: bool
    """There was a usable measurement and it did not pass the gate."""
    inlier_ratio: float
    """Of the measurement; NaN without one."""
    usual_inliers: float
    """What the inlier ratio of a good measurement is here; 0 while that is not known."""
    innovation: float
    """Squared Mahalanobis distance of the measurement from the prediction, no more than the gate; NaN without one."""
    scatter_m: float
    """Distance of the measurement from the posterior position [m]; NaN without one."""
    scatter_deg: float
    """The same of the rotation [deg]."""
    sigma_m: float
    """Largest standard deviation of the posterior position [m]."""
    sigma_deg: float
    """Largest standard deviation of the posterior rotation [deg]."""


class StateMachine:
    """INITIALIZING -> TRACKING <-> DEGRADED -> LOST; only `restart` and a re-convergence leave LOST."""

    def __init__(self, config: StateConfig):
        self.config = config
        self.restart()

    def restart(self) -> None:
        """Back to INITIALIZING with no memory."""
        self.state = TrackState.INITIALIZING
        self._accepted = self._missed = self._contradictions = 0
        self._missing_since: int | None = None
        self._inliers: float | None = None
        self._innovation = 0.0
        self._scatter: np.ndarray | None = None
        self._started: int | None = None
        self._images = 0

    def update(self, signals: Signals) -> TrackState:
        """The state after one more image."""
        self._count(signals)
        if self._is_lost(signals):
            self.state = TrackState.LOST
        elif self.state is TrackState.TRACKING and self._is_degraded(signals):
            self.state = TrackState.DEGRADED
        elif self.state in (TrackState.INITIALIZING, TrackState.DEGRADED) and self._is_confirmed(signals):
            self.state = TrackState.TRACKING
        return self.state

    def _count(self, signals: Signals) -> None:
        if self._started is None:
            self._started = signals.stamp_ns
        self._images += 1
        if signals.accepted:
            self._accepted += 1
            self._missed = 0
            self._missing_since = None
            # not back to zero: among scattered wrong measurements one passes the gate by chance
            self._contradictions = max(self._contradictions - 2, 0)
        else:
            self._accepted = 0
            self._missed += 1
            self._contradictions += signals.contradicts
            if self._missing_since is None:
                self._missing_since = signals.stamp_ns
        if math.isnan(signals.innovation):
            return
        # running means over about 5 measurements: one blurred frame is no reason to worry, however far it leads
        previous = signals.inlier_ratio if self._inliers is None else self._inliers
        self._inliers = previous + 0.2 * (signals.inlier_ratio - previous)
        self._innovation += 0.2 * (signals.innovation - self._innovation)
        scatter = np.minimum((signals.scatter_m, signals.scatter_deg), MOST_SCATTER)
        self._scatter = scatter if self._scatter is None else self._scatter + 0.2 * (scatter - self._scatter)

    def _is_lost(self, signals: Signals) -> bool:
        c = self.config
        if self.state is TrackState.LOST:
            return True
        missing = 0 if self._missing_since is None else signals.stamp_ns - self._missing_since
        if self.state is TrackState.INITIALIZING and self._images >= ENOUGH * c.confirmations:
            # images that pass, and yet confirm nothing, are no better than none
            missing = signals.stamp_ns - self._started
        # a start pose may be as unsure as it likes: whether images confirm it is what counts
        unsure = signals.sigma_m > c.lost_sigma_m or signals.sigma_deg > c.lost_sigma_deg
        return (
            (unsure and self.state is not TrackState.INITIALIZING)
            or self._contradictions >= c.lost_rejections
            or missing > c.lost_after_s * SECOND_NS
        )

    def _is_degraded(self, signals: Signals) -> bool:
        c = self.config
        return (
            self._missed >= c.degraded_after
            or signals.sigma_m > c.degraded_sigma_m
            or signals.sigma_deg > c.degraded_sigma_deg
            or self._inliers < self._least_inliers(signals)
            # each alone within the gate, yet all of them on the same side: the track slides away from the map
            or self._innovation > c.degraded_innovation
            or not self._scatters_less(c.degraded_scatter_m, c.degraded_scatter_deg)
        )

    def _is_confirmed(self, signals: Signals) -> bool:
        c = self.config
        return (
            self._accepted >= c.confirmations
            and signals.sigma_m < c.tracking_sigma_m
            and signals.sigma_deg < c.tracking_sigma_deg
            and self._inliers >= 1.3 * self._least_inliers(signals)
            and self._innovation < 0.7 * c.degraded_innovation
            and self._scatters_less(c.tracking_scatter_m, c.tracking_scatter_deg)
        )

    def _scatters_less(self, metres: float, degrees: float) -> bool:
        return bool((self._scatter < (metres, degrees)).all())

    def _least_inliers(self, signals: Signals) -> float:
        """The mean inlier ratio below which images do not confirm the pose."""
        return max(self.config.degraded_inlier_ratio, self.config.degraded_inlier_share * signals.usual_inliers)
