# SPDX-License-Identifier: Apache-2.0
"""What the place network learns from: features of images and of map views, computed once.

The encoders stay as they are, so a place costs them once, and the heads train in minutes.
"""

from __future__ import annotations

import logging
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..arrays import FeatureFile
from ..geometry import make_pose
from ..lhmap import MapPoints
from ..localization.features import GRIDS
from ..places.build import HEADINGS
from ..places.describe import PlaceEncoder
from ..places.views import PlaceView, level, map_views, share_seen, view_of
from ..places.virtual_poses import camera_poses
from .shards import FULL_DENSITY_M, Frame, Shard
from .variation import mirrored, occluded, reframed, vary_image, vary_map

log = logging.getLogger(__name__)
REACH_M = 60.0
"""Points further away are not drawn."""
ACROSS_M, ABOVE_M, ALONG_M = 4.0, 0.7, 1.5
"""So far from the camera lie the views of the same place at most: another lane is the same place."""
MIN_SEEN, TRIES = 0.15, 5
"""Of the place camera's pixels an image that trains covers so many; if none of so many parts of it does, the whole."""
TILT_DEG = 1.5
"""Standard deviation of pitch and roll of a robot that is taken as level."""


@dataclass(frozen=True)
class PlaceFeatures(FeatureFile):
    """Images and map views of one world; features as `networks.place.pool_cells` pools them, half precision."""

    images: np.ndarray
    """(N, C, h, w) float16."""
    images_seen: np.ndarray
    """(N, 1, h, w) float16."""
    image_poses: np.ndarray
    """(N, 4) x, y, z [m] and heading [rad] of the level camera in the world."""
    views: np.ndarray
    """(M, C, h, w) float16; the k-th of the first N is of the k-th image's place, the others are of anywhere."""
    views_seen: np.ndarray
    """(M, 1, h, w) float16."""
    view_poses: np.ndarray
    """(M, 4)."""


class _Pooled:
    """Collects views, encoded and pooled."""

    def __init__(self):
        self._features, self._seen, self._poses = [], [], []

    def add(self, features: np.ndarray, seen: np.ndarray, T_map_view: np.ndarray) -> None:
        share = _halved(seen)
        self._features.append((_halved(features * seen) / (share + np.float32(1e-3))).astype(np.float16))
        self._seen.append(share.astype(np.float16))
        self._poses.append([*T_map_view[:3, 3], np.arctan2(T_map_view[1, 2], T_map_view[0, 2])])

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.stack(self._features), np.stack(self._seen), np.array(self._poses)


def _halved(x: np.ndarray) -> np.ndarray:
    c, h, w = x.shape
    return x.reshape(c, h // 2, 2, w // 2, 2).mean((2, 4), dtype=np.float32)


def varied_image(frame: Frame, rng) -> tuple[PlaceView, np.ndarray]:
    """The image of a frame as another camera in other light sees it, through the place camera; T_map_view (4, 4)."""
    for _ in range(TRIES):
        other = reframed(frame, *GRIDS[rng.integers(4)], rng)
        mounting = _mounting(other, rng)
        # a part of an image may lie below all that the place camera sees
        if share_seen(other.camera, mounting) >= MIN_SEEN:
            break
    else:
        return plain_image(frame, rng)
    image = vary_image(other.image, rng)
    if rng.random() < 0.3:
        image, _ = occluded(image, rng)
    view = view_of((255 * image + 0.5).astype(np.uint8), other.camera, mounting)
    return view, other.T_map_camera @ level(other.T_map_camera)


def plain_image(frame: Frame, rng) -> tuple[PlaceView, np.ndarray]:
    """The image of a frame through the place camera, and T_map_view (4, 4)."""
    return view_of(frame.image, frame.camera, _mounting(frame, rng)), frame.T_map_camera @ level(frame.T_map_camera)


def _mounting(frame: Frame, rng) -> np.ndarray:
    """T_base_camera (4, 4) as a robot knows it that takes itself as level, but for the position."""
    tilt = Rotation.from_euler("xy", rng.normal(0, TILT_DEG, 2), degrees=True).as_matrix()
    return make_pose(tilt @ frame.T_map_camera[:3, :3], np.zeros(3))


def beside(T_map_view: np.ndarray, rng) -> np.ndarray:
    """A pose of the same place: as far as the nearest one of a database is, and turned as far."""
    yaw = rng.normal(0, 8) if rng.random() < 0.7 else rng.uniform(-0.5, 0.5) * 360 / HEADINGS
    shift = rng.uniform(-1, 1, 3) * (ACROSS_M, ABOVE_M, ALONG_M)
    return T_map_view @ make_pose(Rotation.from_euler("y", yaw, degrees=True), shift)


def around(position: np.ndarray, yaw: float) -> np.ndarray:
    """Level poses (HEADINGS, 4, 4) at a position (3), evenly around from a heading [rad]."""
    return camera_poses(position, yaw + 2 * np.pi * np.arange(HEADINGS) / HEADINGS)


def apart(positions: np.ndarray, distance: float) -> np.ndarray:
    """Numbers of positions (N, 3), none of which is nearer to another one than a distance [m]."""
    chosen: list[int] = []
    for k, position in enumerate(positions):
        if not chosen or np.linalg.norm(positions[chosen] - position, axis=1).min() > distance:
            chosen.append(k)
    return np.array(chosen, int)


class _World:
    """A shard, or what a mirror shows of it."""

    def __init__(self, shard: Shard, mirror: bool):
        self._shard, self._mirror = shard, mirror
        self._points, self._intensity = shard.cloud
        if mirror:
            self._points = self._points * np.array([1, -1, 1], np.float32)

    def frame(self, k: int) -> Frame:
        """The k-th one, with all points around it, as dense from there as those of a map."""
        frame = self._shard.frame(k)
        return mirrored(frame) if self._mirror else frame

    def map_around(self, position: np.ndarray, frame: Frame, rng, vary: bool) -> MapPoints:
        """Points around a position (3), as dense from there as a map has them; varied like those of a frame."""
        offset = self._points - position.astype(np.float32)
        square = np.einsum("ij,ij->i", offset, offset)
        near = np.flatnonzero(square < REACH_M**2)
        near = near[rng.random(len(near)) < FULL_DENSITY_M**2 / np.maximum(square[near], FULL_DENSITY_M**2)]
        seen = replace(frame, points=self._points[near], intensity=self._intensity[near])
        if vary and len(near) > 1000:
            seen = vary_map(seen, rng)
        return seen.crop


def describe_shard(path: Path, mirror: bool, variants: int, spacing: float, vary: bool) -> PlaceFeatures:
    """Features of a shard: each image `variants` times, and views in all directions every `spacing` metres.

    Without `vary` the first time as it is, the map always.
    """
    shard, encoder = Shard(path), PlaceEncoder(threads=1)
    world, rng = _World(shard, mirror), np.random.default_rng([len(path.name), *path.name.encode(), mirror])
    images, near, others, places = _Pooled(), _Pooled(), _Pooled(), []
    for k in range(len(shard)):
        frame = world.frame(k)
        for variant in range(variants):
            view, pose = varied_image(frame, rng) if vary or variant > 0 else plain_image(frame, rng)
            images.add(encoder.image(view), view.seen, pose)
            where = beside(pose, rng)
            points = world.map_around(where[:3, 3], frame, rng, vary)
            view = next(map_views(points, where[None]))
            near.add(encoder.map(view), view.seen, where)
        places.append((frame, pose))
    positions = np.stack([pose[:3, 3] for _, pose in places])
    for k in apart(positions, spacing):
        frame, pose = places[k]
        where = beside(pose, rng)
        points = world.map_around(where[:3, 3], frame, rng, vary)
        poses = around(where[:3, 3], np.arctan2(where[1, 2], where[0, 2]))
        for view, place in zip(map_views(points, poses), poses, strict=True):
            others.add(encoder.map(view), view.seen, place)
    views = (np.concatenate(pair) for pair in zip(near.arrays(), others.arrays(), strict=True))
    return PlaceFeatures(*images.arrays(), *views)


def _write(job: tuple) -> None:
    path, out, *rest = job
    describe_shard(path, *rest).write(out)
    log.info("%s", out.name)


def write_features(jobs: list[tuple], workers: int) -> None:
    """Writes those that are not there yet; a job is a shard, the file to write, and what `describe_shard` takes."""
    jobs = [job for job in jobs if not job[1].exists()]
    if workers < 2 or len(jobs) < 2:
        for job in jobs:
            _write(job)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(_write, jobs):
            pass
