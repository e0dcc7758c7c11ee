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
MAX_STRETCH, MAX_ENLARGED = 0.17, 1.7
"""Logarithm of width over height that pixels may have, and by how much small images are enlarged."""
MIN_FIELD_DEG = 30.0
"""Narrower cameras are not trained for."""
WITHOUT_INTENSITY = 0.33
"""Share of the samples whose map has none."""


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
    """The frame on a grid of `width` x `height` pixels: a part of the image as another camera, turned, would see it.

    Without `vary` the whole image, as the localizer takes it.
    """
    camera = frame.camera
    target, turn = _another_camera(camera, width, height, rng) if vary else (camera.resized(width, height), np.eye(3))
    # pixel in the new image = K' R^T K^-1 pixel in the old one
    warp = target.matrix @ turn.T @ np.linalg.inv(camera.matrix)
    source, smaller = frame.image, camera.fx / target.fx
    if smaller > 1.33:
        source = cv2.GaussianBlur(source, (0, 0), 0.35 * smaller)
    image = cv2.warpPerspective(np.ascontiguousarray(source), warp, (width, height), flags=cv2.INTER_LINEAR)
    pose = frame.T_map_camera.copy()
    pose[:3, :3] = pose[:3, :3] @ turn
    depth = frame.depth
    if depth is not None:
        depth = cv2.warpPerspective(
            np.ascontiguousarray(depth), warp, (width, height), flags=cv2.INTER_NEAREST, borderValue=np.nan
        )
        # depth is along the optical axis, which turned
        x, y = (np.arange(width) - target.cx) / target.fx, (np.arange(height) - target.cy) / target.fy
        depth = depth / (turn[2, 0] * x + turn[2, 1] * y[:, None] + turn[2, 2]).astype(np.float32)
    return replace(frame, image=image, camera=target, T_map_camera=pose, depth=depth)


def _another_camera(camera: Camera, width: int, height: int, rng) -> tuple[Camera, np.ndarray]:
    """A camera of `width` x `height` pixels that sees a part of what `camera` sees, and how it is turned (3, 3).

    The part has about the grid's shape, is as large as the image allows or down to half of that, lies anywhere, and
    is at least 30 degrees wide. Robots pitch and roll more than cars.
    """
    aspect = width / height * np.exp(rng.uniform(-MAX_STRETCH, MAX_STRETCH))
    across = min(camera.width, camera.height * aspect)
    least = max(width / MAX_ENLARGED, 2 * camera.fx * np.tan(np.radians(MIN_FIELD_DEG / 2)))
    size = rng.uniform(0.85, 1.0) if rng.random() < 0.6 else rng.uniform(0.5, 1.0)
    across = min(across, max(across * size, least))
    down = across / aspect
    left, top = (rng.random() * max(0.0, spare) for spare in (camera.width - across, camera.height - down))
    sx, sy = width / across, height / down
    target = Camera(
        width, height, camera.fx * sx, camera.fy * sy,
        (camera.cx + 0.5 - left) * sx - 0.5, (camera.cy + 0.5 - top) * sy - 0.5,
    )  # fmt: skip
    pitch, roll = 0.0, 0.0
    if rng.random() < 0.5:
        roll = rng.uniform(-5, 5) if rng.random() < 0.8 else rng.uniform(-12, 12)
    if rng.random() < 0.3:
        pitch = rng.uniform(-5, 5)
    return target, Rotation.from_euler("zx", (roll, pitch), degrees=True).as_matrix()


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
    """Thinner, noisier, cut off above, partly missing, with another sensor's intensities. There may be no points."""
    points = frame.points
    keep = thinned(points, rng)
    if rng.random() < 0.15:
        keep &= fewer_beams(points, frame.T_map_camera[:3, 3], rng)
    # a camera may look away from all that was mapped
    if rng.random() < 0.1 and len(points):
        # a missing tile
        corner = points[rng.integers(len(points)), :2]
        keep &= (np.abs(points[:, :2] - corner) > rng.uniform(2, 8)).any(1)
    if rng.random() < 0.3:
        # a LiDAR's field of view ends somewhere, and that is no edge of anything
        keep &= points[:, 2] < frame.T_map_camera[2, 3] + rng.uniform(0.3, 6.0)
    if keep.sum() < 200:
        keep[:] = True
    points = points[keep] + rng.normal(0, 0.01, (int(keep.sum()), 3)).astype(np.float32)
    return replace(frame, points=points, intensity=vary_intensity(frame.intensity[keep], rng))


def vary_intensity(intensity: np.ndarray, rng) -> np.ndarray:
    """Those of another sensor in another place, or none: (N,) float32 in [0, 1], zeros for a map that has none."""
    if rng.random() < WITHOUT_INTENSITY:
        return np.zeros_like(intensity)
    intensity = np.clip(intensity, 0, 1) ** np.exp(rng.normal(0, 0.3)) * np.exp(rng.normal(0, 0.15))
    if rng.random() < 0.5:
        intensity += rng.normal(0, rng.uniform(0, 0.15), len(intensity))
    return np.clip(intensity, 0, 1).astype(np.float32)


def fewer_beams(points: np.ndarray, eye: np.ndarray, rng) -> np.ndarray:
    """Which of the points (N, 3) a LiDAR near `eye` (3) of few beams would have met (N,) bool."""
    offset = points - (eye + rng.normal(0, 0.3, 3)).astype(np.float32)
    elevation = np.degrees(np.arctan2(offset[:, 2], np.hypot(offset[:, 0], offset[:, 1])))
    beam = np.floor(elevation / 0.42 + rng.random()).astype(int)
    return beam % rng.integers(2, 5) == 0
