# SPDX-License-Identifier: Apache-2.0
"""Places seen once: two rectified images and the scan taken with them, without poses.

Layout read: ``ROOT/calib.txt`` (P2, P3 and Tr as in the KITTI odometry layout) and, a folder a place,
``ROOT/PLACE/{left.jpg, right.jpg, scan.laz}``. The scan's frame is the place's map.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BagError
from ..geometry import Camera, inverse, make_pose
from .camera_lidar import read_image
from .clouds import read_cloud
from .kitti import read_matrices, split_projection

SIDES = {"left": "P2", "right": "P3"}
"""Images, and their cameras' projections in calib.txt."""


@dataclass(frozen=True)
class Place:
    """A scan and the images of it."""

    points: np.ndarray
    """(N, 3) float32 [m]."""
    intensity: np.ndarray
    """(N,) float32 in [0, 1]."""
    images: list[np.ndarray]
    """(H, W, 3) uint8 RGB, left and right."""
    cameras: list[Camera]
    poses: list[np.ndarray]
    """(4, 4), T_scan_camera."""


class ImagePairs:
    """The places in a folder; raises BagError for what is missing or damaged."""

    def __init__(self, root):
        self.root = Path(root)
        matrices = read_matrices(self.root / "calib.txt", {**dict.fromkeys(SIDES.values(), (3, 4)), "Tr": (3, 4)})
        T_camera0_lidar = make_pose(matrices["Tr"][:, :3], matrices["Tr"][:, 3])
        self._cameras = {}
        for side, name in SIDES.items():
            K, T_camera_camera0 = split_projection(matrices[name])
            self._cameras[side] = K, inverse(T_camera_camera0 @ T_camera0_lidar)
        self.names = sorted(p.name for p in self.root.iterdir() if (p / "scan.laz").exists())
        """Of the places."""

    def place(self, name: str) -> Place:
        """One place by its name."""
        if name not in self.names:
            raise BagError(f"{self.root / name}: no such place, expected one of {', '.join(self.names) or 'none'}")
        cloud = read_cloud(self.root / name / "scan.laz")
        intensity = np.zeros(len(cloud), np.float32) if cloud.intensity is None else cloud.intensity
        images = [read_image(self.root / name / f"{side}.jpg") for side in SIDES]
        cameras = [
            Camera(image.shape[1], image.shape[0], K[0, 0], K[1, 1], K[0, 2], K[1, 2])
            for image, (K, _) in zip(images, self._cameras.values(), strict=True)
        ]
        poses = [pose for _, pose in self._cameras.values()]
        return Place(cloud.xyz.astype(np.float32), intensity, images, cameras, poses)
