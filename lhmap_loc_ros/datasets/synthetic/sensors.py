# SPDX-License-Identifier: Apache-2.0
"""The cameras and LiDARs of the simulator as data: presets by name, others from a YAML file of the same fields."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from pydantic import Field, field_validator, model_validator

from ...configuration import Config, load
from ...errors import InputError

Mount = Field(default=None, ge=0.3, le=2.5)
DISTORTIONS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
"""Models of distortion, as in CameraInfo, and how many coefficients each may have."""


class CameraSpec(Config):
    """A camera. `width` to `d` are the fields of a ROS 2 CameraInfo; integer pixel coordinates are pixel centres."""

    width: int = Field(ge=16, le=8192)  # pixels
    height: int = Field(ge=16, le=8192)
    distortion_model: Literal["plumb_bob", "rational_polynomial", "equidistant"] = "plumb_bob"
    k: tuple[float, ...]  # fx, 0, cx, 0, fy, cy, 0, 0, 1 in pixels
    d: tuple[float, ...] = ()
    fov_deg: float = Field(default=360.0, gt=10, le=360)  # the picture is black beyond; round, about the optical axis
    rate: float = Field(default=10.0, gt=0, le=120)  # images per second
    mount_height: float | None = Mount  # metres above the ground; None: as the robot has it
    mount_yaw_deg: float | None = Field(default=None, ge=-180, le=180)  # 0 ahead, 90 left; None: see `Settings`

    @field_validator("k")
    @classmethod
    def _nine(cls, k: tuple[float, ...]) -> tuple[float, ...]:
        if len(k) != 9 or k[0] <= 0 or k[4] <= 0 or k[1] or k[3] or k[6:] != (0, 0, 1):
            raise ValueError("expected fx, 0, cx, 0, fy, cy, 0, 0, 1 with positive focal lengths")
        return k

    @model_validator(mode="after")
    def _coefficients(self) -> CameraSpec:
        counts = DISTORTIONS[self.distortion_model]
        if len(self.d) not in counts:
            raise ValueError(f"d: {len(self.d)} numbers found, {self.distortion_model} takes {counts}")
        return self

    @staticmethod
    def pinhole(width: int, height: int, focal: float, **others) -> CameraSpec:
        """An undistorted camera with square pixels and its axis in the middle of the image."""
        k = (focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0)
        return CameraSpec(width=width, height=height, k=k, **others)

    @property
    def intrinsics(self) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy in pixels."""
        return self.k[0], self.k[4], self.k[2], self.k[5]

    @property
    def matrix(self) -> np.ndarray:
        """K (3, 3), pixels."""
        return np.array(self.k).reshape(3, 3)

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines stay straight."""
        return self.distortion_model != "equidistant" and not any(self.d)


class LidarSpec(Config):
    """A LiDAR: beams that turn about its z axis, or one beam that draws ever new roses around its x axis."""

    pattern: Literal["spinning", "rosette"] = "spinning"
    elevations_deg: tuple[float, ...] = ()  # of the beams of a spinning one, lowest first
    azimuths: int = Field(default=1024, ge=16, le=8192)  # firings in a turn of a spinning one
    fov_deg: float = Field(default=70.0, gt=5, le=180)  # across the rose
    points: int = Field(default=24_000, ge=100, le=500_000)  # in a sweep of a rosette
    rate: float = Field(default=5.0, gt=0, le=50)  # recorded sweeps per second
    sweep_time: float = Field(default=0.1, gt=0, le=1)  # seconds
    max_range: float = Field(default=120.0, ge=5, le=500)  # metres
    range_noise: float = Field(default=0.013, ge=0, le=0.5)  # metres, standard deviation
    intensity: Literal["unit", "8 bit", "16 bit", "none"] = "unit"  # 0..1 in 255 steps, 0..255, 0..65535, no field
    intensity_field: Literal["intensity", "reflectivity"] = "intensity"  # its name in the cloud
    mount_height: float | None = Mount  # metres above the ground; None: as the robot has it

    @model_validator(mode="after")
    def _beams(self) -> LidarSpec:
        if self.pattern == "spinning" and not self.elevations_deg:
            raise ValueError("elevations_deg: missing, a spinning LiDAR has one elevation a beam")
        if any(abs(e) > 90 for e in self.elevations_deg) or list(self.elevations_deg) != sorted(self.elevations_deg):
            raise ValueError("elevations_deg: expected -90 to 90 degrees, lowest first")
        if self.sweep_time * self.rate > 1.0 + 1e-9:
            raise ValueError(f"sweep_time: {self.sweep_time} s found, {self.rate} sweeps a second leave no time for it")
        return self

    def encoded(self, intensity: np.ndarray) -> np.ndarray | None:
        """`intensity` (n,) in [0, 1] as the sensor tells it: float32, uint16 for 16 bit, None for none."""
        if self.intensity == "none":
            return None
        if self.intensity == "16 bit":
            return np.round(intensity * 65535).astype(np.uint16)
        steps = np.round(intensity * 255)
        return steps / np.float32(255) if self.intensity == "unit" else steps.astype(np.float32)


def _beams(bottom: float, top: float, count: int) -> tuple[float, ...]:
    return tuple(float(e) for e in np.linspace(bottom, top, count))


def _wide_angle() -> CameraSpec:
    """110 degrees across: the border of the image, undistorted, is tan(55 deg) off the axis."""
    k1, k2 = -0.25, 0.06
    edge = np.tan(np.radians(55.0))
    focal = round(640 / (edge * (1 + k1 * edge**2 + k2 * edge**4)), 2)
    return CameraSpec.pinhole(1280, 720, focal, d=(k1, k2, 0.0004, -0.0003, 0.0), rate=15.0)


CAMERAS: dict[str, CameraSpec] = {
    "default": CameraSpec.pinhole(640, 192, 0.58 * 640),
    "kitti": CameraSpec.pinhole(1242, 375, 727.0),
    "realsense": CameraSpec.pinhole(1280, 720, 931.0, rate=15.0),
    "realsense-vga": CameraSpec.pinhole(640, 480, 620.7, rate=15.0),  # the same sensor, its sides cut off
    "action": _wide_angle(),
    "fisheye": CameraSpec.pinhole(1024, 1024, 306.0, distortion_model="equidistant",
                                  d=(0.012, -0.006, 0.002, -0.0004), fov_deg=190.0),
    "phone": CameraSpec.pinhole(720, 1280, 960.0),
}  # fmt: skip

LIDARS: dict[str, LidarSpec] = {
    "default": LidarSpec(elevations_deg=_beams(-24.8, 2.0, 64), azimuths=640),
    "16": LidarSpec(elevations_deg=_beams(-15.0, 15.0, 16), azimuths=1800, max_range=100.0, range_noise=0.02,
                    intensity="8 bit"),
    "32": LidarSpec(elevations_deg=_beams(-30.67, 10.67, 32), azimuths=1800, max_range=100.0, range_noise=0.02,
                    intensity="8 bit"),
    "64": LidarSpec(elevations_deg=_beams(-22.5, 22.5, 64), intensity="16 bit"),
    "128": LidarSpec(elevations_deg=_beams(-25.0, 15.0, 128), max_range=200.0, intensity="8 bit",
                     intensity_field="reflectivity"),
    "solid-state": LidarSpec(pattern="rosette", rate=10.0, max_range=190.0, range_noise=0.02, intensity="8 bit",
                             intensity_field="reflectivity"),
}  # fmt: skip

Spec = TypeVar("Spec", CameraSpec, LidarSpec)


def camera_named(name: str | Path) -> CameraSpec:
    """The preset of that name, or the camera in that YAML file; raises InputError or ConfigError."""
    return _named(name, CAMERAS, CameraSpec, "camera")


def lidar_named(name: str | Path) -> LidarSpec:
    """The preset of that name, or the LiDAR in that YAML file; raises InputError or ConfigError."""
    return _named(name, LIDARS, LidarSpec, "lidar")


def _named(name: str | Path, presets: dict[str, Spec], model: type[Spec], what: str) -> Spec:
    if str(name) in presets:
        return presets[str(name)]
    if not Path(name).is_file():
        raise InputError(f"{what}: {name} is no file and none of {', '.join(presets)}")
    return load(model, name)
