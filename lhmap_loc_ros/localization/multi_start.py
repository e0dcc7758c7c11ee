# SPDX-License-Identifier: Apache-2.0
"""Where a refinement begins anew when it led to no agreement, and which of its ends is the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry import inverse, make_pose, perturb, se3_log
from .iterations import Fit
from .refine_plan import COARSE_CELL, FINE_CELL

AGREEMENT = 0.3
"""Inlier ratio above which no hypothesis is tried: docs/training.md, "a rough start that leads to no agreement"."""
AHEAD_M = 1.5, 3.0
"""How much nearer and further hypotheses lie along the viewing direction [m]: docs/training.md, as above."""
BESIDE_M, TURN_DEG = 1.2, 6.0
"""How far beside the start, and how much turned there, the others are [m, deg]."""
FIRST_CELLS = (COARSE_CELL, COARSE_CELL, FINE_CELL)
"""The first iterations of each hypothesis."""
KEPT = 3
"""So many hypotheses, the best after these, go on to the end."""
REACH_M = 4.0
"""At this distance from the start an inlier ratio counts for 0.61 of it [m]."""
MIN_INLIER_RATIO = 0.08
"""A hypothesis must lead to this inlier ratio: two wrong places agree by chance."""
SHARPNESS = 4.0
"""A pose that fits nine tenths as well as the best counts 0.66 as much, one that fits half as well 0.06:
docs/training.md, "how sure a rough start is"."""


def hypotheses(found: np.ndarray, start: np.ndarray) -> list[np.ndarray]:
    """Poses to begin anew from, where iterations from `start` ended at `found` and little agrees there.

    Many go astray along the viewing direction, which an image tells least about: they end with the right orientation
    some metres ahead or behind, where each iteration corrects a fraction of it. Others take one side of the street for
    another, and turn to make it fit: those begin beside the start, turned.
    """
    ahead = [perturb(found, (0.0, 0.0, z), (0.0, 0.0, 0.0)) for step in AHEAD_M for z in (step, -step)]
    beside = [
        perturb(start, (x, 0.0, 0.0), (0.0, yaw, 0.0)) for x in (BESIDE_M, -BESIDE_M) for yaw in (TURN_DEG, -TURN_DEG)
    ]
    return [make_pose(found[:3, :3], start[:3, 3]), *ahead, *beside]


def spread(best: Fit, others: Sequence[Fit], start: np.ndarray) -> np.ndarray:
    """How far poses that fit as well lie from the best: (6, 6), of the tangent vector in its frame [m, rad].

    What is added to the covariance of one pose for that of a mixture of all. Where every start leads to another pose
    the image tells none of them, and where all lead to the same nothing is added.
    """
    most, out, total = max(merit(best, start), 1e-9), np.zeros((6, 6)), 1.0
    for other in others:
        weight = min(merit(other, start) / most, 1.0) ** SHARPNESS
        offset = se3_log(inverse(best.pose) @ other.pose)
        out += weight * np.outer(offset, offset)
        total += weight
    return out / total


def merit(fit: Fit, start: np.ndarray) -> float:
    """How well a pose fits, less so far from the start.

    Where streets repeat themselves, a far place may agree a little better than the one where the robot is.
    """
    metres = np.linalg.norm(fit.pose[:3, 3] - start[:3, 3])
    return fit.agreement * np.exp(-0.5 * (metres / REACH_M) ** 2)
