# SPDX-License-Identifier: Apache-2.0
"""An error-state Kalman filter of one pose on SE(3): ``T = T_hat exp(xi)``, xi ~ N(0, covariance).

It keeps two covariances, of which one decides and the other is published. Errors of consecutive images are correlated,
by an amount that is not known: `covariance` assumes a fixed correlation, and is conservative; `honest` joins prediction
and image by covariance intersection, which holds for any correlation, and is about what errors are.
"""

from __future__ import annotations

import numpy as np

from ..geometry import inverse, se3_exp, se3_log
from .manifold import covariance_intersection, right_jacobian, symmetric, transport_covariance
from .measurement import REGULARIZATION, Measurement, mahalanobis
from .motion import Motion


class PoseFilter:
    """The belief about one pose; `pose` (4, 4) and `covariance` (6, 6) in the frame of the body."""

    def __init__(self, pose: np.ndarray, covariance: np.ndarray, bias: np.ndarray):
        self.pose = np.array(pose, dtype=float)
        # a start pose may be exact along some direction; covariance intersection inverts
        self._own = np.array(covariance, dtype=float) + REGULARIZATION * np.eye(6)
        self.honest = self._own.copy()
        """(6, 6), of the pose against the map: a standard deviation holds about 68 % of the errors."""
        self.bias = bias
        """(6, 6), covariance of an error that all measurements share, so none of them reduces it."""

    @property
    def covariance(self) -> np.ndarray:
        """(6, 6), of the pose against the map, with the shared error of the measurements: rather too large."""
        return self._own + self.bias

    def predict(self, motion: Motion) -> None:
        """Move along; the covariance is carried to the new frame and grows by that of the motion."""
        self.pose = self.pose @ motion.delta
        self._own = transport_covariance(self._own, motion.delta) + motion.covariance
        self.honest = transport_covariance(self.honest, motion.delta) + motion.covariance

    def innovation(self, measurement: Measurement) -> tuple[np.ndarray, float]:
        """The measurement seen from the prediction (6) and its squared Mahalanobis distance."""
        difference = se3_log(inverse(self.pose) @ measurement.T_map_base)
        return difference, mahalanobis(difference, self.covariance + measurement.covariance)

    def widen(self, difference: np.ndarray) -> None:
        """Admit that the pose may be off by as much as `difference` (6), in any direction.

        In any: what led the pose astray along one axis spared the others by chance.
        """
        metres, radians = difference[:3] @ difference[:3], difference[3:] @ difference[3:]
        opened = np.diag([metres] * 3 + [radians] * 3)
        self._own, self.honest = self._own + opened, self.honest + opened

    def update(self, measurement: Measurement) -> None:
        """The Kalman update, in Joseph's form; the pose moves along the manifold."""
        self.honest = covariance_intersection(self.honest, measurement.alone)
        difference, _ = self.innovation(measurement)
        gain = np.linalg.solve(self._own + measurement.covariance, self._own).T
        step, keep = gain @ difference, np.eye(6) - gain
        posterior = keep @ self._own @ keep.T + gain @ measurement.covariance @ gain.T
        # the error is now counted from the moved pose
        moved = right_jacobian(step)
        self.pose = self.pose @ se3_exp(step)
        self._own = symmetric(moved @ posterior @ moved.T)
