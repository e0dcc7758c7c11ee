# SPDX-License-Identifier: Apache-2.0
"""What a mapping drive shows of the grid cells of its map, as the decoder of codes takes it."""

from __future__ import annotations

import numpy as np

from ..networks.codes import CodesNet
from ..places.database import wrapped
from ..scenes.codes import ASKED, NONE
from ..scenes.encoder import cell_rays
from ..scenes.inputs import CellInputs, whole_image, with_surroundings
from ..scenes.section import LearnedImages
from .codes_material import FAR_M, CodesFeatures
from .codes_worlds import Worlds
from .scene_material import SceneMaterial

IMAGE_M, TURN_RAD = 2.5, np.radians(15.0)
"""Images that tell which grid cells are asked are kept this far apart, or turned by so much."""
KNOWN, UNKNOWN = 600, 150
"""So many cells of an image are kept whose places are known, and whose are not."""
SEEN = 0.02
"""A grid cell is asked where it has this share of the known cells of a stretch's images."""


def scene_features(material: SceneMaterial, poses: np.ndarray) -> CodesFeatures:
    """Cells of the material's images, with poses (N, 4, 4) relative to the map's origin; what moved has no place."""
    rng, rays, columns, view = np.random.default_rng(0), cell_rays(material.view).astype(np.float32), [], material.view
    depth = np.where(material.hidden | ~(material.depth < FAR_M), np.nan, material.depth).astype(np.float32)
    for k, one in enumerate(material.features):
        unknown = np.isnan(depth[k])
        known, unknown = (rng.permutation(np.flatnonzero(mask)) for mask in (~unknown, unknown))
        chosen = np.concatenate([known[:KNOWN], unknown[:UNKNOWN]])
        cells = with_surroundings(one.astype(np.float32), material.coarse, view)[chosen].astype(np.float16)
        columns.append((cells, np.full(len(chosen), k, np.int32), rays[chosen], depth[k, chosen]))
    whole = [whole_image(one.astype(np.float32), material.coarse, view) for one in material.features]
    focal = np.full(len(poses), np.sqrt(view.fx * view.fy), np.float32)
    return CodesFeatures(
        *(np.concatenate(column) for column in zip(*columns, strict=True)), np.array(whole), poses, focal,
        np.zeros(len(poses), bool),
    )  # fmt: skip


def inputs_of(net: CodesNet, coarse: int) -> CellInputs:
    """What the decoder takes of an image, as the other methods have it."""
    return CellInputs(coarse, *(getattr(net, name).numpy() for name in ("mean", "scale", "whole_mean", "basis")))


def asked_cells(worlds: Worlds, features: CodesFeatures, head: np.ndarray) -> np.ndarray:
    """(S, ASKED) uint16, see `MapCodes`, of images of stretches `head` (I,)."""
    seen = np.zeros((int(head.max()) + 1, len(worlds.cells)))
    for number, cell in enumerate(worlds.cells):
        seen[:, number] = np.bincount(head[features.image[cell.teach]], minlength=len(seen))
    out = np.full((len(seen), ASKED), NONE, np.uint16)
    for row, counts in zip(out, seen, strict=True):
        order = np.argsort(-counts, kind="stable")[:ASKED]
        order = order[counts[order] > SEEN * max(counts.sum(), 1)]
        row[: len(order)] = order
    return out


def thinned(images: LearnedImages) -> LearnedImages:
    """Without those that are near the one before."""
    kept = [0]
    for k in range(1, len(images.yaws)):
        metres = np.linalg.norm(images.positions[k] - images.positions[kept[-1]])
        turned = abs(wrapped(images.yaws[k] - images.yaws[kept[-1]]))
        # every stretch of the path has one
        if metres > IMAGE_M or turned > TURN_RAD or images.head[k] != images.head[kept[-1]]:
            kept.append(k)
    return LearnedImages(*(values[kept] for values in vars(images).values()))
