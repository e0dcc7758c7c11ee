# SPDX-License-Identifier: Apache-2.0
"""Variation of training frames: other mountings, other light, other sensors, worse maps."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from ..geometry import Camera
from ..localization.features import HORIZON
from .shards import Frame

OCCLUDER_M = 0.3
"""Depth of what is put before the camera: nearer than anything of a map."""


def varied(frame: Frame, width: int, height: int, rng) -> tuple[Frame, np.ndarray, float]:
    """The frame varied on the network's grid, its image (3, H, W) float32 in [0, 1], and a factor on points' widths."""
    if rng.random() < 0.5:
        frame = mirrored(frame)
    frame = vary_map(reframed(frame, width, height, rng), rng)
    image = vary_image(frame.image, rng)
    if rng.random() < 0.3:
        image, covered = occluded(image, rng)
        if frame.depth is not None:
            frame = replace(frame, depth=np.where(covered, np.float32(OCCLUDER_M), frame.depth))
    return frame, image.transpose(2, 0, 1), rng.uniform(0.6, 1.5)


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
    """Light, exposure, colour, fog, blur and noise; (H, W, 3) uint8 to float32 in [0, 1]."""
    out = image.astype(np.float32) / 255
    h, w = out.shape[:2]
    if rng.random() < 0.35:
        out *= shadows(h, w, rng)[..., None]
    out = np.clip(out, 0, 1) ** np.exp(rng.normal(0, 0.25))
    out = (out - 0.45) * np.exp(rng.normal(0, 0.2)) + 0.45 + rng.normal(0, 0.06)
    if rng.random() < 0.2:
        # one side in the shade, or against the light
        across = np.cos(rng.uniform(0, 2 * np.pi) - np.arctan2(*np.mgrid[-1 : 1 : 1j * h, -1 : 1 : 1j * w]))
        out *= np.exp(rng.uniform(0, 0.7) * across)[..., None].astype(np.float32)
    if rng.random() < 0.1:
        out += (rng.uniform(0.5, 0.9) - out) * fog(h, w, rng)[:, None, None]
    out *= np.exp(rng.normal(0, 0.07, 3)).astype(np.float32)
    if rng.random() < 0.2:
        # another camera's colours
        out = out @ (np.eye(3) + rng.normal(0, 0.12, (3, 3))).astype(np.float32)
    if rng.random() < 0.25:
        grey = out.mean(2, keepdims=True)
        out = grey + (out - grey) * rng.uniform(0, 1)
    if rng.random() < 0.2:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.3))
    out += rng.normal(0, rng.uniform(0, 0.04), out.shape).astype(np.float32)
    return np.clip(out, 0, 1).astype(np.float32)


def occluded(image: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """The image (H, W, 3) behind up to four things close to the camera, and where they cover it (H, W) bool.

    They are of one colour, or look like another part of the image: what passes by is no map's, and looks like the rest.
    """
    out, (height, width) = image.copy(), image.shape[:2]
    covered = np.zeros((height, width), bool)
    for _ in range(rng.integers(1, 5)):
        h, w = int(height * rng.uniform(0.1, 0.6)), int(width * rng.uniform(0.04, 0.25))
        y, x, from_y, from_x = (rng.integers(0, room) for room in 2 * (height - h, width - w))
        patch = image[from_y : from_y + h, from_x : from_x + w][:, ::-1]
        out[y : y + h, x : x + w] = patch if rng.random() < 0.5 else rng.uniform(0, 1, 3)
        covered[y : y + h, x : x + w] = True
    return out, covered


def shadows(height: int, width: int, rng) -> np.ndarray:
    """A factor (H, W) float32: patches of shade from large to leaf-sized, wider than high as on the ground."""
    noise = np.zeros((height, width), np.float32)
    cells = rng.uniform(2, 8)
    for octave in range(3):
        rows, columns = (int(n * 2**octave) + 2 for n in (cells * 0.8, cells))
        coarse = rng.normal(0, 0.6**octave, (rows, columns)).astype(np.float32)
        noise += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    sharpness, level = 10 ** rng.uniform(0.3, 1.3), rng.normal(0, 0.5)
    return 1 - rng.uniform(0.2, 0.8) / (1 + np.exp(-np.clip(sharpness * (noise - level), -30, 30)))


def fog(height: int, width: int, rng) -> np.ndarray:
    """Share of the fog's own light in each row (H): most at the horizon and above, least on the ground near by."""
    below = np.maximum(np.arange(height) / height - HORIZON, 0)
    distance = np.minimum(0.6 * height / width / (below + 1e-3), 10.0)
    return (1 - np.exp(-rng.uniform(0.05, 0.5) * distance)).astype(np.float32)


def thinned(points: np.ndarray, rng) -> np.ndarray:
    """Which of the points (N, 3) a map of another budget would keep (N,) bool: often all, else 4 to 100 %.

    Half of the smaller maps are an even sample of the points; of the others one point is left in each block of
    space, so that near and far surfaces keep about as many.
    """
    if rng.random() < 0.6:
        return np.ones(len(points), bool)
    if rng.random() < 0.5:
        return rng.random(len(points)) < 10 ** rng.uniform(-1.4, 0)
    blocks = np.floor(points / 10 ** rng.uniform(-0.8, -0.2)).astype(np.int64) @ (73856093, 19349663, 83492791)
    order = rng.permutation(len(points))
    keep = np.zeros(len(points), bool)
    keep[order[np.unique(blocks[order], return_index=True)[1]]] = True
    return keep


def vary_map(frame: Frame, rng) -> Frame:
    """Thinner, noisier, cut off above, partly missing, with another sensor's intensities."""
    points = frame.points
    keep = thinned(points, rng)
    if rng.random() < 0.1:
        # a missing tile
        corner = points[rng.integers(len(points)), :2]
        keep &= (np.abs(points[:, :2] - corner) > rng.uniform(2, 8)).any(1)
    if rng.random() < 0.3:
        # a LiDAR's field of view ends somewhere, and that is no edge of anything
        keep &= points[:, 2] < frame.T_map_camera[2, 3] + rng.uniform(0.3, 6.0)
    if keep.sum() < 200:
        keep[:] = True
    points = points[keep] + rng.normal(0, 0.01, (int(keep.sum()), 3)).astype(np.float32)
    intensity = np.clip(frame.intensity[keep], 0, 1) ** np.exp(rng.normal(0, 0.3)) * np.exp(rng.normal(0, 0.25))
    if rng.random() < 0.5:
        intensity += rng.normal(0, rng.uniform(0, 0.12), len(points))
    if rng.random() < 0.03:
        intensity = np.zeros_like(intensity)
    return replace(frame, points=points, intensity=np.clip(intensity, 0, 1).astype(np.float32))
