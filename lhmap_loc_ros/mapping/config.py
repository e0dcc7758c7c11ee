# SPDX-License-Identifier: Apache-2.0
"""Settings of a build: what a user decides. What measurement decided is a constant beside the code that uses it."""

from __future__ import annotations

import os
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from ..configuration import Config, Pose, check_pose
from ..lhmap.cells import BLOCK_CELLS, CELL_STEPS
from ..lhmap.layout import MAX_STEPS

VOXEL_M, COARSE_VOXEL_M, COARSE_BELOW_MB_PER_KM = 0.1, 0.15, 2.0
"""Edge of a voxel, metres, and the coarser edge that localizes better below this budget (docs/training.md)."""
TILE_M = 25.6
"""Edge of a tile, metres, before it is rounded to whole blocks: a crop of 60 m radius reads some 28 tiles."""
_MEASURED = "no longer a setting: measurement decided it (docs/map-format.md); delete the line"


class BuildConfig(Config):
    """Settings of `build_map`; all have defaults. In a YAML file for `lhmap build -c`, one line each."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    removed: ClassVar[dict[str, str]] = {
        "moving": "no longer a part: `remove_moving: false` keeps what moved; its other settings were measured",
        "heat_views": "no longer a part: `heat: NAME` is a heat network of your own; its other settings were measured",
        "poses_file": "no longer a setting: `poses` is the path of the file",
        "intensity_scale": "no longer a setting: intensities are ranks; delete the line",
        **dict.fromkeys(
            ("tile_m", "intensity_levels", "heat_levels", "isolation_m", "min_neighbours", "stretch_m", "beyond_m",
             "heat_power", "company_power", "fair_share", "max_gap_s", "chunk_s"),
            _MEASURED,
        ),
    }  # fmt: skip
    """Settings of earlier versions, and what to do about each."""

    points_topic: str = "/points"
    """Topic of the LiDAR scans (sensor_msgs/PointCloud2)."""
    odometry_topic: str = "/odom"
    """Topic of odometry (nav_msgs/Odometry), which poses are taken from if `poses` is odometry, or auto without any on
    `tf_topic`."""
    tf_topic: str = "/tf"
    """Topic of the dynamic transforms (tf2_msgs/TFMessage): poses of `base_frame` in `map_frame`."""
    tf_static_topic: str = "/tf_static"
    """Topic of the static transforms (tf2_msgs/TFMessage): the extrinsic calibration of the LiDAR."""
    map_frame: str = "map"
    """Frame in which poses are given, z up; it becomes the frame of the map."""
    base_frame: str = "base_link"
    """Frame of the vehicle, whose poses in `map_frame` are known."""
    lidar_frame: str | None = None
    """Frame of the LiDAR; unset: the frame_id of its scans."""
    lidar_in_base: Pose | None = None
    """Extrinsic calibration: pose of the LiDAR in `base_frame`, x y z [m] and quaternion qx qy qz qw; unset: from
    `tf_static_topic`."""
    point_times: Literal["auto", "s", "ms", "us", "ns", "ignore"] = "auto"
    """Unit of the time field of points, by which scans are compensated for motion: s, ms, us or ns. auto: found from
    the duration of a sweep, and scans are not compensated where surfaces are sharper so. ignore: scans are not
    compensated."""

    poses: str = "auto"
    """Source of the poses of `base_frame` in `map_frame`: the path of a TUM or KITTI file, or tf, odometry, or icp (by
    kiss-icp, LiDAR odometry on the scans). auto: the first of these three that the bag allows."""

    min_range_m: float = Field(2.0, ge=0)
    """Minimum range of points, metres from the LiDAR; nearer ones, returns from the vehicle itself, are left out."""
    max_range_m: float = Field(60.0, gt=0)
    """Maximum range of points, metres from the LiDAR; farther ones, which are sparse and inexact, are left out."""
    remove_moving: bool = True
    """Remove points of moving objects, such as cars: those that earlier or later scans see through."""
    voxel_m: float | None = Field(None, gt=0, le=2)
    """Edge of the voxels in which scans are accumulated, metres; a voxel gives at most one point of the map. Unset:
    0.1, or 0.15 for a budget below 2 MB/km."""
    resolution_m: float | None = Field(None, gt=0)
    """Resolution of the stored coordinates, metres: points keep their positions to within half of it. Unset: points
    move by up to half a voxel, together with their neighbours, which takes a third of the bytes of 0.02 m."""

    heat: str = "network"
    """What scores points, of which the budget keeps the best: network (the shipped heat network), none (all alike, an
    even sample is kept), or the name or path of a heat network of your own."""
    budget_mb_per_km: float | None = Field(3.0, gt=0)
    """Size of the map, megabytes per kilometre driven, met to within some percent; unset: every point is kept."""
    places: bool = True
    """Store descriptors of places along the path in the map, by which a robot localizes without a start pose."""

    _lidar_in_base_is_a_pose = field_validator("lidar_in_base")(check_pose)
    _paths_may_begin_at_home = field_validator("heat", "poses")(os.path.expanduser)

    @property
    def heat_model(self) -> str | None:
        """Name or path of the heat network; None for an even sample."""
        return {"none": None, "network": "heat"}.get(self.heat, self.heat)

    @property
    def step_m(self) -> float:
        """Step of the stored coordinates, metres."""
        return self.edge_m / CELL_STEPS if self.resolution_m is None else self.resolution_m

    @property
    def edge_m(self) -> float:
        """Edge of a voxel, metres."""
        if self.voxel_m is not None:
            return self.voxel_m
        coarse = self.budget_mb_per_km is not None and self.budget_mb_per_km < COARSE_BELOW_MB_PER_KM
        return COARSE_VOXEL_M if coarse else VOXEL_M

    @property
    def tile_m(self) -> float:
        """Edge of a tile, metres: a whole number of blocks of voxels, so that none lies across the border of two."""
        block_m = BLOCK_CELLS * self.edge_m
        return round(max(1, round(TILE_M / block_m)) * block_m, 9)

    @model_validator(mode="after")
    def _tiles_can_be_stored(self) -> BuildConfig:
        steps = self.tile_m / self.step_m
        if steps > MAX_STEPS:
            name, least = "resolution_m", self.tile_m / MAX_STEPS
            if self.resolution_m is None:
                name, least = "voxel_m", CELL_STEPS * least
            raise ValueError(
                f"{name}: {getattr(self, name)} found, expected at least {least:.2g}: a tile of {self.tile_m:g} m is "
                f"stored in at most {MAX_STEPS} steps, not {steps:.0f}"
            )
        return self
