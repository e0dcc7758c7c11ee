# SPDX-License-Identifier: Apache-2.0
"""A street whose images hold their pose, and an encoder whose features tell where each cell lies."""

import numpy as np

from helpers.known_places import ORIGIN, T_BASE_CAMERA, on_path, pose_in
from lhmap_loc_ros.geometry import Camera
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.scenes.encoder import COARSE, cell_rays
from lhmap_loc_ros.training.scene_material import SceneMaterial

VIEW = Camera(240, 432, 300.0, 300.0, 119.5, 215.5)
MOUNTED = PosedCamera(VIEW, T_BASE_CAMERA)
FAR_M, WALL_M = 25.0, 7.0
_RAYS = cell_rays(VIEW)


def depth_of(T_map_camera):
    """Depth (M,) of a street: ground half a metre below the path, walls to both sides; NaN for the sky."""
    local = T_map_camera.copy()
    local[:3, 3] -= ORIGIN + (5, 5, 1.5)
    directions = _RAYS @ local[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(directions[:, 2] < -0.01, -local[2, 3] / directions[:, 2], np.inf)
        wall = (np.sign(directions[:, 1]) * WALL_M - local[1, 3]) / directions[:, 1]
    depth = np.minimum(ground, np.where(wall > 0, wall, np.inf))
    return np.where(depth < FAR_M, depth, np.nan)


def features_of(T_map_camera, fine=4):
    """Features (M, F) that waves over the places of cells make, `fine` more than those at 1/8."""
    depth = depth_of(T_map_camera)
    places = T_map_camera[:3, 3] - ORIGIN + (_RAYS * np.nan_to_num(depth)[:, None]) @ T_map_camera[:3, :3].T
    random = np.random.default_rng(5)
    waves = np.sin(
        places @ random.normal(0, (0.03, 0.1, 0.2), (COARSE + fine, 3)).T + random.uniform(0, 6, COARSE + fine)
    )
    return np.where(np.isfinite(depth)[:, None], waves, 0.0).astype(np.float32)


class KnowingEncoder:
    """As `SceneEncoder`, for images that hold their pose."""

    sha256 = "5ca1ab1e"
    view = VIEW

    def __init__(self, fine=4):
        self._fine = fine

    def features(self, channels):
        image = np.round(channels.transpose(1, 2, 0) * 255).astype(np.uint8)
        return features_of(pose_in(image), self._fine)


def image_at(T_map_base):
    """An image that this encoder, and a `KnowingRefiner`, know the place of."""
    image = np.zeros((VIEW.height, VIEW.width, 3), np.uint8)
    data = np.frombuffer((T_map_base @ T_BASE_CAMERA).tobytes(), np.uint8)
    image.reshape(-1)[: len(data)] = data
    return image


def street_material(length=40.0, fine=4):
    """Of images every two metres along the first metres of the street."""
    poses = np.array([on_path(x) @ T_BASE_CAMERA for x in np.arange(0, length, 2.0)])
    depth = np.array([depth_of(pose) for pose in poses], np.float32)
    return SceneMaterial(
        VIEW, KnowingEncoder.sha256, COARSE, poses, T_BASE_CAMERA,
        np.array([features_of(pose, fine) for pose in poses], np.float16), depth, np.zeros(depth.shape, bool),
    )  # fmt: skip
