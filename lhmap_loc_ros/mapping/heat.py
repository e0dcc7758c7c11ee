# SPDX-License-Identifier: Apache-2.0
"""Heat from virtual views: the heat network scores views of the map from along the path, point by point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from scipy.spatial.transform import Rotation

from ..datasets.trajectory import Trajectory
from ..errors import ModelError
from ..geometry import Camera, distance_along, make_pose
from ..inference import Backend, Model, load_model
from ..localization.features import HORIZON, MAP_CHANNELS, render_map
from ..places.virtual_poses import BASE_FROM_OPTICAL, GROUND_RADIUS_M, ground_height
from .grid import TileGroups

FULL_SCALE, FULL_SCALE_KEY = 0.015, "full_scale"
"""The mean of a point's best scores that is heat 1, for networks whose metadata have no value under this key."""
_MICROMETRES = 1e6


@dataclass(frozen=True)
class ViewSampling:
    """Which virtual views a map is scored in; the defaults are measured (docs/training.md)."""

    spacing_m: float = 2.0
    """Distance driven between views, metres."""
    beside_m: tuple[float, ...] = (0.0, -2.0, 2.0)
    """Offsets of the camera to the left of the path, metres; views cycle through them."""
    yaw_deg: tuple[float, ...] = (0.0, 12.0, -12.0, 180.0)
    """Headings of the camera relative to the vehicle, counter-clockwise, degrees; views cycle through them first."""
    height_m: float = 1.6
    """Height of the camera above the ground under the path, metres."""
    fov_deg: float = 80.0
    """Horizontal field of view, degrees; the size in pixels is that of the network's input."""
    max_depth_m: float = 60.0
    """Distance up to which points are drawn, metres."""
    top_views: int = 3
    """A point's heat is its mean score in this many views that score it best (fewer if fewer see it)."""


VIEW_SAMPLING = ViewSampling()


def load_heat_model(name: str) -> Model:
    """The heat network; raises ModelError if it is missing or not of the expected shape."""
    # one thread: several views are scored in parallel, and the map does not depend on the number of cores
    model = load_model(name, Backend.ONNXRUNTIME, threads=1)
    shape = model.inputs.get("map", ())
    fits = len(shape) == 4 and shape[:2] == (1, MAP_CHANNELS) and all(isinstance(n, int) for n in shape)
    if not fits or "heat" not in model.outputs:
        raise ModelError(
            f"{model.path}: inputs {model.inputs} and outputs {model.outputs} found; expected a heat network: "
            f"map (1, {MAP_CHANNELS}, H, W) to heat"
        )
    return model


def full_scale_of(model: Model) -> float:
    """The mean score that is heat 1, from the network's file; raises ModelError unless that is a number above zero."""
    found = model.metadata.get(FULL_SCALE_KEY, FULL_SCALE)
    if not isinstance(found, int | float) or not 0 < found < np.inf:
        raise ModelError(f"{model.path}: metadata {FULL_SCALE_KEY!r} is {found!r}, expected a number above zero")
    return float(found)


def virtual_camera(width: int, height: int, fov_deg: float) -> Camera:
    """A level camera with its horizon at the height that the networks are trained with."""
    focal = width / 2 / np.tan(np.radians(fov_deg) / 2)
    return Camera(width, height, focal, focal, (width - 1) / 2, HORIZON * height)


@dataclass(frozen=True)
class VirtualView:
    """A pose beside the path that the map is drawn from; its height follows from the ground."""

    T_map_base: np.ndarray
    """(4, 4), pose of the vehicle."""
    beside_m: float
    """Offset of the camera to the left of the path, metres."""
    yaw_deg: float
    """Heading of the camera relative to the vehicle, counter-clockwise, degrees."""

    def translated(self, shift: np.ndarray) -> VirtualView:
        """The same view in coordinates translated by `shift` (3,), metres."""
        pose = self.T_map_base.copy()
        pose[:3, 3] += shift
        return VirtualView(pose, self.beside_m, self.yaw_deg)

    def camera_pose(self, ground: Callable[[np.ndarray], float], height_m: float) -> np.ndarray:
        """T_map_camera (4, 4); `ground` gives the height of the ground near a position (3,), metres."""
        rotation = self.T_map_base[:3, :3] @ Rotation.from_euler("z", self.yaw_deg, degrees=True).as_matrix()
        position = self.T_map_base[:3, 3] + self.T_map_base[:3, 1] * self.beside_m
        position[2] = ground(position) + height_m
        return make_pose(rotation @ BASE_FROM_OPTICAL, position)


def sample_path(spacing_m: float, path: np.ndarray) -> np.ndarray:
    """Poses (S, 4, 4) of a path (P, 4, 4), one every `spacing_m` metres, beginning at its start; between its own."""
    along = np.round(distance_along(path[:, :3, 3]) * _MICROMETRES).astype(np.int64)
    # where the vehicle stood and turned, it drove on from the last of its poses there
    on = np.r_[np.diff(along) > 0, True]
    wanted = np.arange(0.0, along[-1] + 1, spacing_m * _MICROMETRES)
    return Trajectory(along[on], path[on]).at(np.minimum(wanted, along[-1]).astype(np.int64))


def virtual_views_along(path: np.ndarray, sampling: ViewSampling = VIEW_SAMPLING) -> list[VirtualView]:
    """Views along `path`, the poses (P, 4, 4) of the vehicle.

    They cycle through the headings and, after each round of headings, through the offsets beside the path.
    """
    return [
        VirtualView(
            pose,
            sampling.beside_m[(turn // len(sampling.yaw_deg)) % len(sampling.beside_m)],
            sampling.yaw_deg[turn % len(sampling.yaw_deg)],
        )
        for turn, pose in enumerate(sample_path(sampling.spacing_m, path))
    ]


@numba.njit(cache=True, nogil=True)
def _collect(
    index: np.ndarray, members: np.ndarray, heat: np.ndarray, best: np.ndarray, stamp: np.ndarray, view: int
) -> None:  # fmt: skip
    """Adds one view's scores (H, W) to those of the points that own pixels; the best scores stay sorted."""
    top = best.shape[1]
    for row in range(index.shape[0]):
        for column in range(index.shape[1]):
            if index[row, column] < 0:
                continue
            i = members[index[row, column]]
            value = heat[row, column]
            if stamp[i] == view:
                continue
            stamp[i] = view
            for k in range(top):
                if value > best[i, k]:
                    for j in range(top - 1, k, -1):
                        best[i, j] = best[i, j - 1]
                    best[i, k] = value
                    break


def best_of_views(
    points: np.ndarray,
    intensity: np.ndarray,
    views: Sequence[VirtualView],
    model: Model,
    sampling: ViewSampling = VIEW_SAMPLING,
) -> np.ndarray:
    """The `top_views` best scores (N, top) of points (N, 3) among some views, -1 where fewer views see them.

    The cloud is rendered in each view; a visible point takes the network's score at its first pixel.
    """
    groups = TileGroups(points)
    height, width = model.inputs["map"][2:]
    camera = virtual_camera(width, height, sampling.fov_deg)
    best = np.full((len(points), sampling.top_views), -1.0, np.float32)
    stamp = np.full(len(points), -1, np.int32)
    for number, view in enumerate(views):
        T_map_camera = view.camera_pose(lambda place: _ground(groups, place), sampling.height_m)
        members = groups.members(T_map_camera[:3, 3], sampling.max_depth_m)
        drawn = render_map(points[members], intensity[members], T_map_camera, camera, max_depth=sampling.max_depth_m)
        heat = model.run({"map": drawn.channels[None]})["heat"][0, 0]
        _collect(drawn.index, members, _to_pixels(heat, height, width), best, stamp, number)
    return best


def mean_of_best(best: np.ndarray, full_scale: float) -> np.ndarray:
    """The heat (N,) float32 in [0, 1] from the best scores (N, top): their mean over `full_scale`, 0 where not seen."""
    seen = best >= 0
    mean = np.where(seen, best, 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return np.clip(mean / full_scale, 0, 1).astype(np.float32)


def _to_pixels(heat: np.ndarray, height: int, width: int) -> np.ndarray:
    """The network's heat, at whatever stride, repeated to the pixels of its input."""
    rows = np.arange(height) * heat.shape[0] // height
    columns = np.arange(width) * heat.shape[1] // width
    return np.ascontiguousarray(heat[rows[:, None], columns], np.float32)


def _ground(groups: TileGroups, place: np.ndarray) -> float:
    """Height of the ground near a place (3,): a low quantile of the points around; the place's own if none."""
    near = [groups.points[start:end] for start, end in groups.near(place, GROUND_RADIUS_M)]
    return ground_height(np.concatenate(near) if near else np.zeros((0, 3), np.float32), place)
