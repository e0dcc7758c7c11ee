# SPDX-License-Identifier: Apache-2.0
"""Which points of a cloud are there to stay."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .config import BuildConfig
from .moving import RangeImage, find_moving
from .noise import find_isolated


def find_static(
    points: np.ndarray, origin: np.ndarray, images: Iterable[RangeImage], config: BuildConfig
) -> np.ndarray:
    """Which points (N, 3) around `origin` (3,) stay, by range images from around, and are not alone: (N,) bool."""
    keep = np.ones(len(points), bool)
    if config.moving.enabled:
        keep &= ~find_moving(points, origin, images, config.moving)
    if config.min_neighbours > 1:
        alone = find_isolated(points[keep], config.isolation_m, config.min_neighbours)
        keep[np.flatnonzero(keep)[alone]] = False
    return keep
