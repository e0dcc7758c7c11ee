# SPDX-License-Identifier: Apache-2.0
"""How a map is built."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ..configuration import Config, Pose, check_pose
from ..lhmap.cells import BLOCK_CELLS, CELL_STEPS
from ..lhmap.layout import MAX_STEPS

SMALL_BUDGET = 2.0
"""Megabytes per kilometre below which a map of voxels of 0.15 m localizes better than one of 0.1 m."""


class MovingConfig(Config):
    """Removal of what moved, by looking through it."""

    enabled: bool = True
    spacing_m: float = Field(1.5, ge=0)
    """Distance driven between the scans that are compared with the map, metres."""
    spacing_s: float = Field(1.0, gt=0)
    """Time after which a scan is compared even though the vehicle stands, seconds."""
    radius_m: float = Field(40.0, gt=0)
    """Points farther than this from a scan are not judged by it, metres."""
    margin_m: float = Field(0.5, gt=0)
    """How far behind a point the beams around it must all end to have passed through it, metres."""
    min_passes: int = Field(2, ge=1)
    """How many scans must look through a point before it is dropped."""
    passes_per_hit: float = Field(1.0, gt=0)
    """How many scans must look through a point for each scan that hit it."""


class HeatConfig(Config):
    """The virtual views that heat comes from."""

    model: str = "heat"
    """Name or path of the heat network."""
    spacing_m: float = Field(2.0, gt=0)
    """Distance driven between virtual views, metres."""
    beside_m: tuple[float, ...] = Field((0.0, -2.0, 2.0), min_length=1)
    """Where views stand beside the path (left positive), metres; they take turns along the path."""
    height_m: float = Field(1.6, gt=0)
    """Height of the virtual camera above the ground under the path, metres."""
    yaw_deg: tuple[float, ...] = Field((0.0, 12.0, -12.0, 180.0), min_length=1)
    """Headings of the views relative to the direction of travel, taking turns."""
    fov_deg: float = Field(80.0, gt=10, lt=150)
    """Horizontal field of view; the pixels are those of the network's input."""
    max_depth_m: float = Field(60.0, gt=0)
    top_views: int = Field(3, ge=1)
    """A point's heat is the mean over this many views that value it most (fewer if fewer see it)."""
    full_scale: float | None = Field(None, gt=0)
    """That mean where heat is 1; None: as the network's file says. Fixed, so that what is mapped later changes no
    heat elsewhere."""


class BuildConfig(Config):
    """Everything `build_map` can be told."""

    points_topic: str = "/points"
    odometry_topic: str = "/odom"
    tf_topic: str = "/tf"
    tf_static_topic: str = "/tf_static"
    map_frame: str = "map"
    base_frame: str = "base_link"
    lidar_frame: str | None = None
    """None takes the frame of the point clouds."""
    lidar_in_base: Pose | None = None
    """Pose of the LiDAR in `base_frame`, x y z qx qy qz qw; None: from `tf_static_topic`."""
    point_times: Literal["auto", "s", "ms", "us", "ns", "ignore"] = "auto"
    """Unit of the times of points; auto tells it from the length of a sweep, and leaves the times out of account where
    walls are sharper without: of clouds that were compensated for motion before. ignore: there are none."""

    poses: Literal["auto", "file", "tf", "odometry", "icp"] = "auto"
    """Where poses come from; auto takes the first there is of file, TF, odometry, and else runs kiss-icp."""
    poses_file: Path | None = None
    """A TUM or KITTI file of the poses of `base_frame` in `map_frame`; a bag takes those around its scans. Only with
    `poses` auto or file."""

    max_gap_s: float = Field(2.0, gt=0)
    """Where poses are further apart than this, and the vehicle moved meanwhile, scans between them are left out,
    seconds."""

    chunk_s: float = Field(10.0, gt=0)
    """Bags are merged in pieces of so many seconds; one core holds one piece."""
    voxel_m: float | None = Field(None, gt=0, le=2)
    """Edge of the voxels that scans are merged into, metres; None: 0.1, and 0.15 where the budget is too small for the
    many points of such a map: then larger voxels show more of the street."""
    tile_m: float = Field(25.6, gt=0)
    """Edge of a tile, metres; rounded to a whole number of blocks of eight voxels."""
    resolution_m: float | None = Field(None, gt=0)
    """Step of the stored coordinates; None: a point lies in its voxel where its neighbours' do in the mean, in steps of
    an eighth, which takes a third of the bytes of 2 cm."""
    intensity_levels: int = Field(16, ge=2, le=256)
    """How many intensities are told apart in the file."""
    heat_levels: int = Field(16, ge=2, le=256)
    """How many heats are told apart in the file; all of them where points are chosen."""
    min_range_m: float = Field(2.0, ge=0)
    """Nearer points are the vehicle itself."""
    max_range_m: float = Field(60.0, gt=0)
    isolation_m: float = Field(0.5, gt=0)
    """Cells of this size that hold fewer than `min_neighbours` points hold noise."""
    min_neighbours: int = Field(3, ge=1)
    moving: MovingConfig = MovingConfig()

    heat: Literal["network", "none"] = "network"
    """none gives all points the same heat: then the budget keeps an even sample."""
    heat_views: HeatConfig = HeatConfig()
    budget_mb_per_km: float | None = Field(3.0, gt=0)
    """Megabytes of map per kilometre driven, kept to within some percent; None keeps every point."""
    stretch_m: float = Field(10.0, gt=0)
    """Each stretch of path of this length gets its own share of the budget."""
    beyond_m: float = Field(20.0, ge=0, le=1000)
    """So far beyond the ends of a drive there are stretches with a share of its budget: its last views see them."""
    heat_power: float | None = Field(0.7, ge=0, le=16)
    """How strictly the hottest points come first, see `selection`; None: strictly."""
    company_power: float = Field(1.0, ge=0, le=16)
    """How much less heat counts where points have few neighbours, which take more bytes; 0: no less."""
    fair_share: float = Field(1.0, ge=0, le=1)
    """Part of a stretch's budget shared evenly over the directions around it; the rest goes by heat alone."""

    places: bool = True
    """Store what places along the path look like, so that a robot finds itself without a start pose."""

    _lidar_in_base_is_a_pose = field_validator("lidar_in_base")(check_pose)

    @property
    def step_m(self) -> float:
        """Step of the stored coordinates, metres."""
        return self.edge_m / CELL_STEPS if self.resolution_m is None else self.resolution_m

    @property
    def edge_m(self) -> float:
        """Edge of a voxel, metres."""
        if self.voxel_m is not None:
            return self.voxel_m
        small = self.budget_mb_per_km is not None and self.budget_mb_per_km < SMALL_BUDGET
        return 0.15 if small else 0.1

    @property
    def whole_tile_m(self) -> float:
        """Edge of a tile of a whole number of blocks of voxels, metres: none lies across the border of two."""
        block_m = BLOCK_CELLS * self.edge_m
        return round(max(1, round(self.tile_m / block_m)) * block_m, 9)

    @model_validator(mode="after")
    def _poses_have_one_source(self) -> BuildConfig:
        if self.poses_file is not None and self.poses not in ("auto", "file"):
            raise ValueError(f"poses_file: {self.poses_file} found with poses: {self.poses}, expected auto or file")
        return self

    @model_validator(mode="after")
    def _tiles_can_be_stored(self) -> BuildConfig:
        steps = self.whole_tile_m / self.step_m
        if steps > MAX_STEPS:
            step = f"voxel_m / {CELL_STEPS}" if self.resolution_m is None else "resolution_m"
            raise ValueError(
                f"tile_m: {self.whole_tile_m:g} m are {steps:.0f} steps of {self.step_m:g} m ({step}) found, "
                f"expected at most {MAX_STEPS}"
            )
        return self
