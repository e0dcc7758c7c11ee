# SPDX-License-Identifier: Apache-2.0
"""The camera through which places are compared: images and map views of any camera are brought to it.

So descriptors of a map do not depend on the robot's camera, nor on how that is mounted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import InputError
from ..geometry import Camera, make_pose
from ..lhmap import MapPoints
from ..localization.features import point_widths, quarter_turn, quarters_to_upright, render_map

WIDTH, HEIGHT, FIELD_DEG = 320, 128, 80.0
"""Pixels of the place camera, and the angle that it sees across."""
CELL = 8
"""Edge of a cell of the encoders' features [pixels]."""
MIN_HORIZONTAL = 0.3
"""A camera that looks more steeply up or down than this (cosine of the angle to the horizon) has no heading."""


def _place_camera() -> Camera:
    focal = 0.5 * WIDTH / np.tan(np.radians(FIELD_DEG / 2))
    return Camera(WIDTH, HEIGHT, focal, focal, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)


PLACE_CAMERA = _place_camera()
"""Looks at the horizon, without roll."""


@dataclass(frozen=True)
class PlaceView:
    """What the place camera sees of an image or of the map."""

    channels: np.ndarray
    """(3, HEIGHT, WIDTH) float32 RGB in [0, 1], or the channels of `localization.features.render_map`."""
    seen: np.ndarray
    """(1, HEIGHT / CELL, WIDTH / CELL) float32: the share of each cell that the image covers, or that holds points."""


def level(T_base_camera: np.ndarray | None) -> np.ndarray:
    """T_camera_view (4, 4): the place camera at the position of a camera that is mounted so on a level robot.

    It looks along the camera's heading, at the horizon. Without a mounting (None), or where the camera looks straight
    up or down, it looks where the camera does.
    """
    if T_base_camera is None:
        return np.eye(4)
    ahead = np.array([T_base_camera[0, 2], T_base_camera[1, 2], 0.0])
    length = np.linalg.norm(ahead)
    if length < MIN_HORIZONTAL:
        return quarter_turn(-quarters_to_upright(T_base_camera))
    ahead, down = ahead / length, np.array([0.0, 0.0, -1.0])
    R_base_view = np.stack([np.cross(down, ahead), down, ahead], 1)
    return make_pose(T_base_camera[:3, :3].T @ R_base_view, np.zeros(3))


def view_of(image: np.ndarray, camera: Camera, T_base_camera: np.ndarray | None = None) -> PlaceView:
    """An image (H, W, 3) uint8 RGB of a pinhole camera as the place camera sees it, without roll and pitch.

    `T_base_camera` (4, 4) is the mounting of the camera's optical frame on the robot, whose z axis points up; without
    it the camera is taken as level. Raises InputError for an image of another size, and for a camera of which the place
    camera sees nothing.
    """
    camera.check_image(image)
    image, camera = _shrunk(image, camera)
    u, v, seen = _pixels(camera, T_base_camera)
    if not seen.any():
        raise InputError(
            f"the camera of {camera.width}x{camera.height} pixels sees nothing within {FIELD_DEG / 2:g} degrees of the "
            "horizon ahead of it, expected one that does: check its pose on the robot"
        )
    # beyond the border the image goes on as it ends: an edge there would be taken for one of the scene
    u, v = np.clip(u, 0, camera.width - 1), np.clip(v, 0, camera.height - 1)
    sampled = cv2.remap(image, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
    return PlaceView(sampled.transpose(2, 0, 1).astype(np.float32) * np.float32(1 / 255), _of_cells(seen))


def share_seen(camera: Camera, T_base_camera: np.ndarray | None = None) -> float:
    """The share of the place camera's pixels that a camera sees, mounted so."""
    return float(_pixels(camera, T_base_camera)[2].mean())


def _pixels(camera: Camera, T_base_camera: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel of the place camera where in the image it lies, u and v, and whether there is one: (H, W) each."""
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(PLACE_CAMERA.matrix).T
    x, y, z = np.moveaxis(rays @ level(T_base_camera)[:3, :3].T, -1, 0)
    ahead = z > 1e-3
    z = np.where(ahead, z, 1.0)
    u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
    inside = (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
    return u, v, ahead & inside


def map_view(
    points: np.ndarray, intensity: np.ndarray, T_map_view: np.ndarray, widths: float | np.ndarray
) -> PlaceView:
    """The map as the place camera sees it from a pose (4, 4) of its optical frame: x right, y down, z ahead.

    Points (N, 3) float32 with intensities (N) float32 in [0, 1], drawn `widths` wide [m], see
    `localization.features.point_widths`.
    """
    channels = render_map(points, intensity, T_map_view, PLACE_CAMERA, widths).channels
    return PlaceView(channels, _of_cells(channels[1]))


def map_views(points: MapPoints, poses: np.ndarray) -> Iterator[PlaceView]:
    """`map_view` from each of some poses (N, 4, 4), of points drawn as wide as the localizer draws them."""
    widths = point_widths(points.points)
    for pose in np.asarray(poses, dtype=np.float64):
        local = pose.copy()
        local[:3, 3] -= points.origin
        yield map_view(points.points, points.intensity, local, widths)


def _shrunk(image: np.ndarray, camera: Camera) -> tuple[np.ndarray, Camera]:
    """Image and camera with pixels about as large as the place camera's, where they are smaller."""
    factor = min(camera.fx, camera.fy) / PLACE_CAMERA.fx
    if factor < 1.25:
        return image, camera
    size = max(1, round(camera.width / factor)), max(1, round(camera.height / factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), camera.resized(*size)


def _of_cells(mask: np.ndarray) -> np.ndarray:
    """The share of each cell's pixels, (1, HEIGHT / CELL, WIDTH / CELL) float32."""
    cells = mask.reshape(HEIGHT // CELL, CELL, WIDTH // CELL, CELL)
    return cells.mean((1, 3), dtype=np.float32)[None]
