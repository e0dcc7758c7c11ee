# SPDX-License-Identifier: Apache-2.0
"""How well an image fits the map at its best place, and what that must come to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..localization.manifold import max_std
from ..localization.relocalize import PoseHypothesis

BY_CHANCE = 0.1
"""An inlier ratio that the best of some wrong places nearly always reaches."""


def metres_between(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of the positions of two poses (4, 4)."""
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3]))


@dataclass(frozen=True)
class Verdict:
    """A pose that an image was compared with, refined to the end, and how far it may be believed."""

    place: PoseHypothesis
    rival: float
    """Inlier ratio of the best fitting pose elsewhere; 0 where nothing else fits at all."""
    agrees: bool
    """Another start nearby led to the same pose; it is not tried where so little fits that nothing is believed."""

    @property
    def score(self) -> float:
        """Inlier ratio over the standard deviation of the position [1/m]; it tells right from wrong places
        better than either alone."""
        return self.place.inlier_ratio / max(max_std(self.place.covariance)[0], 1e-3)

    @property
    def margin(self) -> float:
        """How many times better it fits than anything elsewhere."""
        return self.place.inlier_ratio / max(self.rival, 1e-3)

    @property
    def evidence(self) -> float:
        """How much the image speaks for the pose: the logarithm of how many times better it fits than anything else
        that it was compared with, within -1 and 1; 0.1 fits by chance everywhere."""
        ratio = max(self.place.inlier_ratio, 1e-3) / max(self.rival, BY_CHANCE)
        return float(np.clip(np.log(ratio), -1.0, 1.0))


@dataclass(frozen=True)
class Demands:
    """What a verdict must show to be believed."""

    score: float
    inlier_ratio: float
    margin: float

    def met_by(self, verdict: Verdict) -> bool:
        """Whether the verdict shows all of it."""
        return verdict.agrees and self.met_from_one_start(verdict)

    def met_from_one_start(self, verdict: Verdict) -> bool:
        """Whether the verdict shows all of it but that another start leads to the same."""
        fits = verdict.score >= self.score and verdict.place.inlier_ratio >= self.inlier_ratio
        return fits and verdict.margin >= self.margin


ALONE = Demands(score=4.0, inlier_ratio=0.35, margin=2.0)
"""For one image to be believed: at a wrong place one was seen to reach 2.9, 0.30 and 2.0."""
TOGETHER = Demands(score=1.0, inlier_ratio=0.15, margin=1.0)
"""For the last of several images that were carried to the same pose, beside what all of them say together."""
