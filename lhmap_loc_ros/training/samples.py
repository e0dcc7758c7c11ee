# SPDX-License-Identifier: Apache-2.0
"""Training samples: a frame, varied, with a wrong start pose and the true displacement of every map cell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from ..geometry import NO_POINT, Camera, inverse, perturb, project, z_buffer
from ..localization.features import HORIZON, cell_points, render_map
from .shards import Frame

LEVELS = {1: (2.0, 10.0), 2: (1.0, 2.0), 3: (0.6, 2.0)}
"""Start errors of the evaluation protocol: metres and degrees, uniform on each axis."""
BEYOND = 24.0
"""A displacement is known up to this far outside the image [pixels]."""


@dataclass(frozen=True)
class Sample:
    """What one training step sees of one frame; float32, CHW."""

    image: np.ndarray
    view: np.ndarray
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
    if kind < 0.4:
        return start_pose(truth, 1, rng)
    size = 1.0 if kind < 0.75 else 10 ** rng.uniform(-1.0, -0.2)
    return perturb(truth, rng.uniform(-1.2, 1.2, 3) * size, rng.uniform(-5, 5, 3) * size)


def near_start(truth: np.ndarray, rng) -> np.ndarray:
    """Start errors of a tracked pose: some decimetres, half a degree."""
    return perturb(truth, rng.normal(0, 0.2, 3), rng.normal(0, 0.4, 3))


def mirrored(frame: Frame) -> Frame:
    """The frame seen in a mirror: left becomes right."""
    flip = np.diag([1.0, -1.0, 1.0])
    pose = frame.T_map_camera.copy()
    pose[:3, :3] = flip @ pose[:3, :3] @ np.diag([-1.0, 1.0, 1.0])
    pose[:3, 3] = flip @ pose[:3, 3]
    camera = frame.camera
    camera = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.width - 1 - camera.cx, camera.cy)
    points = frame.points * np.array([1, -1, 1], np.float32)
    depth = None if frame.depth is None else frame.depth[:, ::-1]
    return Frame(frame.image[:, ::-1], camera, pose, points, frame.intensity, depth)


def reframed(frame: Frame, width: int, height: int, rng, vary: bool = True) -> Frame:
    """The frame on a grid of `width` x `height` pixels: varied zoom, roll (5 deg) and horizon, or none of it."""
    camera = frame.camera
    zoom = 10 ** rng.uniform(0, 0.12) if vary else 1.0
    roll = np.radians(rng.uniform(-5, 5)) if vary and rng.random() < 0.5 else 0.0
    scale = width / camera.width * zoom
    cx = (camera.cx + 0.5) * scale - 0.5 - (rng.uniform(0, zoom - 1) * width if vary else 0.0)
    spare = max(0.0, camera.height * scale - height)
    cy = (camera.cy + 0.5) * scale - 0.5
    wanted = cy - HORIZON * height + (rng.normal(0, 0.04) * height if vary else 0.0)
    cy -= np.clip(wanted, min(0.0, camera.height * scale - height), spare)
    target = Camera(width, height, camera.fx * scale, camera.fy * scale, cx, cy)
    # pixel in the new image = K' Rz(-roll) K^-1 pixel in the old one
    turn = Rotation.from_euler("z", roll).as_matrix()
    warp = target.matrix @ turn.T @ np.linalg.inv(camera.matrix)
    source = frame.image
    if scale < 0.75:
        source = cv2.GaussianBlur(source, (0, 0), 0.35 / scale)
    image = cv2.warpAffine(np.ascontiguousarray(source), warp[:2], (width, height), flags=cv2.INTER_LINEAR)
    pose = frame.T_map_camera.copy()
    pose[:3, :3] = pose[:3, :3] @ turn
    depth = frame.depth
    if depth is not None:
        depth = cv2.warpAffine(
            np.ascontiguousarray(depth), warp[:2], (width, height), flags=cv2.INTER_NEAREST, borderValue=np.nan
        )
    return replace(frame, image=image, camera=target, T_map_camera=pose, depth=depth)


def vary_image(image: np.ndarray, rng) -> np.ndarray:
    """Exposure, contrast, gamma, colour, blur, noise and occlusion; (H, W, 3) uint8 to float32 in [0, 1]."""
    out = image.astype(np.float32) / 255
    out = np.clip(out, 0, 1) ** np.exp(rng.normal(0, 0.2))
    out = (out - 0.45) * np.exp(rng.normal(0, 0.2)) + 0.45 + rng.normal(0, 0.06)
    out *= np.exp(rng.normal(0, 0.07, 3)).astype(np.float32)
    if rng.random() < 0.25:
        grey = out.mean(2, keepdims=True)
        out = grey + (out - grey) * rng.uniform(0, 1)
    if rng.random() < 0.2:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.3))
    out += rng.normal(0, rng.uniform(0, 0.04), out.shape).astype(np.float32)
    if rng.random() < 0.15:
        h, w = out.shape[:2]
        bh, bw = int(h * rng.uniform(0.1, 0.5)), int(w * rng.uniform(0.05, 0.3))
        y, x = rng.integers(0, h - bh), rng.integers(0, w - bw)
        out[y : y + bh, x : x + bw] = rng.uniform(0, 1, 3)
    return np.clip(out, 0, 1).astype(np.float32)


def vary_map(frame: Frame, rng) -> Frame:
    """Thinner, noisier, partly missing, with another sensor's intensities."""
    keep = rng.random(len(frame.points)) < (1.0 if rng.random() < 0.7 else 10 ** rng.uniform(-0.8, 0))
    if rng.random() < 0.1:
        # a missing tile
        corner = frame.points[rng.integers(len(frame.points)), :2]
        keep &= (np.abs(frame.points[:, :2] - corner) > rng.uniform(2, 8)).any(1)
    if keep.sum() < 200:
        keep[:] = True
    points = frame.points[keep] + rng.normal(0, 0.01, (int(keep.sum()), 3)).astype(np.float32)
    intensity = frame.intensity[keep]
    intensity = np.clip(intensity, 0, 1) ** np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.2))
    if rng.random() < 0.03:
        intensity = np.zeros_like(intensity)
    return replace(frame, points=points, intensity=np.clip(intensity, 0, 1).astype(np.float32))


def true_flow(frame: Frame, view, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Displacement (2, h, w) [pixels] of the point of each cell from the view to the image; NaN where hidden.

    And where (h, w) the image shows the point, which it does not when a car has left, or another has come.
    Points that come to lie up to `BEYOND` pixels outside the image count as shown: were they left out, all the
    cells along a border that have a displacement would move inwards, and so would be learned.
    """
    camera = frame.camera
    uv, depth = project(frame.points, inverse(frame.T_map_camera), camera)
    nearest, _ = z_buffer(uv, depth, camera, 0.2, 80.0)
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
    if rng.random() < 0.5:
        frame = mirrored(frame)
    frame = vary_map(reframed(frame, width, height, rng), rng)
    start = draw_start(frame.T_map_camera, rng)
    splat = rng.uniform(0.12, 0.3)
    view = render_map(frame.points, frame.intensity, start, frame.camera, splat)
    owners = [cell_points(view, cell) for cell in (8, 4)]
    (flow8, shown8), (flow4, shown4) = (true_flow(frame, view, owner) for owner in owners)
    rays8, rays4 = (_rays(frame.camera, view, owner) for owner in owners)
    image = vary_image(frame.image, rng).transpose(2, 0, 1)
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
