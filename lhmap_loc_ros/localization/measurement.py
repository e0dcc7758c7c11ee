# SPDX-License-Identifier: Apache-2.0
"""A refinement of the camera pose as a measurement of base_link: its covariance, and the gate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field
from scipy.special import chdtri

from ..configuration import Config
from ..geometry import inverse
from .manifold import carry, is_covariance


class MeasurementConfig(Config):
    """How far a refinement is trusted.

    The covariance of a refinement takes the matches as independent; their errors are not, within an image or from
    one image to the next, so it is scaled, given a floor, and a share is never averaged away.
    """

    covariance_scale: float = Field(4.0, gt=0, le=1000, description="factor on the covariance of the refinement")
    unconfirmed_scale: float = Field(
        4.0,
        ge=1,
        le=1000,
        description="further factor unless the pose is confirmed: refinements from far away err more",
    )
    floor_m: float = Field(0.05, ge=0, le=5, description="least standard deviation of a measurement, each axis [m]")
    floor_deg: float = Field(0.1, ge=0, le=20, description="least standard deviation of a measurement, each axis [deg]")
    bias_m: tuple[float, float, float] = Field(
        (0.12, 0.06, 0.06),
        description="error shared by consecutive images, never averaged away, along x, y, z of base_link [m]",
    )
    bias_deg: float = Field(0.12, ge=0, le=10, description="as bias_m, of rotation [deg]")
    min_inlier_ratio: float = Field(0.05, ge=0, le=1, description="a refinement below this is no measurement")
    min_matches: int = Field(30, ge=0, description="a refinement with fewer matched points is no measurement")
    gate_probability: float = Field(
        0.999, gt=0.5, lt=1, description="share of true measurements that pass the gate (chi-square, 6 dof)"
    )
    reconverge_after: int = Field(
        5, ge=2, le=1000, description="rejected measurements in a row that agree with each other and are then believed"
    )
    reconverge_scatter_m: float = Field(
        0.6, gt=0, description="agreeing measurements lie no further from each other, besides what odometry errs [m]"
    )
    reconverge_scatter_deg: float = Field(2.0, gt=0, description="as reconverge_scatter_m, of rotation [deg]")
    reconverge_inliers: float = Field(
        0.7, ge=0, le=1, description="agreeing measurements need this share of the usual inlier ratio"
    )
    reconverge_m: float = Field(4.0, gt=0, description="agreeing measurements are not believed further away [m]")
    reconverge_deg: float = Field(20.0, gt=0, description="agreeing measurements are not believed further away [deg]")

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

    def widened(self, factor: float) -> Measurement:
        """The same with `factor` times the covariance."""
        return replace(self, covariance=factor * self.covariance)


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
    if not (refinement.inlier_ratio >= config.min_inlier_ratio and refinement.matches >= config.min_matches):
        return None
    T_camera_base = inverse(T_base_camera)
    floor = np.diag([config.floor_m**2] * 3 + [np.radians(config.floor_deg) ** 2] * 3)
    covariance = carry(config.covariance_scale * refinement.covariance, T_camera_base) + floor
    if not confirmed:
        covariance = config.unconfirmed_scale * covariance
    return Measurement(refinement.T_map_camera @ T_camera_base, covariance, float(refinement.inlier_ratio))


def mahalanobis(difference: np.ndarray, covariance: np.ndarray) -> float:
    """The squared Mahalanobis distance of a tangent vector (6) under a covariance (6, 6)."""
    return float(difference @ np.linalg.solve(covariance, difference))
