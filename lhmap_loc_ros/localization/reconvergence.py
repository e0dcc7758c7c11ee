# SPDX-License-Identifier: Apache-2.0
"""Measurements that a prediction rejects, and that agree with each other: the prediction was wrong."""

from __future__ import annotations

from ..geometry import inverse, se3_log
from .manifold import lengths, max_std, transport_covariance
from .measurement import Measurement, MeasurementConfig, mahalanobis
from .motion import Motion

SCATTER_M, SCATTER_DEG = 0.6, 2.0
"""Measurements that agree lie no further from each other, besides what odometry errs: at wrong places they scatter, and
with covariances so large that a test by these alone would pass."""
MIN_AGREEING = 5
"""So many in a row are believed against the prediction: more would be safer, and later."""
RECONVERGE_M, RECONVERGE_DEG = 4.0, 20.0
"""They are not believed further from the prediction than this, or turned by more: those of another street are."""
INLIER_SHARE = 0.7
"""Of the inlier ratio that is usual: on the neighbouring lane fewer matches fit, and yet measurements agree."""


class ReconvergenceMonitor:
    """Counts rejected measurements that tell the same story.

    A prediction that went astray rejects every good measurement and would starve. Wrong measurements scatter;
    good ones move along with the robot, so several in a row that do are believed against the prediction.
    """

    def __init__(self, config: MeasurementConfig):
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Start counting anew."""
        self._last: Measurement | None = None
        self.count = 0

    def add(self, measurement: Measurement, motion: Motion, usual_inliers: float) -> bool:
        """Whether this rejected measurement completes a row of agreeing ones; `motion` since the previous image.

        `usual_inliers` is the inlier ratio of a good measurement here.
        """
        if measurement.inlier_ratio < INLIER_SHARE * usual_inliers:
            # matches that fit worse than usual: the wrong street may look alike for a while
            self.reset()
            return False
        if self._last is not None and not self._agree(self._last, measurement, motion):
            self.reset()
        self._last = measurement
        self.count += 1
        return self.count >= MIN_AGREEING

    def _agree(self, last: Measurement, measurement: Measurement, motion: Motion) -> bool:
        expected = last.T_map_base @ motion.delta
        difference = se3_log(inverse(expected) @ measurement.T_map_base)
        spread = transport_covariance(last.covariance, motion.delta) + motion.covariance + measurement.covariance
        (metres, degrees), (moved_m, moved_deg) = lengths(difference), max_std(motion.covariance)
        near = metres <= SCATTER_M + 3 * moved_m and degrees <= SCATTER_DEG + 3 * moved_deg
        return near and mahalanobis(difference, spread) <= self.config.gate
