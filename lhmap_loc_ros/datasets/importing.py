# SPDX-License-Identifier: Apache-2.0
"""Drives of data sets as bags.

Topics: ``/points``, ``/camera/image_raw``, ``/camera/camera_info``, ``/tf_static`` and, for maps, ``/tf``. Frames:
`map`, `base_link`, `lidar`, `camera_optical_frame`. Scans are free of the distortion by motion, so the points carry
no times.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import BagError
from ..outputs import writing
from .bag import in_full
from .bag_writer import BagWriter
from .camera_lidar import CameraLidarDrive
from .trajectory import Trajectory
from .tum import write_tum

_EVERY = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}


def import_drive(
    drive: CameraLidarDrive,
    out,
    frames: Literal["all", "even", "odd"] = "all",
    with_poses: bool | None = None,
    report=None,
) -> Path:
    """Writes the bag `out` from a drive, and its true poses, if they are known, to ``<out>.tum``.

    Even frames are every other scan and every other image, odd ones the rest. The truth (T_map_base) goes into the
    bag too, as TF, if `with_poses` says so; left open, it does for even and all frames (they make maps), not for odd
    ones (queries must not know the truth).
    Returns the path of the bag. Raises BagError if something is missing or damaged, InputError if `out` cannot be
    written; then nothing is left.
    """
    out, truth = Path(out), drive.truth
    if frames not in _EVERY:
        raise BagError(f"frames: {frames!r} found, expected all, even or odd")
    if out.exists():
        raise BagError(f"{out}: exists already, expected a path for a new bag")
    if with_poses is None:
        with_poses = truth is not None and frames != "odd"
    if with_poses and truth is None:
        raise BagError(f"{drive.truth_path}: not there, but poses are wanted in the bag")
    if not out.parent.is_dir():
        raise BagError(f"{out}: cannot be written, there is no folder {out.parent}")
    scans, images = _chosen(drive.scan_stamps, frames), _chosen(drive.image_stamps, frames)
    stamps = np.array(sorted({*scans, *images}), dtype=np.int64)
    if not len(stamps):
        raise BagError(f"frames: {frames!r} leaves none of the {len(drive.scan_stamps)} scans, expected at least one")
    poses = None if truth is None else truth.at(stamps)
    # a bag's files are named after its folder, so it grows under its own name in a folder of its own
    with writing(out), tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as workshop:
        growing = Path(workshop) / out.name
        with BagWriter(growing) as writer:
            _write_static(writer, int(stamps[0]), drive)
            for k, stamp in enumerate(stamps.tolist()):
                if with_poses:
                    writer.tf(stamp, {("map", "base_link"): poses[k]})
                if stamp in scans:
                    _write_scan(writer, stamp, drive.scan(scans[stamp]))
                if stamp in images:
                    _write_image(writer, stamp, drive.image(images[stamp]), drive.calibration.matrix)
                if report:
                    report("import", k + 1, len(stamps))
        if poses is not None:
            written = Path(workshop) / "truth.tum"
            write_tum(written, Trajectory(stamps, poses))
            os.replace(written, truth_path(out))
        shutil.move(growing, out)
    return out


def truth_path(bag) -> Path:
    """Where the true poses of an imported bag lie."""
    bag = in_full(bag)
    return bag.with_name(bag.name + ".tum")


def _chosen(stamps: np.ndarray, frames: str) -> dict[int, int]:
    """Stamps and numbers of what is imported."""
    numbers = range(len(stamps))[_EVERY[frames]]
    return {int(stamps[number]): number for number in numbers}


def _write_static(writer: BagWriter, stamp: int, drive: CameraLidarDrive) -> None:
    transforms = {
        ("base_link", "lidar"): drive.calibration.T_base_lidar,
        ("base_link", "camera_optical_frame"): drive.calibration.T_base_camera,
    }
    writer.tf_static(stamp, transforms)


def _write_scan(writer: BagWriter, stamp: int, scan: np.ndarray) -> None:
    writer.points("/points", stamp, "lidar", scan[:, :3], scan[:, 3])


def _write_image(writer: BagWriter, stamp: int, image: np.ndarray, matrix: np.ndarray) -> None:
    """The calibration, then the image."""
    height, width = image.shape[:2]
    writer.camera_info("/camera/camera_info", stamp, "camera_optical_frame", width, height, matrix)
    writer.image("/camera/image_raw", stamp, "camera_optical_frame", image)
