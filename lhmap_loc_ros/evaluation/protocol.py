# SPDX-License-Identifier: Apache-2.0
"""The evaluation protocol: one image, a start pose that is wrong by a known list of errors, every frame counted.

A method is handed an image, its camera, the map around the start pose and the start pose: the true pose goes into
the start pose and into the error of what comes back, and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import InputError
from ..geometry import Camera, Images, Rig, inverse, perturb, se3_log
from ..lhmap import MapPoints
from . import metrics

LEVELS = {1: (2.0, 10.0), 2: (1.0, 2.0), 3: (0.6, 2.0)}
"""Largest start error of each level on each axis: metres, degrees."""
GREY = 128
"""The control: an image of this value everywhere tells nothing."""
LEAK = 0.9
"""Where the median forward error with a grey image falls below this share of the start's, the input tells the pose."""
WRONG_M, SURE_SIGMAS = 1.0, 6.0
"""Sure and wrong is a pose further off than this whose error is so many of its standard deviations on an axis."""


@dataclass(frozen=True)
class Estimate:
    """What a method says about one image."""

    poses: tuple[np.ndarray, ...]
    """T_map_camera (4, 4) after each iteration; empty if the method gives up."""
    covariance: np.ndarray | None = None
    """(6, 6) of the last pose, tangent vector in the camera's frame [m, rad]; None if the method has none."""


class Method(Protocol):
    """A way to localize one image."""

    iterations: int
    """How many it makes at most."""

    def localize(self, image: Images, camera: Camera | Rig, crop: MapPoints, start: np.ndarray) -> Estimate:
        """The pose of the camera that saw `image` (H, W, 3) uint8 RGB, from a start pose T_map_camera (4, 4)."""


@dataclass(frozen=True)
class Query:
    """An image with its truth."""

    number: int
    """Of the frame: chooses its start error."""
    image: Images
    """(H, W, 3) uint8 RGB, undistorted; of a rig one of each camera."""
    camera: Camera | Rig
    T_map_camera: np.ndarray
    """(4, 4), true pose."""
    crop: Callable[[np.ndarray], MapPoints]
    """The map around a pose of the camera."""


def narrowed(query: Query, field_deg: float) -> Query:
    """A query cut to the middle of its image: so many degrees across, 16:10 at the most. Raises InputError of a rig."""
    camera, whole = query.camera, query.image
    if isinstance(camera, Rig) or not isinstance(whole, np.ndarray):
        raise InputError("images of several cameras found, expected one camera: only its field of view can be cut")
    width = min(camera.width, 2 * round(camera.fx * np.tan(np.radians(field_deg / 2))))
    height = min(camera.height, round(width / 1.6))
    left, top = (camera.width - width) // 2, (camera.height - height) // 2
    image = np.ascontiguousarray(whole[top : top + height, left : left + width])
    return replace(query, image=image, camera=camera.cropped(left, top, width, height))


def without_intensity(query: Query) -> Query:
    """A query in the same map as if it had no intensities."""

    def crop(pose: np.ndarray) -> MapPoints:
        points = query.crop(pose)
        return replace(points, intensity=np.zeros_like(points.intensity))

    return replace(query, crop=crop)


@dataclass(frozen=True)
class Outcome:
    """All frames of one run of the protocol."""

    errors: np.ndarray
    """(N, iterations + 1, 6): of the start and after every iteration, axes of the true camera: right, down, forward
    [m], rotation vector [rad]."""
    sigmas: np.ndarray
    """(N, 6): error of the last pose in the camera's tangent vector over its standard deviation; NaN where none."""
    latency_ms: np.ndarray
    """(N,)"""
    gave_up: int
    """Frames the method had no answer for: their error is that of the start."""


@cache
def start_errors() -> np.ndarray:
    """The list (512, 6) of start errors in shares of a level's largest, the same for every method, level and run."""
    out = np.loadtxt(Path(__file__).with_name("start_errors.csv"), delimiter=",", skiprows=1)
    out.setflags(write=False)
    return out


def start_pose(truth: np.ndarray, level: int, number: int) -> np.ndarray:
    """The start pose of frame `number`: the true pose (4, 4) moved and turned along its own axes.

    Raises InputError for a level that does not exist.
    """
    if level not in LEVELS:
        raise InputError(f"level {level} does not exist, expected one of {sorted(LEVELS)}")
    error = start_errors()[number % len(start_errors())]
    metres, degrees = LEVELS[level]
    return perturb(truth, metres * error[:3], degrees * error[3:])


def run(queries: Iterable[Query], method: Method, level: int, grey: bool = False, report=None) -> Outcome:
    """Localizes every query from its start pose; with `grey` without looking at the image."""
    errors, sigmas, latency, gave_up = [], [], [], 0
    for query in queries:
        start = start_pose(query.T_map_camera, level, query.number)
        image = _grey(query.image) if grey else query.image
        began = time.perf_counter()
        estimate = method.localize(image, query.camera, query.crop(start), start.copy())
        latency.append(1e3 * (time.perf_counter() - began))
        # a method that gives up stays where it is: no frame is left out
        poses = [start, *estimate.poses]
        poses += [poses[-1]] * (method.iterations + 1 - len(poses))
        gave_up += not estimate.poses
        errors.append([difference(pose, query.T_map_camera) for pose in poses])
        sigmas.append(_in_sigmas(poses[-1], query.T_map_camera, estimate.covariance))
        if report is not None:
            report(len(errors))
    if not errors:
        raise InputError("no image to evaluate")
    return Outcome(np.array(errors), np.array(sigmas), np.array(latency), gave_up)


def _grey(image: Images) -> Images:
    if isinstance(image, np.ndarray):
        return np.full_like(image, GREY)
    return tuple(np.full_like(each, GREY) for each in image)


def difference(pose: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Error (6) of a pose along and about the axes of the true one [m, rad]."""
    return metrics.differences(pose[None], truth[None])[0]


def _in_sigmas(pose: np.ndarray, truth: np.ndarray, covariance: np.ndarray | None) -> np.ndarray:
    if covariance is None:
        return np.full(6, np.nan)
    return se3_log(inverse(pose) @ truth) / np.sqrt(np.diag(covariance))


def figures(outcome: Outcome, grey: Outcome | None = None) -> dict:
    """The figures of the protocol; see docs/accuracy.md for their names."""
    start, last = outcome.errors[:, 0], outcome.errors[:, -1]
    per_iteration = [metrics.norms(outcome.errors[:, k]) for k in range(outcome.errors.shape[1])]
    (start_m, start_deg), (metres, degrees) = per_iteration[0], per_iteration[-1]
    out = {
        "frames": len(outcome.errors),
        "gave_up": outcome.gave_up,
        "start_translation_median_m": float(np.median(start_m)),
        "start_rotation_median_deg": float(np.median(start_deg)),
        "translation_median_m": float(np.median(metres)),
        "translation_mean_m": float(metres.mean()),
        "translation_p90_m": float(np.percentile(metres, 90)),
        "rotation_median_deg": float(np.median(degrees)),
        "rotation_mean_deg": float(degrees.mean()),
        "rotation_p90_deg": float(np.percentile(degrees, 90)),
        **metrics.recall(last),
        "start_forward_median_m": float(np.median(np.abs(start[:, 2]))),
        "forward_median_m": float(np.median(np.abs(last[:, 2]))),
        "axis_medians": _axis_medians(np.abs(last)),
        "signed_axis_medians": _axis_medians(last),
        "passes": [
            {"translation_median_m": float(np.median(m)), "rotation_median_deg": float(np.median(d))}
            for m, d in per_iteration
        ],
        "latency_ms_p50": float(np.percentile(outcome.latency_ms, 50)),
        "latency_ms_p99": float(np.percentile(outcome.latency_ms, 99)),
        "within_sigmas": within_sigmas(outcome.sigmas),
        "wrong_and_sure": float(np.mean((metres > WRONG_M) & (np.abs(outcome.sigmas) > SURE_SIGMAS).any(axis=1))),
    }
    if grey is not None:
        out |= _control(out, grey)
    return out


def _axis_medians(errors: np.ndarray) -> dict[str, float]:
    """Median of errors (N, 6) per axis of the camera."""
    names = ("right_m", "down_m", "forward_m", "about_right_deg", "about_down_deg", "about_forward_deg")
    scaled = errors * np.r_[1, 1, 1, np.degrees([1, 1, 1])]
    return dict(zip(names, np.median(scaled, axis=0).tolist(), strict=True))


def within_sigmas(sigmas: np.ndarray) -> dict[str, list[float]] | None:
    """Share of the errors (N, 6) within 1, 2 and 3 standard deviations, per axis; None without a covariance."""
    known = sigmas[np.isfinite(sigmas).all(axis=1)]
    if not len(known):
        return None
    return {str(k): np.mean(np.abs(known) <= k, axis=0).tolist() for k in (1, 2, 3)}


def _control(out: dict, grey: Outcome) -> dict:
    start, last = grey.errors[:, 0], grey.errors[:, -1]
    forward = float(np.median(np.abs(last[:, 2])))
    return {
        "grey_translation_median_m": float(np.median(metrics.norms(last)[0])),
        "grey_rotation_median_deg": float(np.median(metrics.norms(last)[1])),
        "grey_forward_median_m": forward,
        "grey_axis_medians": _axis_medians(np.abs(last)),
        "grey_leaks": forward < LEAK * out["start_forward_median_m"],
        # moving every image alike changes medians, and is no knowledge of any
        "grey_forward_spread": float(np.std(last[:, 2]) / np.std(start[:, 2])) if len(last) > 2 else None,
    }
