# SPDX-License-Identifier: Apache-2.0
"""Intensities of any LiDAR in one unit: ranks among all returns of the sensor on the drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..datasets.bag import BagReader
from ..datasets.messages import Scan

_SCANS, _KNOTS = 40, 513
"""Scans that the curve is learned from, and its points."""


@dataclass(frozen=True)
class IntensityRanks:
    """The fraction of a sensor's returns that are weaker than a value, in whatever unit.

    Ranks do not depend on the unit: reflectivity in [0, 1], in 8 or 16 bits and counts of photons are increasing
    functions of each other. The sensor's dependence on distance remains.
    """

    values: tuple[float, ...] = ()
    """In the sensor's unit, rising; none for a sensor without intensity."""
    ranks: tuple[float, ...] = ()
    """Of each, in (0, 1)."""

    @classmethod
    def of(cls, intensity: np.ndarray) -> IntensityRanks:
        """Learned from returns (N,); no curve if all are equal: the sensor has no intensity."""
        values, counts = np.unique(intensity[np.isfinite(intensity)].astype(np.float64), return_counts=True)
        if len(values) < 2:
            return cls()
        ranks = (np.cumsum(counts) - 0.5 * counts) / counts.sum()
        if len(values) > _KNOTS:
            # points of the curve at evenly spaced ranks, and both ends
            some = np.unique(np.searchsorted(ranks, np.linspace(ranks[0], ranks[-1], _KNOTS)))
            values, ranks = values[some], ranks[some]
        return cls(tuple(values.tolist()), tuple(ranks.tolist()))

    def __call__(self, intensity: np.ndarray) -> np.ndarray:
        """Ranks (N,) float32 in (0, 1) of returns in the sensor's unit; zeros for a sensor without intensity."""
        if not self.values:
            return np.zeros(len(intensity), np.float32)
        return np.interp(intensity, self.values, self.ranks).astype(np.float32)


def ranks_of_bag(reader: BagReader, topic: str, starts_ns: list[int]) -> IntensityRanks:
    """Ranks learned from scans spread over a bag, by when its chunks begin."""
    chunks = np.linspace(0, len(starts_ns), _SCANS, endpoint=False)
    ends_ns = [*starts_ns, max(reader.span_ns[1], starts_ns[-1])]
    found = []
    # float64 nanoseconds of today are some hundred off, which does not matter here
    for start in np.interp(chunks, np.arange(len(ends_ns)), ends_ns).astype(np.int64).tolist():
        scan = next(reader.messages_as(Scan, topic, start), None)
        if scan is not None:
            found.append(scan.intensity)
    return IntensityRanks.of(np.concatenate(found)) if found else IntensityRanks()
