# SPDX-License-Identifier: Apache-2.0
"""Disturbances to measure robustness by: of the image, of the map, of the calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..errors import InputError
from ..geometry import Camera, Rig, inverse, perturb, posed_images, project, z_buffer
from ..lhmap import MapPoints
from .protocol import Query

TILE_M = 25.0
"""Edge of the squares that `missing_tiles` takes out; the same for all maps, whatever the size of their own tiles."""


@dataclass(frozen=True)
class Disturbance:
    """What is wrong, and how much of it."""

    name: str
    strength: float

    @classmethod
    def parse(cls, text: str) -> Disturbance:
        """From ``name=strength``; raises InputError for an unknown name or a strength out of range."""
        name, _, value = text.partition("=")
        try:
            strength = float(value)
        except ValueError:
            strength = np.nan
        if name not in KINDS or not np.isfinite(strength):
            known = ", ".join(f"{k} ({kind.unit})" for k, kind in KINDS.items())
            raise InputError(f"disturbance {text!r}: expected NAME=STRENGTH with one of {known}")
        low, high = KINDS[name].limits
        if not low <= strength <= high:
            raise InputError(f"disturbance {text!r}: expected a strength from {low:g} to {high:g} {KINDS[name].unit}")
        return cls(name, strength)

    def __call__(self, query: Query) -> Query:
        """The query, disturbed; the same query is always disturbed in the same way."""
        return KINDS[self.name].apply(query, self.strength, np.random.default_rng([query.number, 4711]))


@dataclass(frozen=True)
class _View:
    """One image of a query."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    camera: Camera
    T_map_camera: np.ndarray
    """(4, 4), true pose."""
    crop: Callable[[np.ndarray], MapPoints]
    """As of the query."""


def _of_images(change: Callable[[_View, float, np.random.Generator], np.ndarray]) -> _Change:
    """Disturbs each image of a query by itself: `change` gives it disturbed."""

    def apply(query: Query, strength: float, rng: np.random.Generator) -> Query:
        images = [
            change(_View(view.image, view.camera, query.T_map_camera @ view.T_rig_camera, query.crop), strength, rng)
            for view in posed_images(query.image, query.camera)
        ]
        return replace(query, image=tuple(images) if isinstance(query.camera, Rig) else images[0])

    return apply


def _exposure(view: _View, stops: float, rng: np.random.Generator) -> np.ndarray:
    # twice the light on the sensor is twice the linear value, not twice the grey value
    linear = (view.image / np.float32(255)) ** 2.2 * 2.0**stops
    return _seen(np.clip(linear, 0, 1) ** (1 / 2.2) * 255)


def _blur(view: _View, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return view.image if sigma == 0 else _seen(cv2.GaussianBlur(view.image, (0, 0), sigma))


def _noise(view: _View, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return _seen(view.image + rng.normal(0, sigma, view.image.shape))


def _occlusion(view: _View, share: float, rng: np.random.Generator) -> np.ndarray:
    """Dark blocks somewhere in the image, until they cover the share."""
    image = view.image.copy()
    height, width = image.shape[:2]
    covered = np.zeros((height, width), bool)
    while covered.mean() < share:
        h, w = int(height * rng.uniform(0.2, 0.5)), int(height * rng.uniform(0.2, 0.8))
        top, left = rng.integers(0, height - h), rng.integers(0, max(width - w, 1))
        covered[top : top + h, left : left + w] = True
    image[covered] = 30
    return image


def _fog(view: _View, density: float, rng: np.random.Generator) -> np.ndarray:
    """Fog of an extinction per metre, over the depth of the map at the true pose; what the map lacks is far."""
    crop, pose = view.crop(view.T_map_camera), view.T_map_camera.copy()
    pose[:3, 3] -= crop.origin
    depth, _ = z_buffer(*project(crop.points, inverse(pose), view.camera), view.camera, 0.3)
    share = 1 - np.exp(-density * np.minimum(np.where(np.isfinite(depth), depth, 120.0), 120.0))
    share = cv2.GaussianBlur(share.astype(np.float32), (0, 0), 2.0)[..., None]
    return _seen(view.image * (1 - share) + 190 * share)


def _missing_tiles(query: Query, share: float, rng: np.random.Generator) -> Query:
    def thinned(pose: np.ndarray) -> MapPoints:
        crop = query.crop(pose)
        tile = np.floor((crop.points[:, :2] + crop.origin[:2]) / TILE_M).astype(np.int64)
        # a number between 0 and 1 that belongs to the tile, whoever asks
        draw = ((tile[:, 0] * 73856093 ^ tile[:, 1] * 19349663) * 2654435761 % 2**32) / 2**32
        return crop.select(draw >= share)

    return replace(query, crop=thinned)


def _extrinsic_deg(query: Query, degrees: float, rng: np.random.Generator) -> Query:
    return _miscalibrated(query, np.zeros(3), degrees * _direction(rng))


def _extrinsic_m(query: Query, metres: float, rng: np.random.Generator) -> Query:
    return _miscalibrated(query, metres * _direction(rng), np.zeros(3))


def _miscalibrated(query: Query, translation: np.ndarray, euler_deg: np.ndarray) -> Query:
    # the robot believes its camera elsewhere: a perfect answer for the camera is off by this for the robot
    return replace(query, T_map_camera=perturb(query.T_map_camera, translation, euler_deg))


def _direction(rng: np.random.Generator) -> np.ndarray:
    v = rng.normal(size=3)
    return v / np.linalg.norm(v)


def _seen(image: np.ndarray) -> np.ndarray:
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


_Change = Callable[[Query, float, np.random.Generator], Query]


@dataclass(frozen=True)
class _Kind:
    apply: _Change
    unit: str
    limits: tuple[float, float]


KINDS = {
    "exposure": _Kind(_of_images(_exposure), "stops", (-8, 8)),
    "blur": _Kind(_of_images(_blur), "pixels, standard deviation", (0, 50)),
    "noise": _Kind(_of_images(_noise), "grey levels, standard deviation", (0, 255)),
    "occlusion": _Kind(_of_images(_occlusion), "share of the image", (0, 0.9)),
    "fog": _Kind(_of_images(_fog), "extinction per metre", (0, 1)),
    "missing_tiles": _Kind(_missing_tiles, "share of the squares of 25 m of the map", (0, 0.95)),
    "extrinsic_deg": _Kind(_extrinsic_deg, "degrees about a random axis", (0, 10)),
    "extrinsic_m": _Kind(_extrinsic_m, "metres in a random direction", (0, 2)),
}
"""Kinds of disturbance by name."""
