# SPDX-License-Identifier: Apache-2.0
"""The parameters of localizer_node."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..configuration import Config
from ..localization.refine import RefinerConfig
from ..localization.tracker import TrackerConfig


class LocalizerConfig(Config):
    """All about localizer_node. Topics are renamed by ROS remapping: image, camera_info, odometry, initialpose."""

    map_path: str = Field(min_length=1, description="the LHMap file, from `lhmap build`")
    map_frame: str = Field("", description="frame of the published poses; empty: the map's own")
    odom_frame: str = Field("odom", min_length=1, description="frame of the odometry; its messages must agree")
    base_frame: str = Field("base_link", min_length=1, description="frame of the robot; odometry must agree")
    camera_frame: str = Field("", description="optical frame of the camera; empty: that of the images")
    camera_in_base: tuple[float, float, float, float, float, float, float] | None = Field(
        None, description="pose of the camera's optical frame in base_frame, x y z qx qy qz qw; unset: from tf_static"
    )

    initial_pose: tuple[float, float, float, float] | None = Field(
        None, description="where the first image is, x y z [m] yaw [deg] in the map; unset: waits for initialpose"
    )
    initial_sigma_m: float = Field(1.0, gt=0, description="how sure initial_pose is, standard deviation [m]")
    initial_sigma_deg: float = Field(3.0, gt=0, description="how sure initial_pose is, standard deviation [deg]")
    initial_age_s: float = Field(
        20.0, gt=0, description="an initialpose stamped longer before the image is taken as one of the image [s]"
    )

    image_transport: Literal["raw", "compressed"] = Field(
        "raw", description="raw: sensor_msgs/Image on `image`; compressed: CompressedImage on `image/compressed`"
    )
    image_reliability: Literal["reliable", "best_effort"] = Field(
        "reliable", description="best_effort for cameras that publish so; reliable loses no image to full buffers"
    )
    odometry_wait_s: float = Field(
        0.1, ge=0, le=2, description="an image waits this long for odometry that is not older [s]"
    )
    time_jump_s: float = Field(1.0, gt=0, description="images older than the last by more start anew (a bag again) [s]")

    publish_tf: Literal["odom", "base_link", "none"] = Field(
        "odom", description="odom: map -> odom, as REP-105 has it; base_link: map -> base_link; none"
    )
    transform_tolerance_s: float = Field(0.1, ge=0, le=5, description="the transform is stamped this far ahead [s]")
    path_step_m: float = Field(0.5, gt=0, description="distance between the poses of `path` [m]")
    path_poses: int = Field(2000, ge=1, description="`path` keeps this many poses")
    overlay_period_s: float = Field(0.5, ge=0, description="least time between two pictures on `overlay` [s]")
    map_cloud_points: int = Field(300_000, ge=0, description="`map_cloud` holds this many points of the greatest heat")

    refiner: RefinerConfig = RefinerConfig()
    tracker: TrackerConfig = TrackerConfig()
