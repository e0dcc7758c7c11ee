# SPDX-License-Identifier: Apache-2.0
"""What a map says about itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator


class HeatModel(BaseModel):
    """The network that gave the points their heat."""

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: str = ""


class GeodeticDatum(BaseModel):
    """Where the origin of the map frame lies on the earth (WGS 84), and how its x axis is turned from east."""

    model_config = ConfigDict(frozen=True)

    latitude_deg: float = Field(ge=-90, le=90)
    longitude_deg: float = Field(ge=-180, le=180)
    altitude_m: FiniteFloat = 0.0
    heading_deg: FiniteFloat = 0.0


class MapMetadata(BaseModel):
    """The header of an LHMap. Counts and bounds are filled in by `write_map`.

    Unknown fields of a newer minor version are kept aside, not refused.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

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
    """How far the mapping vehicle drove, metres; places driven twice count twice."""
    path: tuple[tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat], ...] = ()
    """Poses of base_link along the mapping drive, some metres apart: x, y, z [m], yaw [rad], map frame."""
    heat_model: HeatModel | None = None
    """None where the points' heat is uniform."""
    build: dict[str, Any] = Field(default_factory=dict)
    """The configuration the map was built with."""
    sources: tuple[str, ...] = ()
    """Names of the bags the map was made of."""

    @model_validator(mode="after")
    def _tile_fits_16_bits(self) -> MapMetadata:
        if self.tile_m / self.resolution_m > 65535:
            raise ValueError(
                f"a tile of {self.tile_m} m in steps of {self.resolution_m} m does not fit 16 bits, "
                f"resolution_m must be at least {self.tile_m / 65535:.2g}"
            )
        return self
