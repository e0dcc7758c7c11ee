# SPDX-License-Identifier: Apache-2.0
"""The rotation of a camera from the networks' matches of map and images, over a drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ...errors import InputError
from ...geometry import inverse, se3_log
from ...lhmap import LHMap
from ...localization.refine import RefineMode, Refiner
from ...localization.submap_cache import SubmapCache
from .drive import MIN_IMAGES, Drive
from .estimate import RotationEstimate, block_resamples, turn

MAX_ROUNDS, CONVERGED_DEG = 4, 0.02
MIN_INLIERS = 0.1
"""Images of which fewer matches agree have no part."""


@dataclass(frozen=True)
class MatchResult:
    """What the matches say."""

    rotation: RotationEstimate
    stamps_ns: np.ndarray
    """(N,) of the images that had a part."""
    errors: np.ndarray
    """(N, 6) of each image alone: from where the corrected calibration puts the camera to where the matches do, along
    and about the camera's axes [m, rad]."""


def by_matches(drive: Drive, lhmap: LHMap, refiner: Refiner, report=None) -> MatchResult:
    """The rotation that explains the matches of all images at once; `refiner` makes one iteration from a near start.

    Every round draws the map where the rotation found so far puts the camera, so that in the end matches are short and
    favour no direction. Positions are held to the poses: an image that may choose its own trades rotation for it, and
    scatters twice as much. Raises InputError where too few images match the map.
    """
    found = np.zeros(3)
    for done in range(MAX_ROUNDS):
        numbers, errors, covariances = _round(drive, lhmap, refiner, found, done, report)
        if len(numbers) < MIN_IMAGES:
            raise InputError(
                f"{len(numbers)} of {len(drive.images)} images match the map, expected at least {MIN_IMAGES}: is it "
                "the map of this drive, and the calibration right to some 3 degrees? lhmap check shows it"
            )
        turns = _with_position_held(errors, covariances)
        step = np.degrees(np.median(turns, axis=0))
        found = (Rotation.from_rotvec(found, degrees=True) * Rotation.from_rotvec(step, degrees=True)).as_rotvec(
            degrees=True
        )
        if np.abs(step).max() < CONVERGED_DEG:
            break
    drawn = [np.median(np.repeat(turns, counts, axis=0), axis=0) for counts in block_resamples(len(turns))]
    sigma = np.degrees(np.std(drawn, axis=0))
    stamps = np.array([drive.images[k].stamp_ns for k in numbers])
    return MatchResult(RotationEstimate(found, sigma, len(numbers)), stamps, errors)


def _round(drive: Drive, lhmap: LHMap, refiner: Refiner, found, done: int, report):
    """Numbers (N) of the images that matched, their errors (N, 6) and covariances (N, 6, 6), of an iteration each."""
    submaps, rows = SubmapCache(lhmap, reuse_m=5.0), []
    for number, image in enumerate(drive.images):
        start = drive.T_map_camera(image) @ turn(found)
        submap, _ = submaps.get(start[:3, 3])
        result = refiner.refine(image.image, drive.camera, submap, start, RefineMode.TRACK)
        if result.succeeded and result.inlier_ratio >= MIN_INLIERS:
            rows.append((number, se3_log(inverse(start) @ result.T_map_camera), result.covariance))
        if report is not None:
            report("matches", done * len(drive.images) + number + 1, MAX_ROUNDS * len(drive.images))
    numbers, errors, covariances = zip(*rows) if rows else ((), (), ())
    return list(numbers), np.array(errors).reshape(-1, 6), np.array(covariances).reshape(-1, 6, 6)


def _with_position_held(errors: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Rotation vectors (N, 3) [rad] that Gaussians (N, 6) of poses have where their translation is zero."""
    gain = np.linalg.solve(covariances[:, :3, :3], covariances[:, :3, 3:]).transpose(0, 2, 1)
    return errors[:, 3:] - np.einsum("nij,nj->ni", gain, errors[:, :3])
