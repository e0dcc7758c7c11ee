# SPDX-License-Identifier: Apache-2.0
"""The results of a run against the truth, written as metrics.json and report.html."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from ..datasets.bag import BagReader, in_full
from ..datasets.left_out import in_words
from ..datasets.messages import Image
from ..datasets.trajectory import Trajectory
from ..errors import InputError
from ..lhmap import LHMap
from ..localization.inputs import BagInputs, CameraSetup, read_odometry, read_setup
from ..localization.motion import SECOND_NS
from ..localization.offline import METRICS, REPORT
from ..localization.record import RunRecord
from ..outputs import filling
from . import metrics
from .overlay import draw_overlay
from .report import Picture, render_report
from .summary import Comparison, compare, summarize


def evaluate(
    record: RunRecord,
    truth: Trajectory,
    bag,
    lhmap: LHMap,
    out,
    title: str,
    inputs: BagInputs | None = None,
    extra: dict[str, float] | None = None,
    pictures: int = 6,
) -> dict[str, float]:
    """Compares a run on a bag with the truth, writes metrics.json and report.html into `out`, returns the figures.

    `extra` figures are added to those of `summarize`. Raises InputError if the truth covers no frame.
    """
    inputs = inputs or BagInputs()
    with BagReader(bag) as reader:
        odometry = read_odometry(reader, inputs)
        comparison = compare(record, truth, odometry)
        summary = {**summarize(comparison), "map_bytes": Path(lhmap.path).stat().st_size, **(extra or {})}
        summary["messages_left_out"] = sum(record.left_out.values())
        drawn = _pictures(reader, inputs, comparison, lhmap, pictures)
    images = f"{summary['frames']} images over {summary['length_m']:.0f} m"
    about = f"{in_full(bag).name}, {images}, map {Path(lhmap.path).name}"
    if record.left_out:
        about += f"; left out: {in_words(record.left_out)}"
    page = render_report(comparison, summary, lhmap, drawn, title, about)
    with filling(out) as folder:
        (folder / METRICS).write_text(to_json(summary))
        (folder / REPORT).write_text(page)
    return summary


def to_json(summary: dict[str, float]) -> str:
    """The figures as JSON; what is not finite becomes null, for JSON knows no NaN."""
    clean = {
        key: (None if isinstance(value, float) and not math.isfinite(value) else value)
        for key, value in summary.items()
    }
    return json.dumps({key: round(v, 5) if isinstance(v, float) else v for key, v in clean.items()}, indent=2) + "\n"


def choose_frames(metres: np.ndarray, count: int) -> list[int]:
    """Frames to show: the first, the one of the largest error, and others spread evenly over the run."""
    spread = np.linspace(0, len(metres) - 1, max(count - 1, 1)).round().astype(int).tolist()
    return sorted({*spread, int(np.argmax(metres))})


def _pictures(reader: BagReader, inputs: BagInputs, comparison: Comparison, lhmap: LHMap, count: int) -> list[Picture]:
    record, setup = comparison.record, read_setup(reader, inputs)
    metres, degrees = metrics.norms(comparison.difference)
    out = []
    for k in choose_frames(metres, count):
        image = find_image(reader, inputs, setup, int(record.stamps_ns[k]))
        if image is None:
            continue
        T_map_camera = record.poses[k] @ setup.T_base_camera
        crop = lhmap.crop(T_map_camera[:3, 3], 70.0, full_density_m=np.inf)
        caption = f"{comparison.seconds[k]:.1f} s: {metres[k]:.2f} m, {degrees[k]:.2f}° off, {record.states[k]}"
        out.append(Picture(draw_overlay(image, setup.camera, crop, T_map_camera), caption))
    return out


def find_image(reader: BagReader, inputs: BagInputs, setup: CameraSetup, stamp_ns: int) -> np.ndarray | None:
    """The undistorted image of a stamp; None if the bag has none, or none that can be used."""
    # the clock that recorded it may be another than that of the stamps
    recorded_ns = stamp_ns + inputs.delay_ns + reader.recorded_after_ns(inputs.image)
    for message in reader.messages_as(Image, inputs.image, recorded_ns - SECOND_NS // 4, recorded_ns + SECOND_NS):
        if inputs.stamp_ns(message) == stamp_ns:
            try:
                return setup.rectifier(message.image)
            except InputError:
                return None  # of another size
    return None
