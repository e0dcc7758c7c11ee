# SPDX-License-Identifier: Apache-2.0
"""Makes the place database of a map, from the map alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..lhmap import LHMap, MapPoints
from ..lhmap.writer import write_with_section
from ..progress import Report
from .codes import Quantizer
from .database import PlaceDatabase
from .describer import Describer
from .virtual_poses import along_path, beside, camera_poses, ground_height

SPACING_M = 3.0
"""Distance between places along the path: from half of it the refiner finds the pose."""
HEADINGS = 8
EYE_M = 1.6
"""Height of the virtual camera over the ground, as that of the views that heat comes from."""
ASIDE_M = 3.0, -3.0
"""A place is also looked at from so far to the left of the path, where a robot can be there, and its descriptors are
the means: what they have in common shows from all lanes."""
VIEW_M = 60.0
"""So far around a place the map is drawn."""
Keep = Callable[[str, Callable[[], np.ndarray]], np.ndarray]
"""Called with a name of all that goes in, and what computes the descriptors; may remember them."""


def describe_map(
    lhmap: LHMap, describer: Describer, report: Report | None = None, keep: Keep = lambda name, compute: compute()
) -> PlaceDatabase:
    """Descriptors of the views from along the mapped path of a map.

    Raises InputError for a map that does not tell where it was mapped from, MapFormatError for a damaged one.
    """
    if not len(lhmap.metadata.path):
        raise InputError(
            f"{lhmap.path}: no path of the mapping drive found, expected one, along which places lie: build it from a "
            "bag, or `lhmap import cloud CLOUD OUT --path POSES.tum` with the way where robots will drive"
        )
    places = along_path(lhmap.metadata.path, SPACING_M)
    quantizer: Quantizer | None = None
    codes, eyes = [], np.empty(len(places))
    for number, (x, y, z, yaw) in enumerate(places.tolist()):
        if report is not None:
            report("places", number, len(places))
        position = np.array([x, y, z])
        crop = lhmap.crop(position, VIEW_M)
        eyes[number] = ground_height(crop.points, position - crop.origin) + crop.origin[2] + EYE_M - z
        turns = yaw + np.arange(HEADINGS) * (2 * np.pi / HEADINGS)
        around = beside(crop.points, np.r_[position - crop.origin, yaw], ASIDE_M) + crop.origin
        poses = np.array([camera_poses(eye + (0, 0, eyes[number]), turns) for eye in (position, *around)])
        name = _name(describer.sha256, crop, poses)
        found = keep(name, partial(_mean_views, describer, crop, poses))
        quantizer = quantizer or Quantizer.of(found.shape[1])
        codes.append(quantizer.encode(found))
    if report is not None:
        report("places", len(places), len(places))
    assert quantizer is not None  # a path has a place at least
    return PlaceDatabase(
        describer.sha256, quantizer, SPACING_M, places[:, :3], eyes, places[:, 3], np.array(codes)
    )  # fmt: skip


def _mean_views(describer: Describer, crop: MapPoints, poses: np.ndarray) -> np.ndarray:
    """Descriptors (H, D) of unit length of places looked at from poses (P, H, 4, 4): the means of those from each."""
    mean = np.mean([describer.views(crop, of_one) for of_one in poses], axis=0)
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)


def add_places(
    path: Path | str, describer: Describer, report: Report | None = None, keep: Keep = lambda name, compute: compute()
) -> PlaceDatabase:
    """Adds a place database to the map file `path`, or replaces its own; the file changes whole or not at all."""
    with LHMap.open(path) as lhmap:
        database = describe_map(lhmap, describer, report, keep)
        write_with_section(lhmap, Path(path), database.to_section(lhmap))
    return database


def _name(sha256: str, crop: MapPoints, poses: np.ndarray) -> str:
    """Of all that descriptors depend on."""
    out = hashlib.sha256(sha256.encode())
    for part in (crop.points, crop.intensity, crop.origin, poses):
        out.update(np.ascontiguousarray(part).data)
    return out.hexdigest()[:32]
