# SPDX-License-Identifier: Apache-2.0
"""The piece of map around a camera on the move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import MapFormatError

if TYPE_CHECKING:
    from ..lhmap import LHMap, MapPoints


SUBMAP_RADIUS_M = 60.0
"""How far around the camera the map is looked at: docs/tuning.md, "What is not a parameter"."""
REUSE_M = 4.0
"""Submaps reach so much further, and serve until the camera has gone so far."""
PREFETCH_M = 40.0
"""So far beyond a submap the map is read in the background: two seconds at 70 km/h."""
MIN_SUBMAP_POINTS = 200
"""With fewer map points around, images are not used: the end of the map."""


class SubmapCache:
    """Submaps of a map, each made to serve for some way: cutting one takes as long as a tenth of a localization."""

    def __init__(self, lhmap: LHMap, radius_m: float | None = None, reuse_m: float = REUSE_M):
        """`radius_m`: other than `SUBMAP_RADIUS_M`."""
        self._map, self._radius, self._reuse = lhmap, radius_m or SUBMAP_RADIUS_M, reuse_m
        self._submap: MapPoints | None = None
        self._center = np.zeros(3)

    def get(self, position: np.ndarray) -> tuple[MapPoints, list[MapFormatError]]:
        """The points around `position` (3,), map frame, and what was wrong with tiles that are therefore missing.

        They reach at least `radius_m` far, in the horizontal plane; the last submap is taken while its centre is no
        more than `reuse_m` away. One with tiles missing serves once.
        """
        if self._submap is not None and np.linalg.norm(position - self._center) <= self._reuse:
            return self._submap, []
        damaged: list[MapFormatError] = []
        submap = self._map.crop(position, self._radius + self._reuse, damaged=damaged)
        self._submap = None if damaged else submap
        self._center = np.array(position)
        return submap, damaged

    def prefetch(self, position: np.ndarray) -> None:
        """Reads the map around a position (3,), map frame, in the background."""
        self._map.prefetch(position, self._radius + self._reuse + PREFETCH_M)
