# SPDX-License-Identifier: Apache-2.0
"""Which points of a cloud are static surfaces: neither moving objects nor noise."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .moving import RangeImage, find_moving
from .noise import find_isolated


def find_static(
    points: np.ndarray, origin: np.ndarray, images: Iterable[RangeImage], remove_moving: bool = True
) -> np.ndarray:
    """Which points (N, 3) around `origin` (3,) are static, by range images of keyframes near them: (N,) bool."""
    keep = ~find_moving(points, origin, images) if remove_moving else np.ones(len(points), bool)
    keep[np.flatnonzero(keep)[find_isolated(points[keep])]] = False
    return keep
