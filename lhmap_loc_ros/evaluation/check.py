# SPDX-License-Identifier: Apache-2.0
"""One camera image with the map over it at its known pose: the first thing to do with a new calibration."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..datasets.bag import BagReader
from ..datasets.importing import truth_path
from ..datasets.moving_frames import trajectory_from_tf
from ..datasets.trajectory import Trajectory
from ..datasets.tum import read_tum
from ..errors import BagError, InputError
from ..lhmap import LHMap
from ..lhmap.atomic import replacing
from ..localization.inputs import BagInputs, CameraSetup, images, one_camera, read_setup
from .metrics import sample
from .overlay import draw_overlay

TF = "/tf"


def check(bag, lhmap: LHMap, out, frame: int = 0, poses=None, inputs: BagInputs | None = None) -> dict:
    """Writes the overlay of image number `frame` as a PNG or JPEG to `out`; returns what was seen.

    Poses of base_link in the map come from the TUM file `poses`, else from ``<bag>.tum``, else from the TF in the
    bag. `left_out` of the result counts the messages that could not be used until then. Raises BagError or
    InputError for a bag without what is needed, a frame it does not have, an unknown pose.
    """
    inputs = one_camera(inputs or BagInputs(), "lhmap check")
    suffix = Path(out).suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{out}: ends in {suffix!r}, expected .png or .jpg")
    with BagReader(bag) as reader:
        setup = read_setup(reader, inputs)
        trajectory = known_poses(reader, poses, lhmap.metadata.frame, inputs.base_frame, inputs.tf_static)
        stamp_ns, image = _image(reader, inputs, setup, frame)
        left_out = reader.left_out.counts
    pose, covered = sample(trajectory, np.array([stamp_ns]), max_gap_s=5.0)
    if not covered[0]:
        first, last = trajectory.stamps_ns[[0, -1]] / 1e9
        raise InputError(
            f"no pose is known for image {frame}, taken at {stamp_ns / 1e9:.3f} s: "
            f"the poses span {first:.3f} to {last:.3f} s"
        )
    T_map_camera = pose[0] @ setup.T_base_camera
    crop = lhmap.crop(T_map_camera[:3, 3], 70.0, full_density_m=np.inf)
    _, data = cv2.imencode(suffix, draw_overlay(image, setup.camera, crop, T_map_camera)[:, :, ::-1])
    with replacing(out) as file:
        file.write(data.tobytes())
    x, y, z = T_map_camera[:3, 3].tolist()
    return {"stamp_s": stamp_ns / 1e9, "x": x, "y": y, "z": z, "points": len(crop.points), "left_out": left_out}


def known_poses(reader: BagReader, poses, map_frame: str, base_frame: str, tf_static: str) -> Trajectory:
    """Poses of the robot in the map: from a TUM file, from the one beside the bag, or from its TF."""
    beside = truth_path(reader.path)
    if poses is not None or beside.is_file():
        return read_tum(poses if poses is not None else beside)
    found = trajectory_from_tf(reader, TF, map_frame, base_frame, tf_static) if TF in reader.topics else None
    if found is None:
        raise BagError(
            f"{reader.path}: no poses: {beside.name} is not beside it, and {TF} and {tf_static} do not join "
            f"{map_frame} and {base_frame}; give a TUM file"
        )
    return found


def _image(reader: BagReader, inputs: BagInputs, setup: CameraSetup, frame: int) -> tuple[int, np.ndarray]:
    count = reader.count(inputs.image)
    if not 0 <= frame < count:
        raise BagError(f"{reader.path}: no image {frame}: {inputs.image} has {count}, numbered from 0")
    # those that cannot be used are counted, too
    wanted_ns = reader.first_stamps(inputs.image, frame + 1)[-1] - inputs.delay_ns
    for stamp_ns, image in images(reader, inputs, setup):
        if stamp_ns == wanted_ns:
            return stamp_ns, image
    raise BagError(f"{reader.path}: image {frame} of {inputs.image} cannot be used; take another")
