# SPDX-License-Identifier: Apache-2.0
"""The piece of map around a camera on the move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import MapFormatError

if TYPE_CHECKING:
    from ..lhmap import LHMap, MapPoints


class SubmapCache:
    """Crops of a map, each made to serve for some way: cutting one takes as long as a tenth of a localization."""

    def __init__(self, lhmap: LHMap):
        self._map = lhmap
        self._crop: MapPoints | None = None
        self._center, self._radius = np.zeros(3), 0.0

    def around(self, position: np.ndarray, radius_m: float, reuse_m: float) -> tuple[MapPoints, list[MapFormatError]]:
        """The points around `position` (3,), map frame, and what was wrong with tiles that are therefore missing.

        They reach at least `radius_m` far, in the horizontal plane; the crop of before is taken while its centre is no
        more than `reuse_m` away. One with tiles missing serves once.
        """
        if self._crop is not None and self._radius == radius_m + reuse_m:
            if np.linalg.norm(position - self._center) <= reuse_m:
                return self._crop, []
        damaged: list[MapFormatError] = []
        crop = self._map.crop(position, radius_m + reuse_m, damaged=damaged)
        self._crop = None if damaged else crop
        self._center, self._radius = np.array(position), radius_m + reuse_m
        return crop, damaged
