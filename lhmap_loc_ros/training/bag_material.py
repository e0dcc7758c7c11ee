# SPDX-License-Identifier: Apache-2.0
"""Training shards from one's own robot: the images of a bag, their true poses, and a map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.bag import BagReader
from ..datasets.frames import frame_numbers
from ..datasets.importing import truth_path
from ..datasets.trajectory import Trajectory
from ..datasets.tum import read_tum
from ..errors import InputError
from ..evaluation.metrics import sample
from ..geometry import Camera
from ..lhmap import LHMap
from ..localization.inputs import BagInputs, images, read_setup
from .bag_scans import OWN_SCAN_NS, is_near, placed_scans
from .material import WIDTH, shown_depth, unknown_depth
from .shards import shrink, write_shard

_MIN_POINTS, _AROUND_M = 200, 40.0
"""With fewer map points around the camera an image is of no use."""


@dataclass
class _View:
    """An image that goes into the shard."""

    stamp_ns: int
    image: np.ndarray
    camera: Camera
    T_map_camera: np.ndarray
    depth: np.ndarray
    """(H, W) [m], what the image shows; NaN where unknown."""
    apart_ns: int = OWN_SCAN_NS + 1
    """How far from the image the scan is that tells the depth."""


def bag_shard(
    bag: Path,
    map_path: Path,
    out: Path,
    truth: Path | None = None,
    frames: str = "all",
    spacing_m: float = 0.5,
    inputs: BagInputs | None = None,
    points_topic: str = "/points",
    width: int = WIDTH,
) -> None:
    """A shard of the images of a bag in a map, best one that another run made.

    `truth` is a TUM file of base_link in the map, ``<bag>.tum`` if None. `frames` (see `frame_numbers`) limits which
    images are used; of these, one is taken every `spacing_m` metres or 5 degrees, where its pose is known and the map
    reaches, shrunk to `width` pixels if it is wider. The depth of what an image shows comes from the bag's scans, if
    there are any on `points_topic`; else it is unknown. Raises InputError for files that cannot be used and if no image
    is left.
    """
    inputs = inputs or BagInputs()
    truth = truth_path(bag) if truth is None else truth
    T_map_base = read_tum(truth)
    with BagReader(bag) as reader, LHMap.open(map_path) as lhmap:
        views = _views(reader, inputs, T_map_base, lhmap, frames, spacing_m, width)
        if not views:
            raise InputError(
                f"{bag}: no image of {inputs.image} among the frames {frames!r} has a pose in {truth} with "
                f"{_MIN_POINTS} points of {map_path} around it"
            )
        if "PointCloud2" in reader.topics.get(points_topic, ""):
            _add_depth(views, reader, inputs, T_map_base, points_topic)
        points = lhmap.all_points()
    # shards are float32: around the map's origin, wherever on Earth that is
    poses = np.array([view.T_map_camera for view in views])
    poses[:, :3, 3] -= points.origin
    images, cameras, depths = ([getattr(view, name) for view in views] for name in ("image", "camera", "depth"))
    write_shard(out, images, cameras, poses, depths, points.points, points.intensity)


def _views(
    reader: BagReader,
    inputs: BagInputs,
    T_map_base: Trajectory,
    lhmap: LHMap,
    frames: str,
    spacing_m: float,
    width: int,
) -> list[_View]:
    """The images to learn from, small and undistorted."""
    setup = read_setup(reader, inputs)
    wanted = set(frame_numbers(frames, reader.count(inputs.image)))
    views: list[_View] = []
    for number, (stamp_ns, image) in enumerate(images(reader, inputs, setup)):
        if number not in wanted:
            continue
        poses, covered = sample(T_map_base, np.array([stamp_ns]))
        pose = poses[0] @ setup.T_base_camera
        if not covered[0] or (views and is_near(pose, views[-1].T_map_camera, spacing_m)):
            continue
        if len(lhmap.crop(pose[:3, 3], _AROUND_M)) < _MIN_POINTS:
            continue
        image, camera = shrink(image, setup.camera, width)
        views.append(_View(stamp_ns, image, camera, pose, unknown_depth(camera)))
    return views


def _add_depth(
    views: list[_View], reader: BagReader, inputs: BagInputs, T_map_base: Trajectory, points_topic: str
) -> None:
    """The depth of what each image shows, from the scan nearest in time."""
    for scan in placed_scans(reader, inputs, T_map_base, points_topic):
        for view in views:
            apart = abs(scan.stamp_ns - view.stamp_ns)
            if apart < view.apart_ns:
                view.depth, view.apart_ns = shown_depth(scan.points, view.T_map_camera, view.camera), apart
