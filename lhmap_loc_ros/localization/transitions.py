# SPDX-License-Identifier: Apache-2.0
"""The table of transitions between the states of a track: what leads from one to another, and nothing else does.

docs/interface.md prints it (`tools/interface.py`), `health.HealthMonitor` applies it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from .motion import SECOND_NS
from .reconvergence import MIN_AGREEING, RECONVERGE_M
from .states import (
    DEGRADED_SIGMA,
    LOST_SIGMA,
    TRACKING_DEG_PER_M,
    TRACKING_SCATTER,
    Evidence,
    StateConfig,
    TrackState,
)

_INITIALIZING, _TRACKING, _DEGRADED, _LOST = TrackState

CONFIRMATIONS = 3
"""Accepted images in a row that make the state TRACKING: one or two pass the gate by chance at a wrong place."""
LOST_REJECTIONS = 12
"""Measurements that contradict the pose until it is LOST: more than agree by chance before a re-convergence."""
ENOUGH = 3
"""So many times the images that could have confirmed a start say that it is wrong, if none did."""
DEGRADED_AFTER = 3
"""Images in a row without an accepted measurement: one or two are blurred, or show a lorry."""
USUAL_SHARE = 0.5
"""Of the inlier ratio that is usual here: seasons and light change it by less, wrong places by more."""
MAX_INNOVATION = 6.0
"""A chi-square of six degrees of freedom is 6 on average; covariances are on the large side, so 1 is usual."""
MORE_INLIERS_THAN_USED = 2.0
"""Images fit too little for TRACKING at so many times the inlier ratio below which one is not used at all."""
MORE_SCATTER = 2.0
"""TRACKING ends at so many times the scatter at which it may begin: hysteresis."""
MORE_INLIERS, LESS_INNOVATION = 1.3, 0.7
"""TRACKING begins at so many times the inlier ratio, and that share of the innovation, at which it ends: hysteresis."""


class Event(Enum):
    """What a row of the table is about."""

    START = "start"
    """A start pose, or a place found, is given."""
    RECONVERGENCE = "re-convergence"
    """Rejected measurements agree with each other against the prediction: see `ReconvergenceMonitor`."""
    IMAGE = "image"
    """An image was processed."""
    SILENCE = "silence"
    """No image is localized: what is told to others meanwhile; the next image goes on from the state before."""


@dataclass(frozen=True)
class Situation:
    """All that the conditions look at."""

    config: StateConfig
    evidence: Evidence
    min_inlier_ratio: float
    """An image with a smaller one is not used."""
    silent_s: float = 0.0
    """How long ago the last image was localized."""


@dataclass(frozen=True)
class Transition:
    """A row: at an event, from some states to another, where a condition holds."""

    event: Event
    sources: tuple[TrackState, ...]
    target: TrackState
    holds: Callable[[Situation], bool]
    when: str
    """The condition in words, with the names of settings."""


def next_transition(event: Event, state: TrackState, situation: Situation) -> Transition | None:
    """The first row that holds; None where the state stays."""
    for row in TRANSITIONS:
        if row.event is event and state in row.sources and row.holds(situation):
            return row
    return None


# -- conditions


def always(s: Situation) -> bool:
    return True


def contradicted(s: Situation) -> bool:
    return s.evidence.contradictions >= LOST_REJECTIONS


def starved(s: Situation) -> bool:
    return s.evidence.missing_ns() > s.config.lost_after_s * SECOND_NS


def start_not_confirmed(s: Situation) -> bool:
    # images that pass, and yet confirm nothing, are no better than none
    tried = s.evidence.images >= ENOUGH * CONFIRMATIONS
    return tried and s.evidence.lasts_ns() > s.config.lost_after_s * SECOND_NS


def very_unsure(s: Situation) -> bool:
    last = s.evidence.last
    return last.sigma_m > LOST_SIGMA[0] or last.sigma_deg > LOST_SIGMA[1]


def images_do_not_fit(s: Situation) -> bool:
    return s.evidence.missed >= DEGRADED_AFTER


def unsure(s: Situation) -> bool:
    last, (metres, degrees) = s.evidence.last, s.config.degraded_sigma
    return last.sigma_m > metres or last.sigma_deg > degrees


def few_inliers(s: Situation) -> bool:
    return _mean_inliers(s) < _min_inliers(s)


def innovation_stays_large(s: Situation) -> bool:
    # each alone within the gate, yet all of them on the same side: the track slides away from the map
    return s.evidence.innovation > MAX_INNOVATION


def measurements_scatter(s: Situation) -> bool:
    metres, degrees = s.config.tracking_scatter
    return not s.evidence.scatters_less(MORE_SCATTER * metres, MORE_SCATTER * degrees)


def confirmed(s: Situation) -> bool:
    c, evidence = s.config, s.evidence
    return (
        evidence.accepted >= CONFIRMATIONS
        and evidence.last.sigma_m < c.tracking_sigma_m
        and evidence.last.sigma_deg < c.tracking_sigma_deg
        and _mean_inliers(s) >= MORE_INLIERS * _min_inliers(s)
        and evidence.innovation < LESS_INNOVATION * MAX_INNOVATION
        and evidence.scatters_less(*c.tracking_scatter)
    )


def silent(s: Situation) -> bool:
    return s.silent_s > s.config.lost_after_s


def pose_is_old(s: Situation) -> bool:
    return s.silent_s > s.config.old_after_s


def _mean_inliers(s: Situation) -> float:
    """That of images so far; a state that depends on it has seen some."""
    return 0.0 if s.evidence.inlier_ratio is None else s.evidence.inlier_ratio


def _min_inliers(s: Situation) -> float:
    """The mean inlier ratio below which images do not confirm the pose."""
    return max(MORE_INLIERS_THAN_USED * s.min_inlier_ratio, USUAL_SHARE * s.evidence.last.usual_inliers)


# -- the table

_CONFIRM = (
    f"{CONFIRMATIONS} in a row are accepted, and agree: the pose is surer than `tracking_sigma_m` and, in rotation, "
    f"{TRACKING_DEG_PER_M:g} degrees for each metre of it, and they scatter about it by less than "
    f"{TRACKING_SCATTER[0]:g} and {TRACKING_SCATTER[1]:g} of that; inlier ratio and innovation are good"
)

TRANSITIONS = (
    Transition(Event.START, tuple(TrackState), _INITIALIZING, always,
               "a start pose is given: by a user, a parameter, the saved pose, or a search that found the place"),
    Transition(Event.RECONVERGENCE, (_LOST,), _INITIALIZING, always,
               f"{MIN_AGREEING} rejected measurements in a row agree with each other, no further than "
               f"{RECONVERGE_M:g} m from the pose"),
    Transition(Event.IMAGE, (_INITIALIZING, _TRACKING, _DEGRADED), _LOST, contradicted,
               f"{LOST_REJECTIONS} measurements contradict the pose; an accepted one makes up for two"),
    Transition(Event.IMAGE, (_INITIALIZING, _TRACKING, _DEGRADED), _LOST, starved,
               "no measurement is accepted for `lost_after_s`"),
    Transition(Event.IMAGE, (_INITIALIZING,), _LOST, start_not_confirmed,
               f"the start is not confirmed within `lost_after_s`, and {ENOUGH * CONFIRMATIONS} images"),
    # a start pose may be as unsure as it likes: whether images confirm it is what counts
    Transition(Event.IMAGE, (_TRACKING, _DEGRADED), _LOST, very_unsure,
               f"the standard deviation of the pose exceeds {LOST_SIGMA[0]:g} m or {LOST_SIGMA[1]:g} degrees"),
    Transition(Event.IMAGE, (_TRACKING,), _DEGRADED, images_do_not_fit,
               f"{DEGRADED_AFTER} images in a row are not accepted"),
    Transition(Event.IMAGE, (_TRACKING,), _DEGRADED, unsure,
               f"the pose is less sure than {DEGRADED_SIGMA[0]:g} times `tracking_sigma_m` or, in rotation, "
               f"{DEGRADED_SIGMA[1] * TRACKING_DEG_PER_M:g} degrees for each metre of it"),
    Transition(Event.IMAGE, (_TRACKING,), _DEGRADED, few_inliers,
               "the mean inlier ratio falls below twice `min_inlier_ratio`, or below half of what is usual"),
    Transition(Event.IMAGE, (_TRACKING,), _DEGRADED, innovation_stays_large,
               f"the mean innovation exceeds {MAX_INNOVATION:g}, where 1 is usual: the track slides away from the map"),
    Transition(Event.IMAGE, (_TRACKING,), _DEGRADED, measurements_scatter,
               "measurements scatter about the pose by more than twice as much as where TRACKING begins"),
    Transition(Event.IMAGE, (_INITIALIZING,), _TRACKING, confirmed,
               f"the next images confirm the start, also one that a search found: {_CONFIRM}"),
    Transition(Event.IMAGE, (_DEGRADED,), _TRACKING, confirmed, f"images confirm the pose again: {_CONFIRM}"),
    Transition(Event.SILENCE, (_INITIALIZING, _TRACKING, _DEGRADED), _LOST, silent,
               "no image is localized for `lost_after_s`"),
    Transition(Event.SILENCE, (_TRACKING,), _DEGRADED, pose_is_old,
               "no image is localized for a fifth of `lost_after_s`"),
)  # fmt: skip
"""In order: the first row that holds counts."""
