# SPDX-License-Identifier: Apache-2.0
"""Poses that a robot may have, carried on as it moves, each with what all images since say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..geometry import pose_error
from ..localization.relocalize import APART_M, PoseHypothesis
from ..localization.visual_odometry import MotionFrom
from .verdict import Verdict, metres_between

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
    """At the last image, or at the one to come, to which it was carried."""
    evidence: float
    """The sum of what the images say, see `Verdict.evidence`."""
    images: int = 1
    seen: Verdict | None = None
    """What the last image says; None where it does not fit."""
    moved_m: float = 0.0
    """How far it was carried since the last image that counted."""


class Hypotheses:
    """Those that the images so far leave, the likeliest first."""

    def __init__(self) -> None:
        self._kept: list[Hypothesis] = []

    def clear(self) -> None:
        """Forgets all images."""
        self._kept = []

    @property
    def poses(self) -> list[np.ndarray]:
        """T_map_base (4, 4) of each."""
        return [hypothesis.place.T_map_base for hypothesis in self._kept]

    def carry(self, motion: MotionFrom) -> np.ndarray | None:
        """Moves all to the next image; how the likeliest of them moved (4, 4), T_before_now, None: not known.

        Those are forgotten of which the motion does not tell where they are.
        """
        if not self._kept:
            return motion(None)
        ways = [motion(pose) for pose in self.poses]
        moved = [(h, way) for h, way in zip(self._kept, ways, strict=True) if way is not None]
        self._kept = [_carried(hypothesis, way) for hypothesis, way in moved]
        return moved[0][1] if moved else None

    def add(self, verdicts: Sequence[Verdict]) -> None:
        """Takes what an image says, the best fit first; `poses` must have been among what it was compared with."""
        new = [self._after(hypothesis, verdicts) for hypothesis in self._kept]
        new += [Hypothesis(v.place, v.evidence, seen=v) for v in verdicts]
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
    def _after(hypothesis: Hypothesis, verdicts: Sequence[Verdict]) -> Hypothesis:
        """A hypothesis after one more image."""
        pose = hypothesis.place.T_map_base
        near = [v for v in verdicts if _within(pose_error(v.place.T_map_base, pose))]
        seen = max(near, key=lambda v: v.place.inlier_ratio, default=None)
        says = NOT_SEEN if seen is None else seen.evidence
        place = hypothesis.place if seen is None else seen.place
        if hypothesis.moved_m < BETWEEN_M:  # the same view once more: it may say less, but not more
            evidence = min(hypothesis.evidence, says)
            return replace(hypothesis, place=place, evidence=evidence, seen=seen)
        return Hypothesis(place, hypothesis.evidence + says, hypothesis.images + 1, seen)


def _carried(hypothesis: Hypothesis, way: np.ndarray) -> Hypothesis:
    place = replace(hypothesis.place, T_map_base=hypothesis.place.T_map_base @ way, inlier_ratio=0.0)
    return replace(hypothesis, place=place, moved_m=hypothesis.moved_m + float(np.linalg.norm(way[:3, 3])))


def _within(errors: tuple[float, float]) -> bool:
    return errors[0] < SAME[0] and errors[1] < SAME[1]
