# SPDX-License-Identifier: Apache-2.0
"""The piece of map around a camera on the move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import MapFormatError

if TYPE_CHECKING:
    from ..lhmap import LHMap, MapPoints


class SubmapCache:
    """Submaps of a map, each made to serve for some way: cutting one takes as long as a tenth of a localization."""

    def __init__(self, lhmap: LHMap):
        self._map = lhmap
        self._submap: MapPoints | None = None
        self._center, self._radius = np.zeros(3), 0.0

    def get(self, position: np.ndarray, radius_m: float, reuse_m: float) -> tuple[MapPoints, list[MapFormatError]]:
        """The points around `position` (3,), map frame, and what was wrong with tiles that are therefore missing.

        They reach at least `radius_m` far, in the horizontal plane; the last submap is taken while its centre is no
        more than `reuse_m` away. One with tiles missing serves once.
        """
        if self._submap is not None and self._radius == radius_m + reuse_m:
            if np.linalg.norm(position - self._center) <= reuse_m:
                return self._submap, []
        damaged: list[MapFormatError] = []
        submap = self._map.crop(position, radius_m + reuse_m, damaged=damaged)
        self._submap = None if damaged else submap
        self._center, self._radius = np.array(position), radius_m + reuse_m
        return submap, damaged
