# SPDX-License-Identifier: Apache-2.0
"""What is known about the motion between two images: odometry if there is any, else constant velocity."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pydantic import Field

from ..configuration import Config
from ..errors import InputError
from ..geometry import interpolate, inverse, se3_exp, se3_log
from .manifold import lengths, transport_covariance

SECOND_NS = 1_000_000_000
TRANSLATION_PER_SECOND, ROTATION_PER_SECOND_DEG = 0.01, 0.05
"""What odometry errs after 1 s at rest [m, deg]: a standing robot must not become sure of its error."""
TRANSLATION_PER_RADIAN, ROTATION_PER_METRE = 1.0, 0.1
"""What odometry errs in position after turning by 1 rad, as a share of `translation_per_metre`, and in rotation after
1 m, as a share of `rotation_per_radian_deg`: few know these of their odometry, and they are the smaller part."""
SHOWN_DEG, SHOWN_PER_METRE, SHOWN_M = 0.5, 0.1, 0.05
"""What images show of a motion errs by this: docs/relocalization.md, "Without odometry"."""
ASIDE_DEG, MOVES_M = 30.0, 0.1
"""No vehicle that moves goes another way by more than this, and half of its turn, from one image to the next: images
show it where a part of them is covered, which looks as a turn and a step aside do."""
VELOCITY_WALK, TURN_WALK_DEG = (0.6, 0.15, 0.1), (1.0, 1.0, 3.0)
"""What constant velocity errs after 1 s along, and about, x, y, z of base_link [m, deg]."""
UNKNOWN_SPEED = 8.0
"""Forward speed to reckon with while none is known [m/s]: that of a street."""
MAX_SPEED, MAX_ACCELERATION = 70.0, 20.0
"""Odometry faster than this, or whose speed changes faster, jumps [m/s, m/s^2]: no vehicle does."""
MAX_GAP_S, MAX_EXTRAPOLATION_S = 0.5, 0.15
"""Odometry is not interpolated over longer gaps, and continued at most so long."""
STANDS, MIN_STEP_NS = (0.1, 5.0), 100_000_000
"""A robot that moves less stands [m/s, deg/s]; told from poses no less apart than this."""
HISTORY_S = 30.0
"""Odometry older than this is forgotten."""
MIN_S = 0.05
"""Velocity is reckoned over no less time: two poses some ms apart, as of two cameras, differ by their errors alone."""

MIN_JUMP_RAD, MAX_TURN_RAD_S2 = 0.25, 10.0
"""Odometry that turns by this more than before, or changes its rate of turn faster, jumps."""


class MotionConfig(Config):
    """How far odometry is trusted.

    Errors are random walks: variance grows with distance, angle and time, so the rate of images does not matter.
    """

    translation_per_metre: float = Field(
        0.05, gt=0, le=1, description="noise of the odometry: standard deviation of the position, each axis, after 1 m "
        "driven or after turning by 1 rad; smaller: the pose follows the odometry more, and images less [m/sqrt(m)]",
    )  # fmt: skip
    rotation_per_radian_deg: float = Field(
        1.0, ge=0, le=30, description="noise of the odometry: standard deviation of the rotation, each axis, after "
        "turning by 1 rad, a tenth of it after 1 m driven; smaller: the pose follows the odometry more, and images "
        "less [deg/sqrt(rad)]",
    )  # fmt: skip


class OdometryBuffer:
    """Poses of base_link in the odometry frame by stamp; bounded in time, interpolated on request."""

    def __init__(self) -> None:
        self._stamps: list[int] = []
        self._poses: list[np.ndarray] = []
        self.begun = 0
        """How often it began anew."""

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def latest_ns(self) -> int | None:
        """Stamp of the newest pose, or None while there is none."""
        return self._stamps[-1] if self._stamps else None

    def clear(self) -> None:
        """Forget everything (the clock or the odometry frame has changed)."""
        self._stamps.clear()
        self._poses.clear()
        self.begun += 1

    def add(self, stamp_ns: int, T_odom_base: np.ndarray) -> None:
        """Add a pose (4, 4); the same stamp twice is ignored.

        Raises InputError for a pose that is not finite and for a stamp older than the newest one. A pose that
        cannot be reached at `MAX_SPEED` and `MAX_ACCELERATION` starts the buffer anew, so nothing is measured across
        the jump.
        """
        if not np.isfinite(T_odom_base).all():
            raise InputError(f"odometry at {stamp_ns} ns is not finite")
        if self._stamps and stamp_ns <= self._stamps[-1]:
            if stamp_ns == self._stamps[-1]:
                return
            raise InputError(f"odometry goes back in time: {stamp_ns} ns after {self._stamps[-1]} ns")
        if self._stamps and self._is_jump(stamp_ns, T_odom_base):
            self.clear()
        self._stamps.append(stamp_ns)
        self._poses.append(np.array(T_odom_base, dtype=float))
        self._forget(stamp_ns - int(HISTORY_S * SECOND_NS))

    def at(self, stamp_ns: int) -> np.ndarray | None:
        """The pose at a stamp, interpolated or briefly continued; None where odometry does not reach."""
        if not self._stamps:
            return None
        right = bisect_left(self._stamps, stamp_ns)
        if right < len(self._stamps) and self._stamps[right] == stamp_ns:
            return self._poses[right]
        if right == 0:
            return None
        beyond = right == len(self._stamps)
        if beyond and (len(self) < 2 or self._exceeds(self._stamps[-1], stamp_ns, MAX_EXTRAPOLATION_S)):
            return None
        left = right - 2 if beyond else right - 1
        t0, t1 = self._stamps[left], self._stamps[left + 1]
        if self._exceeds(t0, t1, MAX_GAP_S):
            return None
        return interpolate(self._poses[left], self._poses[left + 1], (stamp_ns - t0) / (t1 - t0))

    def span(self, start_ns: int, end_ns: int) -> tuple[int, int] | None:
        """The part of a time span that odometry reaches, first and last stamp; None if it is none."""
        first = start_ns if self.at(start_ns) is not None else self._neighbour(bisect_left(self._stamps, start_ns))
        last = end_ns if self.at(end_ns) is not None else self._neighbour(bisect_right(self._stamps, end_ns) - 1)
        if first is None or last is None or not start_ns <= first < last <= end_ns:
            return None
        return first, last

    def stood_s(self, start_ns: int, end_ns: int) -> float:
        """For how much of a time span it did not move [s]."""
        stamps, stood = self._stamps, 0
        k = max(bisect_right(stamps, start_ns) - 1, 0)
        while k + 1 < len(stamps) and stamps[k] < end_ns:
            # where it is told often, steps are of noise: several together, but for one over which it was silent
            after = k + 1
            for later in range(k + 2, len(stamps)):
                if max(stamps[after] - stamps[k], stamps[later] - stamps[after]) >= MIN_STEP_NS:
                    break
                after = later
            seconds = (stamps[after] - stamps[k]) / SECOND_NS
            metres, degrees = lengths(se3_log(inverse(self._poses[k]) @ self._poses[after]))
            if metres < STANDS[0] * seconds and degrees < STANDS[1] * seconds:
                stood += max(min(stamps[after], end_ns) - max(stamps[k], start_ns), 0)
            k = after
        return stood / SECOND_NS

    def _neighbour(self, index: int) -> int | None:
        return self._stamps[index] if 0 <= index < len(self._stamps) else None

    def _is_jump(self, stamp_ns: int, pose: np.ndarray) -> bool:
        step = pose[:3, 3] - self._poses[-1][:3, 3]
        seconds = (stamp_ns - self._stamps[-1]) / SECOND_NS
        # a little is granted to any step: odometry published in bursts has tiny intervals
        if np.linalg.norm(step) > 0.1 + MAX_SPEED * seconds:
            return True
        if len(self) < 2:
            return False
        before = (self._stamps[-1] - self._stamps[-2]) / SECOND_NS
        change = step - (self._poses[-1][:3, 3] - self._poses[-2][:3, 3]) / before * seconds
        turn_before, turn = (se3_log(inverse(a) @ b)[3:] for a, b in pairwise([*self._poses[-2:], pose]))
        turned = np.linalg.norm(turn - turn_before / before * seconds)
        if turned > MIN_JUMP_RAD + MAX_TURN_RAD_S2 * seconds * (seconds + before) / 2:
            return True
        return bool(np.linalg.norm(change) > 0.5 + MAX_ACCELERATION * seconds * (seconds + before) / 2)

    def _exceeds(self, t0: int, t1: int, limit_s: float) -> bool:
        return t1 - t0 > limit_s * SECOND_NS

    def _forget(self, before_ns: int) -> None:
        if self._stamps[0] < before_ns:
            keep = bisect_left(self._stamps, before_ns)
            del self._stamps[:keep], self._poses[:keep]


@dataclass(frozen=True)
class Motion:
    """A motion of base_link between two stamps."""

    delta: np.ndarray
    """(4, 4), pose of base_link at the second stamp in base_link at the first."""
    covariance: np.ndarray
    """(6, 6), at the second stamp, body frame of base_link."""
    source: str
    """"odometry", "images" (what they show of it), "velocity" (constant velocity) or "none" (nothing is known: assumed
    at rest, widely uncertain)."""
    idle_s: float = 0.0
    """For so much of the time the odometry stood, or nothing measured the motion [s]."""


class MotionModel:
    """Answers how base_link moved between two stamps, and how sure that is."""

    def __init__(self, config: MotionConfig):
        self._config = config
        self.odometry = OdometryBuffer()
        self._velocity: np.ndarray | None = None
        self._since: tuple[int, np.ndarray] | None = None  # stamp and pose that the velocity is reckoned from
        self._doubted = False  # the last odometry was left out

    @property
    def velocity(self) -> np.ndarray | None:
        """(6,) twist of base_link in its own frame [m/s, rad/s]; None while none is known."""
        return self._velocity

    def reconfigure(self, config: MotionConfig) -> None:
        """Takes other settings; what was learned and received stays."""
        self._config = config

    def reset(self) -> None:
        """Forget the velocity and the poses it came from; odometry stays."""
        self._velocity = self._since = None

    def learn(self, motion: Motion, start_ns: int, end_ns: int, pose: np.ndarray | None) -> None:
        """Learn the velocity from what came between two stamps.

        That is the motion where odometry measured it, else the pose (4, 4) at its end and those before; None where none
        was believed.
        """
        if motion.source == "odometry":
            self.observe(motion.delta, (end_ns - start_ns) / SECOND_NS)
            self._since = None
        elif pose is None:
            self._since = None
        elif self._since is None:
            self._since = end_ns, pose
        elif end_ns - self._since[0] >= MIN_S * SECOND_NS:
            self.observe(inverse(self._since[1]) @ pose, (end_ns - self._since[0]) / SECOND_NS)
            self._since = end_ns, pose

    def observe(self, delta: np.ndarray, seconds: float) -> None:
        """Learn the velocity from a motion (4, 4) that took `seconds`; without effect if that is not positive."""
        if seconds <= 0:
            return
        measured = se3_log(delta) / seconds
        # two posteriors differ by their noise as well: average with the velocity known so far
        self._velocity = measured if self._velocity is None else 0.5 * (self._velocity + measured)

    def between(self, start_ns: int, end_ns: int) -> Motion:
        """The motion from one stamp to a later one.

        Where odometry reaches only a part of the span, as when it began after the start pose, the velocity it shows
        there is kept before and after.
        """
        span = self.odometry.span(start_ns, end_ns)
        if span is None:
            return self._coast((end_ns - start_ns) / SECOND_NS, self._velocity)
        first, last = span
        seconds = (last - first) / SECOND_NS
        T_odom_first, T_odom_last = self.odometry.at(first), self.odometry.at(last)
        assert T_odom_first is not None and T_odom_last is not None  # `span` has looked
        delta = inverse(T_odom_first) @ T_odom_last
        measured = Motion(delta, self._odometry_noise(delta, seconds), "odometry", self.odometry.stood_s(first, last))
        velocity = se3_log(delta) / seconds
        if self._doubted:
            self._doubted, self._velocity = False, velocity
        elif self._is_sudden(velocity, seconds):
            # where odometry was silent before it jumps, itself does not tell; if it is so, the next part says so too
            self._doubted = True
            return self._coast((end_ns - start_ns) / SECOND_NS, self._velocity)
        before = self._coast((first - start_ns) / SECOND_NS, velocity)
        after = self._coast((end_ns - last) / SECOND_NS, velocity)
        return _joined(_joined(before, measured), after)

    def _is_sudden(self, velocity: np.ndarray, seconds: float) -> bool:
        """No vehicle comes to this velocity (6,) from the one that is known in so short a time."""
        if self._velocity is None:
            return False
        change_m = float(np.linalg.norm(velocity[:3] - self._velocity[:3])) * seconds
        return change_m > 0.5 + MAX_ACCELERATION * seconds**2

    def _coast(self, seconds: float, velocity: np.ndarray | None) -> Motion:
        """A motion that was not measured."""
        if velocity is None:
            walk = self._velocity_noise(seconds)
            walk[0, 0] += (UNKNOWN_SPEED * seconds) ** 2
            return Motion(np.eye(4), walk, "none", seconds)
        return Motion(se3_exp(velocity * seconds), self._velocity_noise(seconds), "velocity", seconds)

    def _odometry_noise(self, delta: np.ndarray, seconds: float) -> np.ndarray:
        c, xi = self._config, se3_log(delta)
        metres, radians = np.linalg.norm(xi[:3]), np.linalg.norm(xi[3:])
        translation = (
            c.translation_per_metre**2 * metres
            + (TRANSLATION_PER_RADIAN * c.translation_per_metre) ** 2 * radians
            + TRANSLATION_PER_SECOND**2 * seconds
        )
        rotation_deg = (
            (ROTATION_PER_METRE * c.rotation_per_radian_deg) ** 2 * metres
            + c.rotation_per_radian_deg**2 * radians
            + ROTATION_PER_SECOND_DEG**2 * seconds
        )
        return np.diag([translation] * 3 + [np.radians(1) ** 2 * rotation_deg] * 3)

    def _velocity_noise(self, seconds: float) -> np.ndarray:
        sigma = np.concatenate([VELOCITY_WALK, np.radians(TURN_WALK_DEG)])
        return np.diag(sigma**2 * seconds)


def goes_on(way: np.ndarray, coasted: Motion) -> bool:
    """Whether a motion (4, 4) that the images show leads about where the robot was going."""
    steps = way[:3, 3], coasted.delta[:3, 3]
    metres = [float(np.linalg.norm(step)) for step in steps]
    if min(metres) < MOVES_M:
        return True
    aside = np.degrees(np.arccos(np.clip(steps[0] @ steps[1] / (metres[0] * metres[1]), -1, 1)))
    return bool(aside <= ASIDE_DEG + np.degrees(np.linalg.norm(se3_log(way)[3:])) / 2)


def shown_by_images(way: np.ndarray, coasted: Motion) -> Motion:
    """A motion (4, 4) that the images show, where otherwise that at constant velocity would be taken."""
    covariance = coasted.covariance.copy()
    if coasted.source == "none":
        along = SHOWN_PER_METRE * float(np.linalg.norm(way[:3, 3])) + SHOWN_M
        covariance[:3, :3] = np.eye(3) * along**2
    covariance[3:, 3:] = np.eye(3) * np.radians(SHOWN_DEG) ** 2
    return Motion(way, covariance, "images")


def _joined(first: Motion, second: Motion) -> Motion:
    """One motion after the other; odometry has its part in it."""
    covariance = transport_covariance(first.covariance, second.delta) + second.covariance
    return Motion(first.delta @ second.delta, covariance, "odometry", first.idle_s + second.idle_s)
