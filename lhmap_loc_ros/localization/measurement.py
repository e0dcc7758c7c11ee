# SPDX-License-Identifier: Apache-2.0
"""A refinement of the camera pose as a measurement of base_link: its covariance, and the gate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field
from scipy.special import chdtri

from ..configuration import Config
from ..geometry import inverse
from .manifold import is_covariance, transport_covariance

UNCONFIRMED_SCALE = 4.0
"""Further factor on the covariance while no image has confirmed the pose: refinements from far away err more."""
FLOOR_M, FLOOR_DEG = 0.05, 0.1
"""Least standard deviation of a measurement along each axis: map points and calibration are no more exact."""
MIN_MATCHES = 30
"""Fewer matched points give no measurement, however well they fit: six unknowns, and every other match may be wrong."""


class MeasurementConfig(Config):
    """How far a refinement is trusted, and which is believed against the prediction.

    The covariance of a refinement takes the matches as independent; their errors are not, within an image or from
    one image to the next, so it is scaled, given a floor, and a share is never averaged away.
    """

    covariance_scale: float = Field(
        4.0,
        gt=0,
        le=1000,
        description="factor on the covariance that the matches of an image give its pose; larger: images pass the gate "
        "more easily and count less",
    )
    bias_m: tuple[float, float, float] = Field(
        (0.12, 0.06, 0.06),
        description="standard deviation of the error that consecutive images share, so that no number of them averages "
        "it away, along x, y, z of base_link [m]",
    )
    bias_deg: float = Field(
        0.12,
        ge=0,
        le=10,
        description="standard deviation of the rotation error that consecutive images share, so that no number of them "
        "averages it away [deg]",
    )
    min_inlier_ratio: float = Field(
        0.05, ge=0, le=1, description="an image with a smaller share of matches that fit its pose is not used"
    )
    gate_probability: float = Field(
        0.999,
        gt=0.5,
        lt=1,
        description="share of true measurements that pass the gate (chi-square, 6 degrees of freedom); smaller: more "
        "are rejected",
    )
    reconverge_after: int = Field(
        5,
        ge=2,
        le=1000,
        description="rejected measurements in a row that, agreeing with each other, are believed against the "
        "prediction; more: later, and surer",
    )
    reconverge_m: float = Field(
        4.0,
        gt=0,
        description="rejected measurements that agree with each other further than this from the pose are not believed "
        "[m]",
    )

    @property
    def gate(self) -> float:
        """The largest squared Mahalanobis distance (6 degrees of freedom) that passes."""
        return float(chdtri(6, 1 - self.gate_probability))

    @property
    def bias(self) -> np.ndarray:
        """Covariance (6, 6) of the error shared by consecutive measurements."""
        return np.diag([*np.square(self.bias_m), *np.square(np.radians([self.bias_deg] * 3))])


@dataclass(frozen=True)
class Measurement:
    """A pose of base_link seen by one image."""

    T_map_base: np.ndarray
    """(4, 4)."""
    covariance: np.ndarray
    """(6, 6), body frame of base_link, scaled and floored."""
    inlier_ratio: float
    """Of the refinement."""

    def unconfirmed(self) -> Measurement:
        """The same, less sure: from a pose that no image has confirmed."""
        return replace(self, covariance=UNCONFIRMED_SCALE * self.covariance)


def as_measurement(
    refinement, T_base_camera: np.ndarray, config: MeasurementConfig, confirmed: bool = True
) -> Measurement | None:
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
    covariance = transport_covariance(config.covariance_scale * refinement.covariance, T_camera_base) + floor
    measurement = Measurement(refinement.T_map_camera @ T_camera_base, covariance, float(refinement.inlier_ratio))
    return measurement if confirmed else measurement.unconfirmed()


def mahalanobis(difference: np.ndarray, covariance: np.ndarray) -> float:
    """The squared Mahalanobis distance of a tangent vector (6) under a covariance (6, 6)."""
    return float(difference @ np.linalg.solve(covariance, difference))
