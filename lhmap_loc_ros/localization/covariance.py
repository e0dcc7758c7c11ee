# SPDX-License-Identifier: Apache-2.0
"""From the solver's covariance to one that the errors obey.

The solver takes the errors of the matches as independent. They are not: neighbouring matches err together, by an
amount that shows in how few of them agree and in how far the last pass still moved the pose. How much, validation
data tells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ModelError

METADATA_KEY = "covariance"
_INLIERS, _STEP_M = 0.05, 0.02
"""Added to the inlier ratio and to the last step: nobody is surer than these let him be."""


def regressors(inlier_ratio, step_m) -> tuple[np.ndarray, np.ndarray]:
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

    @classmethod
    def of(cls, metadata: dict) -> CovarianceModel:
        """That of a network's metadata, or none at all; raises ModelError for one that is damaged."""
        values = metadata.get(METADATA_KEY)
        if values is None:
            return cls()
        try:
            numbers = np.array([[float(x) for x in values[name]] for name in cls.__dataclass_fields__])
        except (KeyError, TypeError, ValueError):
            numbers = np.empty(0)
        if numbers.shape != (3, 6) or not np.isfinite(numbers).all():
            expected = ", ".join(cls.__dataclass_fields__)
            raise ModelError(f"metadata {METADATA_KEY!r} is {values!r}, expected six finite numbers each of {expected}")
        return cls(*(tuple(row) for row in numbers.tolist()))

    def factors(self, inlier_ratio: float, step_m: float) -> np.ndarray:
        """(6) factors on the standard deviations of a pose whose last correction was `step_m` metres."""
        inliers, step = regressors(inlier_ratio, step_m)
        return np.exp(self.log_scale + inliers * np.array(self.inlier_power) + step * np.array(self.step_power))
