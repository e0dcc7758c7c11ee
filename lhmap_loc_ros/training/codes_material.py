# SPDX-License-Identifier: Apache-2.0
"""What the decoder of codes learns from: cells of the images of many worlds with their places, computed once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ..arrays import FeatureFile
from ..geometry import Camera
from ..localization.features import GRIDS
from ..scenes.depth import of_cells
from ..scenes.encoder import SceneEncoder, brought_to, cell_rays, view_camera
from ..scenes.inputs import CellInputs, whole_image, with_surroundings
from .data import check_names
from .shards import Frame, Shard
from .variation import reframed, vary_image

log = logging.getLogger(__name__)
FAR_M = 50.0
"""Places beyond say little of a pose, and are taken for unknown."""
KNOWN, UNKNOWN = 400, 60
"""So many cells of an image are kept whose places are known, and whose are not."""
HELD_OUT = 4
"""Of every so many images one asks only: no code learns from it."""


@dataclass(frozen=True)
class CodesFeatures(FeatureFile):
    """N cells of I images of one world, or drive."""

    cells: np.ndarray
    """(N, D) float16, features with those around, see `scenes.inputs`."""
    image: np.ndarray
    """(N,) int32, the number of each one's image."""
    rays: np.ndarray
    """(N, 3) float32, of depth 1."""
    depth: np.ndarray
    """(N,) float32 [m], NaN where unknown or far."""
    whole: np.ndarray
    """(I, W) float32, means of the images' parts."""
    poses: np.ndarray
    """(I, 4, 4) float64 T_world_camera."""
    focal: np.ndarray
    """(I,) float32 [pixels]."""
    asks: np.ndarray
    """(I,) bool: held out, no code learns from it."""

    def places(self) -> np.ndarray:
        """(N, 3) float64 in the world; NaN where unknown."""
        points, poses = self.rays * self.depth[:, None].astype(np.float64), self.poses[self.image]
        return (poses[:, :3, :3] @ points[..., None])[..., 0] + poses[:, :3, 3]


class _Encoders:
    """One for each grid, made when it is first needed."""

    def __init__(self):
        self._made: dict[tuple[int, int], SceneEncoder] = {}

    def __call__(self, view: Camera) -> SceneEncoder:
        grid = view.width, view.height
        if grid not in self._made:
            self._made[grid] = SceneEncoder(view, threads=1)
        return self._made[grid]


def describe_shard(path: Path) -> CodesFeatures:
    """Each image as it is, and once as another camera in other light sees it, which only asks."""
    shard, encoders = Shard(path), _Encoders()
    rng = np.random.default_rng([len(path.name), *path.name.encode()])
    columns: dict[str, list] = {field.name: [] for field in fields(CodesFeatures)}
    for k in range(len(shard)):
        for number, (channels, view, pose, depth) in enumerate(_seen(shard.frame(k), rng)):
            encoder = encoders(view)
            features = encoder.features(channels)
            depth = of_cells(depth)
            depth[~(depth < FAR_M)] = np.nan
            chosen = np.concatenate([_some(np.isfinite(depth), KNOWN, rng), _some(np.isnan(depth), UNKNOWN, rng)])
            columns["cells"].append(with_surroundings(features, encoder.coarse, view)[chosen].astype(np.float16))
            columns["image"].append(np.full(len(chosen), len(columns["poses"]), np.int32))
            columns["rays"].append(cell_rays(view)[chosen].astype(np.float32))
            columns["depth"].append(depth[chosen].astype(np.float32))
            columns["whole"].append(whole_image(features, encoder.coarse, view))
            columns["poses"].append(pose)
            columns["focal"].append(np.float32(np.sqrt(view.fx * view.fy)))
            columns["asks"].append(number > 0 or k % HELD_OUT == HELD_OUT - 1)
    of_cell = "cells", "image", "rays", "depth"
    return CodesFeatures(**{n: np.concatenate(c) if n in of_cell else np.array(c) for n, c in columns.items()})


def _seen(frame: Frame, rng) -> Iterator[tuple[np.ndarray, Camera, np.ndarray, np.ndarray]]:
    """Channels, camera, pose and depth (height, width) of a frame as it is, and varied."""
    view = view_camera(frame.camera)
    plain = reframed(frame, view.width, view.height, rng, vary=False)
    yield brought_to(frame.image, frame.camera, view)[0], view, frame.T_map_camera, plain.depth
    other = reframed(frame, *GRIDS[rng.integers(4)], rng)
    yield vary_image(other.image, rng).transpose(2, 0, 1), other.camera, other.T_map_camera, other.depth


def _some(mask: np.ndarray, count: int, rng) -> np.ndarray:
    """Numbers of at most so many of those that are set."""
    numbers = np.flatnonzero(mask)
    return rng.permutation(numbers)[:count]


def write_features(shards: list[Path], folder: Path) -> list[Path]:
    """Files of the shards' features; those that are not there yet are made. Raises InputError for two of one name."""
    check_names(shards)
    out = []
    for shard in shards:
        out.append(folder / shard.name)
        if not out[-1].exists():
            describe_shard(shard).write(out[-1])
            log.info("%s", shard.name)
    return out


def fitted_inputs(worlds: list[CodesFeatures], coarse: int) -> CellInputs:
    """What is usual over many worlds: the scene-agnostic `scenes.inputs.CellInputs`."""
    cells = [world.cells.astype(np.float32) for world in worlds]
    return CellInputs.fitted(cells, np.concatenate([world.whole for world in worlds]), coarse)
