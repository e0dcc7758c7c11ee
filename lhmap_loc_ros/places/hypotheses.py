# SPDX-License-Identifier: Apache-2.0
"""Poses that a robot may have, carried on by odometry, each with what all images since say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry import inverse, pose_error
from ..localization.relocalize import PoseHypothesis
from .verdict import APART_M, Verdict, metres_between

KEPT = 4
"""So many are carried on: the right one may begin as the third best."""
SAME = 1.0, 4.0
"""An image tells of a hypothesis if its fit nearby lies within these of it [m, deg]."""
BETWEEN_M = 1.0
"""Images nearer to each other do not count as two: they see the same."""
NOT_SEEN = -1.0
"""Evidence of an image that does not fit where a hypothesis says, or that leads elsewhere from there."""
LEADING = 0.5
"""Evidence that one image alone hardly ever gives for a wrong pose: 0.42 at most of 51 (seed 9501)."""
CONFIRMED = 1.0
"""Evidence at which two images or more are believed, and by which it must surpass that for any other hypothesis."""


@dataclass(frozen=True)
class Hypothesis:
    """A pose, and the images that were compared with the map there."""

    place: PoseHypothesis
    """At the last image."""
    T_odom_base: np.ndarray
    """(4, 4), odometry at the last image."""
    evidence: float
    """The sum of what the images say, see `Verdict.evidence`."""
    images: int = 1
    seen: Verdict | None = None
    """What the last image says; None where it does not fit."""

    def pose_at(self, T_odom_base: np.ndarray) -> np.ndarray:
        """T_map_base (4, 4) where the odometry says `T_odom_base`."""
        return self.place.T_map_base @ inverse(self.T_odom_base) @ T_odom_base


class Hypotheses:
    """Those that the images so far leave, the likeliest first."""

    def __init__(self) -> None:
        self._kept: list[Hypothesis] = []

    def clear(self) -> None:
        """Forgets all images."""
        self._kept = []

    def poses_at(self, T_odom_base: np.ndarray) -> list[np.ndarray]:
        """T_map_base (4, 4) of each."""
        return [hypothesis.pose_at(T_odom_base) for hypothesis in self._kept]

    def add(self, verdicts: Sequence[Verdict], T_odom_base: np.ndarray) -> None:
        """Takes what an image says, the best fit first; `poses_at` must have been among what it was compared with."""
        new = [self._after(hypothesis, verdicts, T_odom_base) for hypothesis in self._kept]
        new += [Hypothesis(v.place, T_odom_base, v.evidence, seen=v) for v in verdicts]
        self._kept = []
        # one that more images tell of stands for a fit nearby that begins another
        for hypothesis in sorted(new, key=lambda h: (-h.images, -h.evidence)):
            pose = hypothesis.place.T_map_base
            if all(metres_between(pose, other.place.T_map_base) > APART_M for other in self._kept):
                self._kept.append(hypothesis)
        self._kept = sorted(self._kept, key=lambda h: -h.evidence)[:KEPT]

    @property
    def leading(self) -> bool:
        """Whether one of them is likely enough for the next image to be compared with it and few others."""
        return bool(self._kept) and self._kept[0].evidence >= LEADING and self._kept[0].seen is not None

    def confirmed(self) -> Verdict | None:
        """What the last image says of the likeliest, if all of them together are enough to believe it."""
        if not self._kept:
            return None
        first, rival = self._kept[0], max((h.evidence for h in self._kept[1:]), default=0.0)
        enough = first.images >= 2 and first.evidence >= max(CONFIRMED, rival + CONFIRMED)
        return first.seen if enough else None

    @staticmethod
    def _after(hypothesis: Hypothesis, verdicts: Sequence[Verdict], T_odom_base: np.ndarray) -> Hypothesis:
        """A hypothesis after one more image."""
        pose = hypothesis.pose_at(T_odom_base)
        near = [v for v in verdicts if _within(pose_error(v.place.T_map_base, pose))]
        seen = max(near, key=lambda v: v.place.inlier_ratio, default=None)
        says = NOT_SEEN if seen is None else seen.evidence
        place = PoseHypothesis(pose, hypothesis.place.covariance, 0.0) if seen is None else seen.place
        moved = np.linalg.norm((inverse(hypothesis.T_odom_base) @ T_odom_base)[:3, 3])
        if moved < BETWEEN_M:  # the same view once more: it may say less, but not more
            return Hypothesis(place, T_odom_base, min(hypothesis.evidence, says), hypothesis.images, seen)
        return Hypothesis(place, T_odom_base, hypothesis.evidence + says, hypothesis.images + 1, seen)


def _within(errors: tuple[float, float]) -> bool:
    return errors[0] < SAME[0] and errors[1] < SAME[1]
