# SPDX-License-Identifier: Apache-2.0
"""Measurements that a prediction rejects, and that agree with each other: the prediction was wrong."""

from __future__ import annotations

from ..geometry import inverse, se3_log
from .manifold import carry, lengths, sigmas
from .measurement import Measurement, MeasurementConfig, mahalanobis
from .motion import Motion


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
        if measurement.inlier_ratio < self.config.reconverge_inliers * usual_inliers:
            # matches that fit worse than usual: the wrong street may look alike for a while
            self.reset()
            return False
        if self._last is not None and not self._agrees(measurement, motion):
            self.reset()
        self._last = measurement
        self.count += 1
        return self.count >= self.config.reconverge_after

    def _agrees(self, measurement: Measurement, motion: Motion) -> bool:
        expected = self._last.T_map_base @ motion.delta
        difference = se3_log(inverse(expected) @ measurement.T_map_base)
        spread = carry(self._last.covariance, motion.delta) + motion.covariance + measurement.covariance
        # at a wrong place covariances are so large that what scatters agrees
        (metres, degrees), (moved_m, moved_deg) = lengths(difference), sigmas(motion.covariance)
        c = self.config
        near = metres <= c.reconverge_scatter_m + 3 * moved_m and degrees <= c.reconverge_scatter_deg + 3 * moved_deg
        return near and mahalanobis(difference, spread) <= c.gate
