# SPDX-License-Identifier: Apache-2.0
"""The header of an LHMap."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, PlainSerializer, model_validator

from ..geometry.geodesy import enu_from_geodetic, geodetic_from_enu
from .layout import MAX_STEPS


def _poses(value: Any) -> np.ndarray:
    """Rows of four numbers (N, 4), read-only: as an array, which takes a fraction of the memory of lists."""
    poses = np.array(value, dtype=np.float64)
    if poses.size == 0:
        poses = poses.reshape(0, 4)
    if poses.ndim != 2 or poses.shape[1] != 4 or not np.isfinite(poses).all():
        raise ValueError(f"found an array {poses.shape} or values that are not finite, expected (N, 4): x, y, z, yaw")
    poses.flags.writeable = False
    return poses


PathPoses = Annotated[np.ndarray, BeforeValidator(_poses), PlainSerializer(lambda poses: poses.tolist())]


class HeatModel(BaseModel):
    """The network that gave the points their heat."""

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: str = ""


class GeodeticDatum(BaseModel):
    """Where a point of the map lies on the earth (WGS 84), and how its x axis is turned there from east."""

    model_config = ConfigDict(frozen=True)

    latitude_deg: float = Field(ge=-90, le=90)
    longitude_deg: float = Field(ge=-180, le=180)
    altitude_m: FiniteFloat = 0.0
    heading_deg: FiniteFloat = 0.0
    """Of the map's x axis, counter-clockwise from east."""
    position: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = (0.0, 0.0, 0.0)
    """The point, in the map frame [m]: of the drive, as the plane through it leaves the earth further away."""

    def to_map(self, geodetic: np.ndarray) -> np.ndarray:
        """Positions in the map frame (..., 3) [m] of latitude, longitude [deg] and altitude [m] (..., 3)."""
        return enu_from_geodetic(geodetic, self._zero) @ self._R_enu_map + self.position

    def to_geodetic(self, positions: np.ndarray) -> np.ndarray:
        """Latitude, longitude [deg] and altitude [m] (..., 3) of positions in the map frame (..., 3) [m]."""
        return geodetic_from_enu((positions - np.array(self.position)) @ self._R_enu_map.T, self._zero)

    @property
    def _zero(self) -> np.ndarray:
        return np.array([self.latitude_deg, self.longitude_deg, self.altitude_m])

    @property
    def _R_enu_map(self) -> np.ndarray:
        c, s = np.cos(np.radians(self.heading_deg)), np.sin(np.radians(self.heading_deg))
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


class Section(BaseModel):
    """Optional data behind the tiles."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(min_length=1)
    version: int = Field(ge=1)
    """Version of its content; a reader ignores a section of an unknown version."""
    bytes: int = Field(ge=0)
    crc: int = Field(ge=0, lt=2**32)
    """CRC-32 of its bytes."""


class MapMetadata(BaseModel):
    """The header of an LHMap. Counts, bounds and sections are filled in when the file is written.

    Unknown fields, of a newer minor version, are ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)

    frame: str = Field("map", min_length=1)
    """Name of the frame the points are in (z up)."""
    origin: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = (0.0, 0.0, 0.0)
    """Corner of tile (0, 0) and zero of heights, metres in the map frame, float64."""
    datum: GeodeticDatum | None = None
    voxel_m: float = Field(0.1, gt=0)
    """Edge of the voxels the points are means of, metres."""
    tile_m: float = Field(25.0, gt=0)
    """Edge of a tile, metres."""
    resolution_m: float = Field(0.005, gt=0)
    """Step of the stored coordinates, metres; rounding moves a coordinate by at most half of it."""
    points: int = Field(0, ge=0)
    """Number of points in the file."""
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    """Least and greatest coordinates of the points, metres in the map frame."""
    heat_histogram: tuple[int, ...] = ()
    """Points by heat, in bins of equal width from 0 to 1; empty where not counted."""
    path_length_m: float = Field(0.0, ge=0)
    """Distance that the mapping vehicle drove, metres; streets driven twice count twice."""
    path: PathPoses = Field((), validate_default=True)
    """(N, 4) float64, poses of base_link along the mapping drive, some metres apart: x, y, z [m], yaw [rad]."""
    heat_model: HeatModel | None = None
    """None where the points' heat is uniform."""
    intensity: Literal["rank", "none", "scaled"] = "scaled"
    """Meaning of intensities. rank: among the sensor's returns; none: all zero; scaled: the sensor's own in [0, 1], as
    in files without this field."""
    build: dict[str, Any] = Field(default_factory=dict)
    """The configuration the map was built with."""
    sources: tuple[str, ...] = ()
    """Names of the bags the map was made of."""
    sections: tuple[Section, ...] = ()
    """Sections behind the tiles, in this order, up to the end of the file."""

    @model_validator(mode="after")
    def _tile_fits_16_bits(self) -> MapMetadata:
        if self.tile_m / self.resolution_m > MAX_STEPS:
            raise ValueError(
                f"a tile of {self.tile_m} m in steps of {self.resolution_m} m does not fit 16 bits, "
                f"resolution_m must be at least {self.tile_m / MAX_STEPS:.2g}"
            )
        return self
