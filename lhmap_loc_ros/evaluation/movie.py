# SPDX-License-Identifier: Apache-2.0
"""A moving picture of a run: the map over the camera images, and beside it the way driven, seen from above."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..datasets.bag import BagReader
from ..datasets.trajectory import Trajectory
from ..datasets.tum import read_tum
from ..errors import InputError
from ..extras import names_extra
from ..geometry import inverse, transform
from ..lhmap import LHMap, MapPoints
from ..lhmap.atomic import replacing
from ..localization.inputs import BagInputs, images, read_setup
from ..outputs import make_folder_of
from ..progress import Report, quiet
from .overlay import draw_overlay, heat_colors

FORMATS: dict[str, dict[str, Any]] = {".webp": {"quality": 40, "method": 4}, ".gif": {"optimize": True}}
HEIGHT_PX, FRAMES_A_SECOND, LONGEST_MS = 240, 10, 1000
PLAN_M, AHEAD_M, FINER = 70.0, 20.0, 2
"""Width of the plan beside the image, how far the robot stands below its middle, how many times finer it is drawn."""
BACKGROUND, WAY, ROBOT = (28, 30, 34), (0, 190, 255), (255, 255, 255)
_LOW_M, _HIGH_M = -1.0, 12.0


def write_movie(
    bag, lhmap: LHMap, poses, out, begin_s: float = 0.0, length_s: float = 12.0, rate: float = 1.0,
    inputs: BagInputs | None = None, report: Report | None = None,
) -> int:  # fmt: skip
    """Writes `length_s` of a run, from `begin_s` after its first pose on, to `out`, .webp or .gif; returns its frames.

    `poses` is the TUM file of the base frame in the map that localizing wrote. With a `rate` of 2 it passes twice as
    fast as it was driven. Raises InputError for another suffix, and where no pose is of an image.
    """
    with names_extra():
        from PIL import Image
    suffix = Path(out).suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"{out}: ends in {suffix!r}, expected one of {', '.join(FORMATS)}")
    report = report or quiet
    drive, expected = read_tum(poses), max(int(length_s / rate * FRAMES_A_SECOND), 1)
    frames, stamps = [], []
    for stamp_ns, frame in _frames(bag, lhmap, drive, begin_s, length_s, rate, inputs or BagInputs()):
        frames.append(Image.fromarray(frame))
        stamps.append(stamp_ns)
        report("draw", min(len(frames), expected), expected)
    if not frames:
        raise InputError(f"{poses}: no pose is of an image of {bag} from {begin_s:g} to {begin_s + length_s:g} s")
    data = BytesIO()
    options: dict[str, Any] = {
        "save_all": True,
        "append_images": frames[1:],
        "duration": durations_ms(stamps, rate),
        "loop": 0,
    }
    frames[0].save(data, suffix[1:], **options, **FORMATS[suffix])
    make_folder_of(out)
    with replacing(out) as file:
        file.write(data.getvalue())
    return len(frames)


def durations_ms(stamps_ns: list[int], rate: float) -> list[int]:
    """How long each picture is shown: until the next was taken, that of a gap and the last no longer than a second."""
    steps = np.diff(stamps_ns) / 1e6 / rate
    last = np.median(steps) if len(steps) else 1000 / FRAMES_A_SECOND
    return np.minimum(np.r_[steps, last], LONGEST_MS).round().astype(int).tolist()


def _frames(
    bag, lhmap: LHMap, drive: Trajectory, begin_s, length_s, rate, inputs: BagInputs
) -> Iterator[tuple[int, np.ndarray]]:
    """Stamps [ns] and pictures (H, W, 3) uint8 RGB, as many a second as are shown at most."""
    known = dict(zip(drive.stamps_ns.tolist(), drive.poses, strict=True))
    begin_ns = drive.stamps_ns[0] + round(begin_s * 1e9)
    end_ns, step_ns, due_ns = begin_ns + round(length_s * 1e9), round(rate * 1e9 / FRAMES_A_SECOND), begin_ns
    with BagReader(bag) as reader:
        setup = read_setup(reader, inputs)
        for stamp_ns, image in images(reader, inputs, setup):
            if stamp_ns >= end_ns:
                return
            if stamp_ns < due_ns or stamp_ns not in known:
                continue
            # as many pictures as the time that has passed asks for: a gap of the images is a gap of the movie
            due_ns = max(due_ns, stamp_ns - step_ns) + step_ns
            pose = known[stamp_ns]
            T_map_camera = pose @ setup.T_base_camera
            crop = lhmap.crop(T_map_camera[:3, 3], 70.0, full_density_m=np.inf)
            seen = draw_overlay(image, setup.camera, crop, T_map_camera)
            way = drive.poses[drive.stamps_ns <= stamp_ns]
            yield stamp_ns, beside(seen, draw_plan(crop, pose, way[:, :3, 3], HEIGHT_PX))


def beside(picture: np.ndarray, plan: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3), made as high as the plan (P, P, 3), and the plan to the right of it."""
    width = round(picture.shape[1] * len(plan) / len(picture))
    return np.hstack([cv2.resize(picture, (width, len(plan)), interpolation=cv2.INTER_AREA), plan])


def draw_plan(crop: MapPoints, T_map_base: np.ndarray, way: np.ndarray, size: int) -> np.ndarray:
    """The map around a robot from above (size, size, 3) uint8 RGB, driving upwards, points coloured by heat.

    `way` (N, 3) [m] are its places so far, in the map frame.
    """
    pixels = size * FINER
    canvas = np.full((pixels, pixels, 3), BACKGROUND, np.uint8)
    local = np.array(T_map_base, dtype=float)
    local[:3, 3] -= crop.origin
    seen = transform(inverse(local), crop.points)
    # what hangs over the street hides it; higher points over lower ones
    seen_at = np.flatnonzero((seen[:, 2] > _LOW_M) & (seen[:, 2] < _HIGH_M))
    seen_at = seen_at[np.argsort(seen[seen_at, 2], kind="stable")]
    column, row = _pixels(seen[seen_at], pixels)
    inside = (column >= 0) & (column < pixels - 1) & (row >= 0) & (row < pixels - 1)
    colours = heat_colors(crop.heat[seen_at])
    for across in (0, 1):
        for down in (0, 1):
            canvas[row[inside] + down, column[inside] + across] = colours[inside]
    line = np.stack(_pixels(transform(inverse(T_map_base), way), pixels), axis=1).astype(np.int32)
    cv2.polylines(canvas, [line], False, WAY, 2 * FINER, cv2.LINE_AA)
    x, y = (int(v[0]) for v in _pixels(np.zeros((1, 3)), pixels))
    arrow = np.array([(x, y - 9 * FINER), (x - 5 * FINER, y + 5 * FINER), (x + 5 * FINER, y + 5 * FINER)], np.int32)
    cv2.fillPoly(canvas, [arrow], ROBOT, cv2.LINE_AA)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def _pixels(points: np.ndarray, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of points (N, 3) of the robot's frame: ahead is up, left is left."""
    scale = pixels / PLAN_M
    column = pixels / 2 - points[:, 1] * scale
    row = pixels / 2 - (points[:, 0] - AHEAD_M) * scale
    return np.floor(column).astype(int), np.floor(row).astype(int)
