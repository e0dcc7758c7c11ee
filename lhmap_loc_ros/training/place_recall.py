# SPDX-License-Identifier: Apache-2.0
"""How often the right place is among the first views found."""

from __future__ import annotations

import numpy as np

HEADING_DEG = 30.0
"""A view found counts with its heading if that is no further off."""
FIRST, WITHIN_M = (1, 5), (5.0, 20.0)
_BLOCK = 256


def recalls(similarity: np.ndarray, image_poses: np.ndarray, view_poses: np.ndarray) -> dict[str, float]:
    """Shares of images by the views most similar to them (N, M).

    Poses (N, 4 or 5) and (M, 4 or 5): x, y, z [m], heading [rad] and, of several worlds, whose. `recall_at_1_5m`: the
    first view lies within 5 m of the image; `..._heading`: and is turned from it by at most 30 degrees.
    """
    order = np.argsort(-similarity, axis=1)[:, : max(FIRST)]
    offset = view_poses[order] - image_poses[:, None]
    distance = np.hypot(offset[..., 0], offset[..., 1])
    if image_poses.shape[1] > 4:
        distance = np.where(offset[..., 4] == 0, distance, np.inf)
    turn = np.degrees(np.abs(np.arctan2(np.sin(offset[..., 3]), np.cos(offset[..., 3]))))
    out = {}
    for metres in WITHIN_M:
        for first in FIRST:
            near = distance[:, :first] < metres
            out[f"recall_at_{first}_{metres:g}m"] = float(near.any(1).mean())
            both = near & (turn[:, :first] < HEADING_DEG)
            out[f"recall_at_{first}_{metres:g}m_heading"] = float(both.any(1).mean())
    return out


def chance(image_poses: np.ndarray, view_poses: np.ndarray, draws: int = 20) -> dict[str, float]:
    """What views drawn at random would give."""
    rng = np.random.default_rng(0)
    shape = len(image_poses), len(view_poses)
    found = [recalls(rng.random(shape, np.float32), image_poses, view_poses) for _ in range(draws)]
    return {name: float(np.mean([figures[name] for figures in found])) for name in found[0]}


def column_means(features: np.ndarray, seen: np.ndarray, columns: int) -> np.ndarray:
    """The baseline without learning: descriptors (N, C * columns) of unit length from features (N, C, h, w).

    Means of the features that are seen (N, 1, h, w), of so many parts of the width.
    """
    n, c, h, w = features.shape
    parts = []
    for k in range(0, n, _BLOCK):
        weighted = features[k : k + _BLOCK].astype(np.float32) * seen[k : k + _BLOCK].astype(np.float32)
        parts.append(
            weighted.reshape(len(weighted), c, h, columns, w // columns).sum((2, 4)).reshape(len(weighted), -1)
        )
    out = np.concatenate(parts) if parts else np.zeros((0, c * columns), np.float32)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
