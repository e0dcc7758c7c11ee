# SPDX-License-Identifier: Apache-2.0
"""A map with a path, images that hold their own pose, and what describes and refines them by it."""

from dataclasses import dataclass

import numpy as np

from lhmap_loc_ros.geometry import Camera, inverse, make_pose
from lhmap_loc_ros.lhmap import LHMap, MapMetadata, MapPoints, write_map
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.places.virtual_poses import base_pose

CAMERA = Camera(64, 32, 40.0, 40.0, 32.0, 16.0)
T_BASE_CAMERA = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [1.2, 0.1, 1.6])
MOUNTED = PosedCamera(CAMERA, T_BASE_CAMERA)
ORIGIN = np.array([455_100.0, 5_428_700.0, 110.0])
NOWHERE = np.zeros((32, 64, 3), np.uint8)


def write_street(path, length=200.0, turned=0.0):
    """A map along a straight path on level ground; the path starts at ORIGIN + (5, 5, 2)."""
    random, n = np.random.default_rng(0), 4000
    xyz = np.column_stack([random.uniform(-20, length + 20, n), random.uniform(-12, 22, n), np.full(n, 1.5)])
    same = np.full(n, 0.5, np.float32)
    drive = [(ORIGIN[0] + 5 + x, ORIGIN[1] + 5, ORIGIN[2] + 2, turned) for x in np.arange(0, length + 1, 5.0)]
    write_map(path, MapPoints(xyz, same, same, ORIGIN), MapMetadata(origin=tuple(ORIGIN), path=drive, tile_m=25.6))
    return LHMap.open(path)


def on_path(x, yaw=0.0, side=0.0):
    """T_map_base so far along the path of the street."""
    return base_pose(ORIGIN + (5 + x, 5 + side, 2), yaw, T_BASE_CAMERA)


def image_at(T_map_base):
    """An image that a `KnowingDescriber` and a `KnowingRefiner` know the place of."""
    image = NOWHERE.copy()
    data = np.frombuffer((T_map_base @ T_BASE_CAMERA).tobytes(), np.uint8)
    image.reshape(-1)[: len(data)] = data
    return image


def pose_in(image):
    """T_map_camera of such an image, None of NOWHERE."""
    pose = np.frombuffer(image.tobytes()[: 16 * 8]).reshape(4, 4)
    return pose if pose.any() else None


class KnowingDescriber:
    """Descriptors that are more alike the nearer places and headings are; with a `period` the street looks the same
    again every so many metres."""

    sha256 = "5ca1ab1e"

    def __init__(self, dimension=64, period=None):
        random = np.random.default_rng(3)
        self.frequency = random.normal(0, (0.15, 0.15, 1.0), (dimension, 3))
        self.phase, self.period = random.uniform(0, 2 * np.pi, dimension), period
        self.viewed = 0

    def _of(self, pose):
        x, y = pose[:2, 3] - ORIGIN[:2]
        yaw = np.arctan2(pose[1, 2], pose[0, 2])
        x = x if self.period is None else x % self.period
        wave = np.cos(self.frequency[:, :2] @ (x, y) + 2 * self.frequency[:, 2] * np.cos(yaw) + self.phase)
        wave += np.cos(2 * self.frequency[:, 2] * np.sin(yaw) + 2 * self.phase)
        return (wave / np.linalg.norm(wave)).astype(np.float32)

    def image(self, image, camera, T_base_camera=None):
        pose = pose_in(image)
        return np.full_like(self._of(np.eye(4)), len(self.phase) ** -0.5) if pose is None else self._of(pose)

    def views(self, points, poses):
        assert len(points)
        self.viewed += len(poses)
        return np.array([self._of(pose) for pose in poses])


@dataclass
class Refined:
    T_map_camera: np.ndarray
    covariance: np.ndarray
    inlier_ratio: float
    matches: int = 500


class KnowingRefiner:
    """Leads from within 4 m and 20 degrees to the pose in the image; from elsewhere nowhere.

    `alike`: metres along x at which the map fits the image as well, so many times as well as at the true pose.
    """

    def __init__(self, ratio=0.5, alike=()):
        self.ratio, self.alike, self.looked = ratio, dict(alike), 0

    def refine(self, image, camera, submap, T_map_camera):
        self.looked += 1
        truth = pose_in(image)
        for shift, share in {0.0: 1.0, **self.alike}.items() if truth is not None else ():
            pose = truth.copy()
            pose[0, 3] += shift
            error = inverse(pose) @ T_map_camera
            near = np.linalg.norm(error[:3, 3]) < 4 and np.trace(error[:3, :3]) > 1 + 2 * np.cos(np.radians(20))
            if near:
                return Refined(pose, np.eye(6) * 1e-3, self.ratio * share)
        return Refined(T_map_camera, np.eye(6), 0.08)
