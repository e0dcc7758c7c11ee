# SPDX-License-Identifier: Apache-2.0
"""Training material on disk: images with true poses, and the map they were taken in.

A shard is one drive or one synthetic world in one uncompressed .npz: small images, one cloud, and for every
image the cloud's points that may be in view from anywhere near it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..arrays import read_arrays, write_arrays
from ..geometry import Camera, inverse, transform
from ..lhmap import MapPoints

REACH_M = 75.0
"""Points further from the camera are left out."""
FULL_DENSITY_M = 12.0
"""Beyond this range points are thinned so that their angular density stays the same."""
PLACE_M = 20.0
"""Images whose cameras stand in the same square of this edge are of one place."""
MARGIN_M = 3.0
"""How far outside the view a point may lie, besides an angle of 15 degrees."""
_ARRAYS = ("images", "cameras", "poses", "depths", "points", "intensity", "index", "offsets")


@dataclass(frozen=True)
class Frame:
    """One image and its surroundings."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    camera: Camera
    T_map_camera: np.ndarray
    """(4, 4) float64, true pose."""
    points: np.ndarray
    """(N, 3) float32 [m], map frame."""
    intensity: np.ndarray
    """(N) float32 in [0, 1]."""
    depth: np.ndarray | None = None
    """(H, W) float32, depth [m] of what the image shows, inf for sky, NaN where unknown; None: all unknown."""

    @property
    def crop(self) -> MapPoints:
        """The surroundings as the localizer takes them."""
        return MapPoints(self.points, self.intensity, np.ones_like(self.intensity), np.zeros(3))


def surroundings(points: np.ndarray, T_map_camera: np.ndarray, camera: Camera, rng) -> np.ndarray:
    """Numbers (uint32) of the cloud's points that a camera near this pose may see."""
    near = np.flatnonzero(np.square(points - T_map_camera[:3, 3].astype(np.float32)).sum(1) < REACH_M**2)
    local = transform(inverse(T_map_camera), points[near])
    depth = local[:, 2] + MARGIN_M
    half_u = np.arctan(0.5 * camera.width / camera.fx) + np.radians(15)
    half_v = np.arctan(0.6 * camera.height / camera.fy) + np.radians(15)
    keep = (depth > 0) & (np.abs(local[:, 0]) < MARGIN_M + np.tan(min(half_u, 1.4)) * depth)
    keep &= np.abs(local[:, 1]) < MARGIN_M + np.tan(min(half_v, 1.4)) * depth
    distance = np.linalg.norm(local, axis=1)
    keep &= rng.random(len(near)) < np.square(FULL_DENSITY_M / np.maximum(distance, FULL_DENSITY_M))
    return near[keep].astype(np.uint32)


def write_shard(
    path: Path, images, cameras, poses, depths, points: np.ndarray, intensity: np.ndarray, seed: int = 0
) -> None:
    """Write a shard; images (H, W, 3) uint8 and depths (H, W) [m] of one size, cameras and poses (4, 4), one each.

    `points` (N, 3) [m] and `intensity` (N,) in [0, 1] are the map; there is one image at least. Raises InputError where
    it cannot be written.
    """
    rng = np.random.default_rng(seed)
    index = [surroundings(points, pose, camera, rng) for pose, camera in zip(poses, cameras, strict=True)]
    arrays = {
        "images": np.stack(images),
        "cameras": np.array([(c.fx, c.fy, c.cx, c.cy) for c in cameras]),
        "poses": np.stack(poses),
        "depths": np.stack(depths).astype(np.float16),
        "points": points.astype(np.float32),
        "intensity": np.clip(intensity * 255 + 0.5, 0, 255).astype(np.uint8),
        "index": np.concatenate(index),
        "offsets": np.cumsum([0] + [len(i) for i in index]),
    }
    write_arrays(path, arrays)


def ranked(steps: np.ndarray) -> np.ndarray:
    """Intensities (N,) uint8 as the share of the cloud's points that are darker (N,) float32; zeros where all are."""
    counts = np.bincount(steps, minlength=256)
    if (counts > 0).sum() < 2:
        return np.zeros(len(steps), np.float32)
    return ((np.cumsum(counts) - 0.5 * counts) / len(steps))[steps].astype(np.float32)


class Shard:
    """A shard in memory."""

    def __init__(self, path: Path):
        """Raises InputError for a file that is none."""
        self._data = read_arrays(path, _ARRAYS, "a training shard")
        self.path = Path(path)
        self._data["intensity"] = ranked(self._data["intensity"])
        _, place = np.unique(np.round(self._data["poses"][:, :2, 3] / PLACE_M), axis=0, return_inverse=True)
        self.places = [np.flatnonzero(place.ravel() == k) for k in range(place.max() + 1)]
        """Numbers of the images of each place."""

    def __len__(self) -> int:
        return len(self._data["images"])

    @property
    def cloud(self) -> tuple[np.ndarray, np.ndarray]:
        """All points (N, 3) float32 [m] and their intensities (N,) float32 in [0, 1]."""
        return self._data["points"], self._data["intensity"]

    def frame(self, k: int) -> Frame:
        """The k-th image with its surroundings."""
        data = self._data
        image = data["images"][k]
        chosen = data["index"][data["offsets"][k] : data["offsets"][k + 1]]
        return Frame(
            image=image,
            camera=Camera(image.shape[1], image.shape[0], *data["cameras"][k]),
            T_map_camera=data["poses"][k],
            points=data["points"][chosen],
            intensity=data["intensity"][chosen],
            depth=data["depths"][k].astype(np.float32),
        )


def shrink(image: np.ndarray, camera: Camera, width: int) -> tuple[np.ndarray, Camera]:
    """Image and camera re-sampled to a width in pixels; smaller images stay as they are."""
    if camera.width <= width:
        return image, camera
    height = round(camera.height * width / camera.width)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), camera.resized(width, height)
