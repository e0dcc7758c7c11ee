# SPDX-License-Identifier: Apache-2.0
"""Learned heads run with NumPy, so that a robot needs no PyTorch; and what their outputs mean.

A head has five layers: h = relu(0); h += relu(2(relu(1(h)))); h = relu(3(h)); outputs = 4(h).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..geometry import Camera, make_pose
from .encoder import cell_centres, cell_rays
from .inputs import CODE
from .pnp import ALIKE, MIN_POINTS, SolvedPose, solve_pose
from .section import Learned

BEST = 0.6
"""So many of the cells count: those that are surest of their coordinates."""
MAX_LOG_SIGMA = 3.0
"""And none that errs by more pixels than the exponential of this, as it says itself."""
REGRESSED_SIGMA = 2.0, np.radians(5.0)
"""Of a regressed pose, which tells nothing of how sure it is [m, rad]."""


@dataclass(frozen=True)
class Look:
    """An image of M cells, as what was learned sees it."""

    code: np.ndarray
    """(CODE,): images of a place have codes near each other."""
    cells: np.ndarray
    """What is asked of its cells: inputs (M, D) of heads."""
    decoded: dict[int, np.ndarray] = field(default_factory=dict)
    """What codes of the map said of it so far, by number of the grid cell: see `codes.CodesDecoder`."""


class Heads:
    """Those of a `Learned`, in single precision; each is unpacked when it is first used."""

    def __init__(self, learned: Learned):
        self.learned = learned
        self._unpacked: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}

    def run(self, number: int, inputs: np.ndarray) -> np.ndarray:
        """Outputs (M, O) float32 of a head for inputs (M, D)."""
        if number not in self._unpacked:
            self._unpacked[number] = [
                (weights[number].astype(np.float32), biases[number].astype(np.float32))
                for weights, biases in self.learned.layers
            ]
        return run_head(self._unpacked[number], inputs)

    def look(self, features: np.ndarray) -> Look:
        """An image whose cells have features (M, F)."""
        cells = self.learned.inputs.cells(features, self.learned.view)
        return Look(cells[0, -CODE:], cells)

    def pose(self, number: int, look: Look, seen: np.ndarray, start: np.ndarray | None = None) -> SolvedPose | None:
        """The pose of the view's camera, relative to the map's origin, by one head; None where it says none.

        Of the view's cells those `seen` (M,) bool count. Heads need no pose to `start` at.
        """
        learned = self.learned
        if learned.method == "regression":
            out = self.run(number, look.code[None])[0]
            return regressed_pose(out, learned.centres[number], learned.scales[number])
        out = self.run(number, look.cells[seen])
        places = out[:, :3] * learned.scales[number] + learned.centres[number].astype(np.float64)
        if learned.method == "constraints":
            return aligned_pose(places, seen_points(out[:, 3], cell_rays(learned.view)[seen]), weights_of(out[:, 4]))
        return coordinates_pose(places, out[:, 3], cell_centres(learned.view)[seen], learned.view)


def run_head(layers: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray) -> np.ndarray:
    """Outputs (M, O) of five layers of weights (in, out) and biases (out,) for inputs (M, D)."""
    (w0, b0), (w1, b1), (w2, b2), (w3, b3), (w4, b4) = layers
    x = np.maximum(x @ w0 + b0, 0)
    x = x + np.maximum(np.maximum(x @ w1 + b1, 0) @ w2 + b2, 0)
    return np.maximum(x @ w3 + b3, 0) @ w4 + b4


def coordinates_pose(
    places: np.ndarray, log_sigma: np.ndarray, pixels: np.ndarray, view: Camera
) -> SolvedPose | None:  # fmt: skip
    """By PnP from places (M, 3) of pixels (M, 2), which are expected to err by exp(`log_sigma`) pixels."""
    if len(places) < MIN_POINTS:
        return None
    keep = log_sigma <= min(float(np.quantile(log_sigma, BEST)), MAX_LOG_SIGMA)
    return solve_pose(places[keep], pixels[keep], view)


def seen_points(log_depth: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Points (M, 3) in the camera's frame on rays (M, 3) of depth 1."""
    return rays * np.exp(np.clip(log_depth.astype(np.float64), -2.0, 5.0))[:, None]


def weights_of(outputs: np.ndarray) -> np.ndarray:
    """Weights (M,) between 0 and 1 of points."""
    return 1 / (1 + np.exp(-np.clip(outputs.astype(np.float64), -15.0, 15.0)))


def aligned_pose(places: np.ndarray, seen: np.ndarray, weights: np.ndarray) -> SolvedPose | None:
    """The rigid motion that brings points (M, 3) of the camera's frame to their places (M, 3), by least squares.

    Weights (M,) are not negative (Kabsch, 1976). None where nothing has a weight, or a head overflowed.
    """
    total = float(weights.sum())
    # a decomposition of what is not finite would raise
    if len(places) < MIN_POINTS or not total >= 1e-6 or not (np.isfinite(places).all() and np.isfinite(seen).all()):
        return None
    share = (weights / total)[:, None]
    there, here = (share * places).sum(0), (share * seen).sum(0)
    U, _, Vt = np.linalg.svd((share * (places - there)).T @ (seen - here))
    rotation = U @ np.diag([1.0, 1.0, np.linalg.det(U) * np.linalg.det(Vt)]) @ Vt
    pose = make_pose(rotation, there - rotation @ here)
    residuals = (places - pose[:3, 3]) @ rotation - seen
    # a step (t, r) of the camera moves a point p in its frame by -t + p x r
    rows = [np.concatenate([-np.tile(axis, (len(seen), 1)), np.cross(axis, seen)], axis=1) for axis in np.eye(3)]
    JtJ = sum((row * share).T @ row for row in rows)
    variance = float((share * residuals**2).sum()) / 3
    inside = np.linalg.norm(residuals, axis=1) < 3 * np.sqrt(3 * variance)
    effective = max(total**2 / float((weights**2).sum()) / ALIKE, 1.0)
    covariance = np.linalg.pinv(JtJ) * max(variance, 1e-4) / effective
    return SolvedPose(pose, covariance, int(inside.sum()), float(inside.mean()))


def regressed_pose(out: np.ndarray, centre: np.ndarray, scale: float) -> SolvedPose | None:
    """From a position (3,) and two axes (6,) of the camera: the first is kept, the second made square to it."""
    ahead, down = out[3:6].astype(np.float64), out[6:9].astype(np.float64)
    ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-9)
    down = down - ahead * (ahead @ down)
    length = np.linalg.norm(down)
    if length < 1e-6 or not np.isfinite(out).all():
        return None
    down = down / length
    rotation = np.stack([np.cross(down, ahead), down, ahead], axis=1)
    covariance = np.diag(np.repeat(np.square(REGRESSED_SIGMA), 3))
    return SolvedPose(make_pose(rotation, centre + out[:3].astype(np.float64) * scale), covariance, 0, 0.0)
