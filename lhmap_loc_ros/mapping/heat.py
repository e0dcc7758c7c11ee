# SPDX-License-Identifier: Apache-2.0
"""Heat from virtual views: the heat network looks at the map from along the path, points collect what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from scipy.spatial.transform import Rotation

from ..errors import ModelError
from ..geometry import Camera, distance_along, make_pose
from ..inference import Backend, Model, load_model
from ..localization.features import HORIZON, MAP_CHANNELS, render_map
from ..places.virtual_poses import BASE_FROM_OPTICAL, GROUND_RADIUS_M, ground_height
from .config import HeatConfig
from .grid import TileGroups

FULL_SCALE, FULL_SCALE_KEY = 0.015, "full_scale"
"""The mean of a point's best values where heat is 1, for networks that name none under this key of their metadata."""


def load_heat_model(name: str) -> Model:
    """The heat network; raises ModelError if it is missing or not of the expected shape."""
    # one thread each: several views are looked at side by side; and a map does not depend on where it was built
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
    """`HeatConfig.full_scale` as the network's file says; raises ModelError unless that is a number above zero."""
    found = model.metadata.get(FULL_SCALE_KEY, FULL_SCALE)
    if not isinstance(found, int | float) or not 0 < found < np.inf:
        raise ModelError(f"{model.path}: metadata {FULL_SCALE_KEY!r} is {found!r}, expected a number above zero")
    return float(found)


def virtual_camera(width: int, height: int, fov_deg: float) -> Camera:
    """A level camera with the horizon where the networks are used to it."""
    focal = width / 2 / np.tan(np.radians(fov_deg) / 2)
    return Camera(width, height, focal, focal, (width - 1) / 2, HORIZON * height)


@dataclass(frozen=True)
class Stop:
    """A place along the path to look from."""

    T_map_base: np.ndarray
    """(4, 4), pose of the vehicle."""
    beside_m: float
    yaw_deg: float

    def moved(self, shift: np.ndarray) -> Stop:
        """The same stop in coordinates moved by `shift` (3,)."""
        pose = self.T_map_base.copy()
        pose[:3, 3] += shift
        return Stop(pose, self.beside_m, self.yaw_deg)

    def view(self, ground: Callable[[np.ndarray], float], height_m: float) -> np.ndarray:
        """The camera's pose T_map_camera (4, 4); `ground` tells the height of the ground at a place (3,) [m]."""
        rotation = self.T_map_base[:3, :3] @ Rotation.from_euler("z", self.yaw_deg, degrees=True).as_matrix()
        position = self.T_map_base[:3, 3] + self.T_map_base[:3, 1] * self.beside_m
        position[2] = ground(position) + height_m
        return make_pose(rotation @ BASE_FROM_OPTICAL, position)


def every(spacing_m: float, path: np.ndarray) -> np.ndarray:
    """Numbers of the first poses (P, 4, 4) of a path after each so many metres, the first pose included."""
    along = distance_along(path[:, :3, 3])
    numbers = np.searchsorted(along, np.arange(0.0, along[-1] + 1e-6, spacing_m))
    # the last stop may lie a rounding error behind the last pose
    return np.minimum(numbers, len(path) - 1)


def stops_along(path: np.ndarray, config: HeatConfig) -> list[Stop]:
    """Stops every `spacing_m` along `path`, the poses (P, 4, 4) of the vehicle.

    They take turns in the headings and the places beside the path of the configuration: a full round of headings at
    one place beside the path, then the next place.
    """
    numbers = every(config.spacing_m, path)
    return [
        Stop(
            path[number],
            config.beside_m[(turn // len(config.yaw_deg)) % len(config.beside_m)],
            config.yaw_deg[turn % len(config.yaw_deg)],
        )
        for turn, number in enumerate(numbers)
    ]


@numba.njit(cache=True, nogil=True)
def _collect(index, members, heat, best, stamp, view):
    """Takes one view's heat (H, W) over to the points that own pixels; the best values stay sorted."""
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
    points: np.ndarray, intensity: np.ndarray, stops: Sequence[Stop], model: Model, config: HeatConfig
) -> np.ndarray:
    """The `top_views` best values (N, top) that the views from some stops give to points (N, 3), -1 where not seen.

    The cloud is drawn at each view; a visible point takes the network's value at its first pixel.
    """
    groups = TileGroups(points)
    height, width = model.inputs["map"][2:]
    camera = virtual_camera(width, height, config.fov_deg)
    best = np.full((len(points), config.top_views), -1.0, np.float32)
    stamp = np.full(len(points), -1, np.int32)
    for number, stop in enumerate(stops):
        T_map_camera = stop.view(lambda place: _ground(groups, place), config.height_m)
        members = groups.members(T_map_camera[:3, 3], config.max_depth_m)
        view = render_map(points[members], intensity[members], T_map_camera, camera, max_depth=config.max_depth_m)
        heat = model.run({"map": view.channels[None]})["heat"][0, 0]
        _collect(view.index, members, _to_pixels(heat, height, width), best, stamp, number)
    return best


def mean_of_best(best: np.ndarray, full_scale: float) -> np.ndarray:
    """The heat (N,) float32 in [0, 1] from the best values (N, top): their mean over `full_scale`, 0 where not seen."""
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
