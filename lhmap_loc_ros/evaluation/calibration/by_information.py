# SPDX-License-Identifier: Apache-2.0
"""The rotation of a camera by the mutual information of LiDAR intensity and image brightness, summed over a drive.

What is one surface to a laser is mostly one to a camera: of all rotations the true one lets the intensity of a point
tell most about its brightness. One image says too little, a drive says it to a tenth of a degree. No network has a
part in it. After Pandey et al., "Automatic extrinsic calibration of vision and lidar by maximizing mutual
information" (Journal of Field Robotics, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba
import numpy as np
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from scipy.stats import rankdata

from ...geometry import Camera, inverse, project, transform
from ...lhmap import LHMap, MapPoints
from ..overlay import visible
from .drive import MIN_IMAGES, Drive, DriveImage
from .estimate import RESAMPLES, RotationEstimate, block_resamples

BINS = 16
NEAR_M, FAR_M = 15.0, 50.0
"""Nearer points move by a position that is off by centimetres as they do by tenths of a degree."""
MIN_POINTS, MAX_POINTS = 300, 8000
"""An image that sees fewer points has no part; of more, so many are drawn."""
STAGES = ((6.0, 1.0), (3.0, 0.3), (1.2, 0.1))
"""Blur of the images [pixels where one is 0.08 degrees] and first step of the search [deg], coarse to fine."""
GRID_DEG = np.array([(x, y, z) for x in range(-2, 3) for y in range(-2, 3) for z in (-1.5, 0.0, 1.5)])
"""Rotation vectors of which the best begins: with one that is further off, the maximum next to it is another."""
PIXEL_DEG = 0.08
MAX_SIGMA_DEG, MAX_DEG = 1.0, 4.0
"""A maximum that is less sure, or further from the calibration of the bag than the search began, says nothing."""
PROBE_DEG = 0.25
"""The curvature of the maximum is measured over this."""


@dataclass(frozen=True)
class _Sight:
    """What one image sees of the map."""

    points: np.ndarray
    """(N, 3) float32, in the frame of the camera as the bag has it [m]."""
    level: np.ndarray
    """(N,) float32 in [0, BINS - 1], rank of the intensity."""
    brightness: np.ndarray
    """(H, W) float32 in [0, BINS - 1], rank of the brightness among that of the points."""


def by_information(drive: Drive, lhmap: LHMap, report=None) -> RotationEstimate | None:
    """The rotation of most mutual information; None where nothing can be told.

    That is where the map has no intensity, too few images see enough of it, or there is no sharp maximum near the
    calibration of the bag.
    """
    sights = []
    for number, image in enumerate(drive.images):
        sights += _sight(drive, image, lhmap, np.random.default_rng(number))
        if report is not None:
            report("points in view", number + 1, len(drive.images))
    if len(sights) < MIN_IMAGES:
        return None
    found = np.zeros(3)
    for number, (blur_px, step_deg) in enumerate(STAGES):
        information = _Information(sights, drive.camera, blur_px)
        if number == 0:
            found = min(GRID_DEG, key=information.cost)
        simplex = found + step_deg * np.vstack([np.zeros(3), np.eye(3)])
        options = {"initial_simplex": simplex, "xatol": 0.02 * step_deg + 0.003, "fatol": 1e-6, "maxiter": 80}
        found = minimize(information.cost, found, method="Nelder-Mead", options=options).x
        if report is not None:
            report("mutual information", number + 1, len(STAGES))
    if np.abs(found).max() > MAX_DEG:
        return None
    sigma = _sigma_deg(information, found)
    return RotationEstimate(found, sigma, len(sights)) if (sigma < MAX_SIGMA_DEG).all() else None


def _sight(drive: Drive, image: DriveImage, lhmap: LHMap, rng: np.random.Generator) -> list[_Sight]:
    """One, or none where the image sees too few points or all of one intensity."""
    local = drive.T_map_camera(image).copy()
    crop = lhmap.crop(local[:3, 3], FAR_M, full_density_m=np.inf)
    local[:3, 3] -= crop.origin
    uv, depth = project(crop.points, inverse(local), drive.camera)
    # turning the camera hides nothing and shows nothing, but at the image's border
    seen = np.flatnonzero(visible(uv, depth, drive.camera) & (depth > NEAR_M) & (depth < FAR_M))
    if len(seen) < MIN_POINTS or not _has_intensity(crop):
        return []
    if len(seen) > MAX_POINTS:
        seen = rng.choice(seen, MAX_POINTS, replace=False)
    grey = cv2.cvtColor(image.image, cv2.COLOR_RGB2GRAY)
    column, row = np.floor(uv[seen] + 0.5).astype(int).T
    at_points = np.sort(grey[row, column])
    values = np.arange(256)
    rank = (np.searchsorted(at_points, values, "left") + np.searchsorted(at_points, values, "right")) / 2
    brightness = (rank / len(seen) * (BINS - 1)).astype(np.float32)[grey]
    level = ((rankdata(crop.intensity[seen]) - 0.5) / len(seen) * (BINS - 1)).astype(np.float32)
    return [_Sight(transform(inverse(local), crop.points[seen]).astype(np.float32), level, brightness)]


def _has_intensity(points: MapPoints) -> bool:
    return float(np.ptp(points.intensity)) > 0.02


class _Information:
    """Called with a rotation vector (3,) [deg] gives the mutual information of each image (N,) [nats]."""

    def __init__(self, sights: list[_Sight], camera: Camera, blur_px: float):
        sigma = blur_px * np.radians(PIXEL_DEG) * camera.fx
        self._sights, self._camera = sights, camera
        self._images = [cv2.GaussianBlur(sight.brightness, (0, 0), sigma) for sight in sights]

    def __call__(self, degrees: np.ndarray) -> np.ndarray:
        turned, c = Rotation.from_rotvec(degrees, degrees=True).inv().as_matrix(), self._camera
        counts = np.zeros((len(self._sights), BINS, BINS))
        for sight, image, count in zip(self._sights, self._images, counts, strict=True):
            _count(sight.points, sight.level, image, turned, c.fx, c.fy, c.cx, c.cy, count)
        joint = counts / np.maximum(counts.sum(axis=(1, 2), keepdims=True), 1e-9)
        product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=2, keepdims=True)
        return (joint * np.log(np.maximum(joint, 1e-12) / np.maximum(product, 1e-12))).sum(axis=(1, 2))

    def cost(self, degrees: np.ndarray) -> float:
        """What is to be made small."""
        return -float(self(degrees).sum())


@numba.njit(cache=True, nogil=True)
def _count(points, level, image, R, fx, fy, cx, cy, count):
    """Adds the points that lie in the image to a joint histogram (BINS, BINS), each shared by the four bins around."""
    rows, columns = image.shape
    for i in range(points.shape[0]):
        x, y, z = points[i]
        depth = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z
        if depth <= 0:
            continue
        u = fx * (R[0, 0] * x + R[0, 1] * y + R[0, 2] * z) / depth + cx
        v = fy * (R[1, 0] * x + R[1, 1] * y + R[1, 2] * z) / depth + cy
        if not (0 <= u < columns - 1 and 0 <= v < rows - 1):
            continue
        c, r = int(u), int(v)
        right, down = u - c, v - r
        grey = (1 - down) * ((1 - right) * image[r, c] + right * image[r, c + 1])
        grey += down * ((1 - right) * image[r + 1, c] + right * image[r + 1, c + 1])
        a, b = min(int(level[i]), count.shape[0] - 2), min(int(grey), count.shape[1] - 2)
        p, q = level[i] - a, grey - b
        count[a, b] += (1 - p) * (1 - q)
        count[a, b + 1] += (1 - p) * q
        count[a + 1, b] += p * (1 - q)
        count[a + 1, b + 1] += p * q


def _sigma_deg(information: _Information, found: np.ndarray) -> np.ndarray:
    """Standard deviations (3,) [deg] of the maximum over resampled drives, from the parabola of each image there."""
    steps = PROBE_DEG * np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])
    first, second = np.triu_indices(3)
    design = np.column_stack([np.ones(len(steps)), steps, steps[:, first] * steps[:, second]])
    values = np.array([information(found + step) for step in steps])
    parabolas = np.linalg.lstsq(design, values, rcond=None)[0]
    drawn = parabolas @ block_resamples(values.shape[1]).T
    hessian = np.zeros((RESAMPLES, 3, 3))
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        hessian[:, a, b] += drawn[4 + k]
        hessian[:, b, a] += drawn[4 + k]
    peaked = np.linalg.eigvalsh(hessian)[:, -1] < 0
    if peaked.mean() < 0.9:
        return np.full(3, np.inf)
    moved = -np.linalg.solve(hessian[peaked], drawn[1:4].T[peaked][:, :, None])[:, :, 0]
    # a hundred drives or more: the middle 68 % do not care for the odd flat one
    low, high = np.percentile(moved, (16, 84), axis=0)
    return (high - low) / 2
