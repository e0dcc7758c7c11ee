# SPDX-License-Identifier: Apache-2.0
"""Training samples: a frame, varied, with a wrong start pose and the true displacement of every map cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..evaluation.protocol import LEVELS
from ..geometry import NO_POINT, Camera, inverse, perturb, project, z_buffer
from ..localization.features import MIN_WIDTH_M, cell_points, point_widths, render_map
from .shards import Frame
from .variation import varied

BEYOND = 24.0
"""A displacement is known up to this far outside the image [pixels]."""


@dataclass(frozen=True)
class Sample:
    """What one training step sees of one frame, or of a batch of them; float32, CHW."""

    image: np.ndarray
    """(3, H, W) RGB in [0, 1]."""
    view: np.ndarray
    """(MAP_CHANNELS, H, W) of the map from the start pose, see `localization.features.render_map`."""
    flow8: np.ndarray
    """(2, H/8, W/8) true displacement of each cell's point [pixels], NaN where unknown or hidden."""
    flow4: np.ndarray
    """(2, H/4, W/4), likewise."""
    shown8: np.ndarray
    """(H/8, W/8) whether the image shows each cell's point: a map holds cars that have left since."""
    shown4: np.ndarray
    """(H/4, W/4), likewise."""
    rays8: np.ndarray
    """(3, H/8, W/8) of each cell's point in the start camera: x/z, y/z, 1/z [1/m]; zero where there is none."""
    rays4: np.ndarray
    """(3, H/4, W/4), likewise."""
    focal: np.ndarray
    """(2) focal lengths [pixels]."""


def as_arrays(sample: Sample) -> tuple[np.ndarray, ...]:
    """The fields of a sample in their order."""
    return tuple(getattr(sample, field.name) for field in fields(sample))


def start_pose(truth: np.ndarray, level: int, rng) -> np.ndarray:
    """A start pose of the protocol's level around the true pose."""
    metres, degrees = LEVELS[level]
    return perturb(truth, rng.uniform(-metres, metres, 3), rng.uniform(-degrees, degrees, 3))


def training_start(truth: np.ndarray, rng) -> np.ndarray:
    """Start errors of all sizes, large ones more often.

    Small errors are what the last refinement meets, but where they prevail the network learns that nothing
    moves instead of looking at the image.
    """
    kind = rng.random()
    if kind < 0.35:
        return start_pose(truth, 1, rng)
    size = 1.0 if kind < 0.65 else 10 ** rng.uniform(-1.0, -0.2)
    return perturb(truth, rng.uniform(-1.2, 1.2, 3) * size, rng.uniform(-5, 5, 3) * size)


def near_start(truth: np.ndarray, rng) -> np.ndarray:
    """Start errors of a tracked pose: some decimetres, half a degree."""
    return perturb(truth, rng.normal(0, 0.2, 3), rng.normal(0, 0.4, 3))


def true_flow(
    frame: Frame, view, owners: Sequence[np.ndarray], widths: float | np.ndarray = MIN_WIDTH_M
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Displacement (2, h, w) [pixels] of the point of each cell from the view to the image; NaN where hidden.

    And where (h, w) the image shows the point, which it does not when a car has left, or another has come.
    Points that come to lie up to `BEYOND` pixels outside the image count as shown: were they left out, all the
    cells along a border that have a displacement would move inwards, and so would be learned. `owners` are the
    points of the cells, one (h, w) for each cell size, of which each gets its pair; `widths` those of the points.
    """
    camera = frame.camera
    uv, depth = project(frame.points, inverse(frame.T_map_camera), camera)
    nearest, _ = z_buffer(uv, depth, camera, widths, 80.0)

    def of(owner):
        flow = np.full((2, *owner.shape), np.nan, np.float32)
        rows, columns = np.nonzero(owner != NO_POINT)
        point = owner[rows, columns]
        u, v = uv[point, 0], uv[point, 1]
        with np.errstate(invalid="ignore"):
            beyond = np.maximum.reduce([-u, u - camera.width + 1, -v, v - camera.height + 1])
            near = beyond < BEYOND
        point, rows, columns, outside = point[near], rows[near], columns[near], beyond[near] >= 0.5
        pixel = np.clip(np.floor(uv[point] + 0.5).astype(int), 0, (camera.width - 1, camera.height - 1))
        seen = outside | (depth[point] < nearest[pixel[:, 1], pixel[:, 0]] * 1.03 + 0.3)
        point, rows, columns, pixel, outside = (x[seen] for x in (point, rows, columns, pixel, outside))
        flow[:, rows, columns] = (uv[point] - view.uv[point]).T
        shown = np.zeros(owner.shape, bool)
        shown[rows, columns] = True if frame.depth is None else outside | _shown(depth[point], pixel, frame.depth)
        return flow, shown

    return [of(owner) for owner in owners]


def _shown(depth: np.ndarray, pixel: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Whether the image shows a surface at these depths (N) [m], in or beside these pixels (N, 2)."""
    padded = np.pad(shown, 1, mode="edge")
    agrees, unknown = np.zeros(len(depth), bool), np.ones(len(depth), bool)
    for dv in range(3):
        for du in range(3):
            there = padded[pixel[:, 1] + dv, pixel[:, 0] + du]
            agrees |= np.abs(there - depth) < 0.03 * depth + 0.3
            unknown &= np.isnan(there)
    return agrees | unknown


def training_sample(frame: Frame, width: int, height: int, rng, draw_start=training_start) -> Sample:
    """One varied sample of a frame, seen from the start pose that `draw_start(truth, rng)` gives."""
    frame, image, wider = varied(frame, width, height, rng)
    widths = wider * point_widths(frame.points)
    start = draw_start(frame.T_map_camera, rng)
    view = render_map(frame.points, frame.intensity, start, frame.camera, widths)
    owners = [cell_points(view, cell) for cell in (8, 4)]
    (flow8, shown8), (flow4, shown4) = true_flow(frame, view, owners, widths)
    rays8, rays4 = (_rays(frame.camera, view, owner) for owner in owners)
    focal = np.array([frame.camera.fx, frame.camera.fy], np.float32)
    return Sample(image, view.channels, flow8, flow4, shown8, shown4, rays8, rays4, focal)


def _rays(camera: Camera, view, owner: np.ndarray) -> np.ndarray:
    rays = np.zeros((3, *owner.shape), np.float32)
    rows, columns = np.nonzero(owner != NO_POINT)
    point = owner[rows, columns]
    rays[0, rows, columns] = (view.uv[point, 0] - camera.cx) / camera.fx
    rays[1, rows, columns] = (view.uv[point, 1] - camera.cy) / camera.fy
    rays[2, rows, columns] = 1 / view.depth[point]
    return rays
