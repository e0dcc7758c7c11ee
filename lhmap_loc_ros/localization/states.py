# SPDX-License-Identifier: Apache-2.0
"""The states of a track, and what images say together about which of them it is in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, Flag

import numpy as np
from pydantic import Field

from ..configuration import Config

MAX_SCATTER = 1.0, 4.0
"""A measurement further from the pose counts as that far [m, deg]."""
LOST_SIGMA = 4.0, 20.0
"""Above this standard deviation a pose is LOST [m, deg]: refinements converge from about half as far."""
DEGRADED_SIGMA = 1.6, 1.5
"""TRACKING ends at so many times the standard deviations of position and rotation at which it may begin: hysteresis."""
TRACKING_SCATTER = 0.5, 0.4
"""TRACKING begins where measurements lie closer to the pose, on average, than this share of those standard deviations:
at a wrong place they pass the gate and scatter (docs/interface.md, "States")."""
TRACKING_DEG_PER_M = 4.0
"""Rotation that goes with a position error, degrees for each metre: images measure both by the same matches."""
OLD_SHARE = 0.2
"""A pose is too old for TRACKING after this share of the time until it is LOST."""


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

    @property
    def confirmed(self) -> bool:
        """Images have confirmed the pose since the last start, and nothing has refuted it."""
        return self in (TrackState.TRACKING, TrackState.DEGRADED)


class Search(Flag):
    """Where to look for the place of the robot."""

    NONE = 0
    NEARBY = 1
    """Around the last good pose."""
    EVERYWHERE = 2
    """In the whole map."""


class StateConfig(Config):
    """When the state changes; what more there is to it stands in `transitions`."""

    tracking_sigma_m: float = Field(
        0.5, gt=0, le=LOST_SIGMA[0] / DEGRADED_SIGMA[0], description="standard deviation of the position below which "
        "the state may become TRACKING; of the rotation 4 degrees for each metre of it; larger where camera or map are "
        "coarser [m]",
    )  # fmt: skip
    lost_after_s: float = Field(
        10.0, gt=0, description="time without an accepted image after which the state becomes LOST, also of a start "
        "that images do not confirm; without any image TRACKING becomes DEGRADED after a fifth of it [s]",
    )  # fmt: skip

    @property
    def tracking_sigma_deg(self) -> float:
        """Standard deviation of the rotation below which the state may become TRACKING [deg]."""
        return TRACKING_DEG_PER_M * self.tracking_sigma_m

    @property
    def degraded_sigma(self) -> tuple[float, float]:
        """Standard deviation of the pose above which TRACKING becomes DEGRADED [m, deg]."""
        return DEGRADED_SIGMA[0] * self.tracking_sigma_m, DEGRADED_SIGMA[1] * self.tracking_sigma_deg

    @property
    def tracking_scatter(self) -> tuple[float, float]:
        """Mean distance of measurements from the pose below which the state may become TRACKING [m, deg]."""
        return TRACKING_SCATTER[0] * self.tracking_sigma_m, TRACKING_SCATTER[1] * self.tracking_sigma_deg

    @property
    def old_after_s(self) -> float:
        """An older pose is not TRACKING [s]."""
        return OLD_SHARE * self.lost_after_s


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


class Evidence:
    """What the images since the last start say together: counters and running means, the one memory of all rules."""

    def __init__(self) -> None:
        self.images = 0
        """Images since the start."""
        self.accepted = 0
        """Accepted images in a row."""
        self.missed = 0
        """Images in a row that were not accepted."""
        self.contradictions = 0
        """Measurements that contradict the pose; an accepted one makes up for two."""
        self.inlier_ratio: float | None = None
        """Running mean; None before the first measurement, as `scatter`."""
        self.innovation = 0.0
        """Running mean."""
        self.scatter: np.ndarray | None = None
        """Running mean of the distance from measurement to pose [m, deg]."""
        self._last: Signals | None = None
        self._started_ns = 0
        self._missing_since_ns: int | None = None

    def add(self, signals: Signals) -> None:
        """One more image."""
        self._last = signals
        self.images += 1
        if self.images == 1:
            self._started_ns = signals.stamp_ns
        if signals.accepted:
            self.accepted += 1
            self.missed = 0
            self._missing_since_ns = None
            # not back to zero: among scattered wrong measurements one passes the gate by chance
            self.contradictions = max(self.contradictions - 2, 0)
        else:
            self.accepted = 0
            self.missed += 1
            self.contradictions += signals.contradicts
            if self._missing_since_ns is None:
                self._missing_since_ns = signals.stamp_ns
        if math.isnan(signals.innovation):
            return
        # running means over about 5 measurements: one blurred frame is no reason to worry, however far it leads
        previous = signals.inlier_ratio if self.inlier_ratio is None else self.inlier_ratio
        self.inlier_ratio = previous + 0.2 * (signals.inlier_ratio - previous)
        self.innovation += 0.2 * (signals.innovation - self.innovation)
        scatter = np.minimum((signals.scatter_m, signals.scatter_deg), MAX_SCATTER)
        self.scatter = scatter if self.scatter is None else self.scatter + 0.2 * (scatter - self.scatter)

    @property
    def last(self) -> Signals:
        """Those of the last image; there must have been one."""
        assert self._last is not None
        return self._last

    def lasts_ns(self) -> int:
        """Time since the first image."""
        return self.last.stamp_ns - self._started_ns

    def missing_ns(self) -> int:
        """Time since the first of the images in a row that were not accepted."""
        return 0 if self._missing_since_ns is None else self.last.stamp_ns - self._missing_since_ns

    def scatters_less(self, metres: float, degrees: float) -> bool:
        """Measurements lie closer to the pose than this, on average."""
        return self.scatter is not None and bool(np.less(self.scatter, (metres, degrees)).all())
