# SPDX-License-Identifier: Apache-2.0
"""From the solver's covariance to one that the errors obey.

The solver takes the errors of the matches as independent. They are not: neighbouring matches err together, by an
amount that shows in how few of them agree and in how far the last iteration still moved the pose. How much, validation
data tells: of rough starts, from which some poses go astray, and of near ones, from which hardly any does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ModelError

METADATA_KEY = "covariance"
_INLIERS, _STEP_M = 0.05, 0.02
"""Added to the inlier ratio and to the last step: they bound the covariance from below."""


def regressors(inlier_ratio: ArrayLike, step_m: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """What the powers of a `CovarianceModel` apply to, as logarithms."""
    return np.log(np.asarray(inlier_ratio) + _INLIERS), np.log(np.minimum(step_m, 10.0) + _STEP_M)


@dataclass(frozen=True)
class CovarianceModel:
    """Factors on the standard deviation of each axis of the tangent vector, learned from validation data."""

    log_scale: tuple[float, ...] = (0.0,) * 6
    """(6) natural logarithm of the factor where the regressors are zero."""
    inlier_power: tuple[float, ...] = (0.0,) * 6
    """(6) of the inlier ratio; negative: the fewer agree, the less sure."""
    step_power: tuple[float, ...] = (0.0,) * 6
    """(6) of the size of the last correction; positive: a pose still on the move is less sure."""

    def factors(self, inlier_ratio: float, step_m: float) -> np.ndarray:
        """(6) factors on the standard deviations of a pose whose last correction was `step_m` metres."""
        inliers, step = regressors(inlier_ratio, step_m)
        return np.exp(self.log_scale + inliers * np.array(self.inlier_power) + step * np.array(self.step_power))


@dataclass(frozen=True)
class StartCovariances:
    """The covariance models of a network: after a rough start, and after a near one."""

    rough: CovarianceModel = CovarianceModel()
    near: CovarianceModel = CovarianceModel()

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> StartCovariances:
        """Those of a network's metadata, neutral if there are none; raises ModelError for damaged ones."""
        values = metadata.get(METADATA_KEY)
        if values is None:
            return cls()
        starts, names = ([f.name for f in fields(c)] for c in (cls, CovarianceModel))
        try:
            numbers = np.array([[[float(x) for x in values[start][name]] for name in names] for start in starts])
        except (KeyError, TypeError, ValueError):
            numbers = np.empty(0)
        if numbers.shape != (2, 3, 6) or not np.isfinite(numbers).all():
            raise ModelError(
                f"metadata {METADATA_KEY!r} is {values!r}, expected for {' and '.join(starts)} six finite numbers "
                f"each of {', '.join(names)}"
            )
        return cls(*(CovarianceModel(*map(tuple, rows)) for rows in numbers.tolist()))
