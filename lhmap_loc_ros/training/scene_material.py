# SPDX-License-Identifier: Apache-2.0
"""What relocalizers learn from: the images of a mapping bag as features of cells, and the cells' places in the map.

Where a cell lies comes from the map drawn at the image's true pose, so hidden points are left out; what a scan taken
with the image saw well before the map's surface moved, or was dropped from the map, and is left out, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.bag import BagReader
from ..datasets.frames import frame_numbers
from ..errors import InputError
from ..evaluation.check import known_poses
from ..evaluation.metrics import pose_at
from ..geometry import Camera, inverse, project, z_buffer
from ..lhmap import LHMap
from ..lhmap.atomic import replacing
from ..localization.inputs import BagInputs, images, read_setup
from ..mapping.scans import PlacedScan
from ..outputs import writing
from ..progress import Report, quiet
from ..scenes.depth import MIN_POINTS, map_depth, of_cells
from ..scenes.encoder import CELL, SceneEncoder, brought_to, view_camera
from .bag_scans import OWN_SCAN_NS, is_near, placed_scans

VERSION = 1
HIDDEN = 0.85
"""A scan that saw something nearer than this share of the map's depth saw what the map has not."""


@dataclass(frozen=True)
class SceneMaterial:
    """N images of a mapping drive, of one camera with M cells."""

    view: Camera
    """Of the cells, see `scenes.encoder`."""
    encoder: str
    """SHA-256 of the network that the features are of."""
    coarse: int
    """So many of the features are at 1/8, see `scenes.inputs`."""
    T_map_camera: np.ndarray
    """(N, 4, 4) float64, true poses."""
    T_base_camera: np.ndarray
    """(4, 4)."""
    features: np.ndarray
    """(N, M, F) float16."""
    depth: np.ndarray
    """(N, M) float32, of the map at the cells' centres [m]; NaN where unknown."""
    hidden: np.ndarray
    """(N, M) bool, cells that show what the map has not."""


def gather(
    bag, lhmap: LHMap, folder, truth=None, frames: str = "all", spacing_m: float = 1.0,
    inputs: BagInputs | None = None, points_topic: str = "/points", report: Report | None = None, threads: int = 0,
) -> SceneMaterial:  # fmt: skip
    """The material of a bag in a map; features are kept in `folder`, and taken from there the next time.

    `truth` is a TUM file of base_link in the map, else ``<bag>.tum``, else the TF in the bag. Of the images `frames`
    one is taken every `spacing_m` metres or 5 degrees. Raises InputError and BagError for what cannot be used, and for
    a folder that holds the features of something else.
    """
    inputs, report = inputs or BagInputs(), report or quiet
    with BagReader(bag) as reader:
        setup = read_setup(reader, inputs)
        poses = known_poses(reader, truth, lhmap.metadata.frame, inputs.base_frame, inputs.tf_static)
        encoder = SceneEncoder(view_camera(setup.camera), threads=threads)
        folder = _prepared(folder, reader, encoder, inputs)
        # 1. image by image: features and the map's depth
        wanted, chosen = set(frame_numbers(frames, reader.count(inputs.image))), []
        for number, (stamp_ns, image) in enumerate(images(reader, inputs, setup)):
            report("features", min(number + 1, len(wanted)), len(wanted))
            pose = pose_at(poses, stamp_ns)
            if number not in wanted or pose is None:
                continue
            pose = pose @ setup.T_base_camera
            if chosen and is_near(pose, chosen[-1][1], spacing_m):
                continue
            depth = map_depth(lhmap, pose, encoder.view)
            if depth is None:
                continue
            channels = brought_to(image, setup.camera, encoder.view)[0]
            kept = _kept(folder, number, lambda c=channels: encoder.features(c))
            chosen.append((stamp_ns, pose, kept, of_cells(depth)))
        if not chosen:
            raise InputError(
                f"{reader.path}: no image of {inputs.image} among the frames {frames!r} has a pose with {MIN_POINTS} "
                f"points of {lhmap.path} around it"
            )
        stamps, where, features, depths = (np.array(part) for part in zip(*chosen, strict=True))
        # 2. what the scans saw before the map
        hidden = np.zeros(depths.shape, bool)
        if "PointCloud2" in reader.topics.get(points_topic, ""):
            scans = placed_scans(reader, inputs, poses, points_topic)
            for number, (k, scan) in enumerate(_own_scans(scans, stamps)):
                hidden[k] = _hidden(scan, lhmap, where[k], encoder.view)
                report("scans", number + 1, len(stamps))
            report("scans", len(stamps), len(stamps))
    return SceneMaterial(
        encoder.view, encoder.sha256, encoder.coarse, where, setup.T_base_camera, features, depths, hidden
    )


def _hidden(scan: PlacedScan, lhmap: LHMap, T_map_camera: np.ndarray, view: Camera) -> np.ndarray:
    """Cells (h * w,) bool in which a scan saw something well before the map."""
    local = T_map_camera.copy()
    local[:3, 3] = 0
    nearest, _ = z_buffer(*project(scan.points - T_map_camera[:3, 3], inverse(local), view, 0.5), view)
    before = nearest < HIDDEN * map_depth(lhmap, T_map_camera, view)
    return before.reshape(view.height // CELL, CELL, view.width // CELL, CELL).any((1, 3)).ravel()


def _own_scans(scans: Iterable[PlacedScan], stamps: np.ndarray) -> Iterator[tuple[int, PlacedScan]]:
    """Numbers of images, and the scan nearest to each in time, where one was taken with it; scans in order."""
    nearest: tuple[int, int, PlacedScan] | None = None
    for scan in scans:
        k = int(np.argmin(np.abs(stamps - scan.stamp_ns)))
        apart_ns = abs(int(stamps[k]) - scan.stamp_ns)
        if apart_ns > OWN_SCAN_NS:
            continue
        if nearest is not None and nearest[0] != k:
            yield nearest[0], nearest[2]
            nearest = None
        if nearest is None or apart_ns < nearest[1]:
            nearest = k, apart_ns, scan
    if nearest is not None:
        yield nearest[0], nearest[2]


def _prepared(folder, reader: BagReader, encoder: SceneEncoder, inputs: BagInputs) -> Path:
    """The folder for features, made if need be; raises InputError for one that holds those of something else."""
    folder = Path(folder)
    of = {"version": VERSION, "bag": reader.path.name, "image": inputs.image, "images": reader.count(inputs.image),
          "encoder": encoder.sha256, "view": [encoder.view.width, encoder.view.height]}  # fmt: skip
    told = folder / "features.json"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not told.exists():
        with replacing(told) as file:
            file.write(json.dumps(of).encode())
    try:
        found = json.loads(told.read_text())
    except (OSError, ValueError):
        found = None
    if found != of:
        raise InputError(f"{folder}: holds features of {found}, expected those of {of}: give another folder")
    return folder


def _kept(folder: Path, number: int, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Features (h * w, F) float16 of an image: those kept, or computed and kept."""
    path = folder / f"{number:06d}.npy"
    try:
        return np.load(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError):
        path.unlink()  # an interrupted run of long ago
    found = compute().astype(np.float16)
    with replacing(path) as file:
        np.save(file, found)
    return found
