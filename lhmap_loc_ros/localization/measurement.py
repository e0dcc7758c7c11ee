# SPDX-License-Identifier: Apache-2.0
"""A refinement of the camera pose as a measurement of base_link: its covariance, and the gate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from scipy.special import chdtri

from ..configuration import Config
from ..geometry import inverse
from .manifold import is_covariance, transport_covariance

if TYPE_CHECKING:
    from .refine import Refinement

UNCONFIRMED_SCALE = 4.0
"""Further factor on the covariance while no image has confirmed the pose: refinements from far away err more."""
FLOOR_M, FLOOR_DEG = 0.05, 0.1
"""Least standard deviation of a measurement along each axis: map points and calibration are no more exact."""
REGULARIZATION = 1e-8
"""Added to the covariance of matches and of start poses [m^2, rad^2], so that it can be inverted."""
MIN_MATCHES = 30
"""Fewer matched points give no measurement, however well they fit: six unknowns, and every other match may be wrong."""


class MeasurementConfig(Config):
    """Which refinements count: at all, and against the prediction."""

    min_inlier_ratio: float = Field(
        0.05, ge=0, le=1, description="least inlier ratio, the share of matches that agree with the estimated pose, of "
        "an image that is used; TRACKING becomes DEGRADED where the mean falls below twice that; lower it where the "
        "map has little structure",
    )  # fmt: skip
    gate_probability: float = Field(
        0.999, gt=0.5, lt=1, description="share of correct measurements that pass the gate (chi-square test of the "
        "innovation, 6 degrees of freedom); smaller: more images are rejected, correct ones and wrong ones",
    )  # fmt: skip

    @property
    def gate(self) -> float:
        """The largest squared Mahalanobis distance (6 degrees of freedom) that passes."""
        return float(chdtri(6, 1 - self.gate_probability))


@dataclass(frozen=True)
class MeasurementNoise:
    """How much refinements err.

    The covariance of a refinement takes the matches as independent; their errors are not, within an image or from
    one image to the next, so it is scaled, given a floor, and a share is never averaged away. Where the values were
    measured: docs/tuning.md, "What is not a parameter"; others are for measuring again.
    """

    covariance_scale: float = 4.0
    """Factor on the covariance that the matches give."""
    bias_along_m: float = 0.12
    """Standard deviation of the error that consecutive images share, along the way the camera looks [m]."""
    bias_across_m: float = 0.06
    """The same across it, to the side and upwards [m]."""
    bias_deg: float = 0.12
    """The same of the rotation, about each axis [deg]."""

    def bias(self, T_base_camera: np.ndarray | None = None) -> np.ndarray:
        """Covariance (6, 6) of the error shared by consecutive measurements, body frame of base_link.

        None: a camera that looks ahead or back. One that looks to the side, more than ahead, errs along y instead.
        """
        sigma_m = np.full(3, self.bias_across_m)
        looks_aside = T_base_camera is not None and abs(T_base_camera[1, 2]) > abs(T_base_camera[0, 2])
        sigma_m[1 if looks_aside else 0] = self.bias_along_m
        return np.diag([*np.square(sigma_m), *np.square(np.radians([self.bias_deg] * 3))])


NOISE = MeasurementNoise()
"""That of the shipped networks."""


@dataclass(frozen=True)
class Measurement:
    """A pose of base_link seen by one image."""

    T_map_base: np.ndarray
    """(4, 4)."""
    covariance: np.ndarray
    """(6, 6), body frame of base_link, scaled and floored."""
    alone: np.ndarray
    """(6, 6), likewise, as the refinement has it: honest for this one image."""
    inlier_ratio: float
    """Of the refinement."""

    def unconfirmed(self) -> Measurement:
        """The same, less sure: from a pose that no image has confirmed."""
        scale = UNCONFIRMED_SCALE
        return replace(self, covariance=scale * self.covariance, alone=scale * self.alone)


def as_measurement(
    refinement: Refinement | None, T_base_camera: np.ndarray, config: MeasurementConfig, confirmed: bool = True,
    noise: MeasurementNoise = NOISE,
) -> Measurement | None:  # fmt: skip
    """The measurement of base_link in a refinement of the camera; None if the refinement is not usable.

    `confirmed`: the refinement started from a pose that earlier images have confirmed.
    """
    if refinement is None or not np.isfinite(refinement.T_map_camera).all():
        return None
    if not is_covariance(refinement.covariance):
        return None
    if not (refinement.inlier_ratio >= config.min_inlier_ratio and refinement.matches >= MIN_MATCHES):
        return None
    T_camera_base = inverse(T_base_camera)
    floor = np.diag([FLOOR_M**2] * 3 + [np.radians(FLOOR_DEG) ** 2] * 3)
    alone = transport_covariance(refinement.covariance, T_camera_base) + REGULARIZATION * np.eye(6)
    covariance = noise.covariance_scale * alone + floor
    pose, inlier_ratio = refinement.T_map_camera @ T_camera_base, float(refinement.inlier_ratio)
    measurement = Measurement(pose, covariance, alone, inlier_ratio)
    return measurement if confirmed else measurement.unconfirmed()


def mahalanobis(difference: np.ndarray, covariance: np.ndarray) -> float:
    """The squared Mahalanobis distance of a tangent vector (6) under a covariance (6, 6)."""
    return float(difference @ np.linalg.solve(covariance, difference))
