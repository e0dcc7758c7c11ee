# SPDX-License-Identifier: Apache-2.0
"""Localizes the images of a bag, one after the other, without DDS: the same bag gives the same poses."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..configuration import dump
from ..datasets.bag import BagReader
from ..datasets.messages import Fix
from ..datasets.trajectory import Trajectory
from ..datasets.tum import write_tum
from ..errors import InputError, ModelError
from ..lhmap import LHMap
from ..outputs import filling, writing
from ..progress import Report, quiet
from .image_sets import BagCameras
from .inputs import BagInputs, read_odometry
from .localizer import Localizer, LocalizerConfig
from .record import RunRecord
from .relocalize import PoseHypothesis
from .start import StartPose

if TYPE_CHECKING:
    from ..places.start_search import StartSearch
    from .refine import Refiner

METRICS, REPORT = "metrics.json", "report.html"
"""What a comparison of a run with the truth adds to its folder."""


class LocalizeConfig(LocalizerConfig):
    """All about localizing a bag."""

    inputs: BagInputs = BagInputs()


def localize_bag(
    bag: Path | str,
    lhmap: LHMap,
    start: StartPose | Callable[[int], StartPose] | None,
    config: LocalizeConfig | None = None,
    report: Report | None = None,
    refiner: Refiner | None = None,
    max_images: int | None = None,
    search: StartSearch | None = None,
) -> RunRecord:
    """The pose at each image of a bag.

    `start` is the pose at the first image, or a function of its stamp [ns]; None: `search`, by default that of the
    shipped networks, finds the place, and images before it is found have no pose. Odometry is read up to the image
    before the image is used. A lost track looks for its place as that of `localizer_node` does. The latency recorded is
    the time one image took. Raises BagError for a bag that lacks what `config.inputs` names, InputError where no image
    tells its place.
    """
    config, report = config or LocalizeConfig(), report or quiet
    results, latency_ms, searched = [], [], 0
    with BagReader(bag) as reader:
        # 1. the cameras, the odometry, the networks
        cameras, odometry = BagCameras(reader, config.inputs), read_odometry(reader, config.inputs)
        total = min(len(cameras), max_images or np.iinfo(int).max)
        report("search" if start is None else "localize", 0, total)
        localizer = Localizer(lhmap, config, refiner=refiner, search=search)
        if start is None:
            localizer.prepare_search()
        feed = SensorFeed(odometry, localizer, reader.fixes())
        # 2. image by image, those of one stamp together
        for seen in islice(cameras, max_images):
            stamp_ns, image, camera = seen.stamp_ns, seen.image, seen.camera
            feed.until(stamp_ns)
            if not localizer.started:
                first: StartPose | PoseHypothesis | None = start(stamp_ns) if callable(start) else start
                if first is None:
                    try:
                        first = localizer.locate(image, camera, stamp_ns)
                    except (InputError, ModelError) as error:
                        reader.left_out.add(config.inputs.image, f"not searched: {error}", stamp_ns)
                if first is None:
                    searched += 1
                    report("search", searched, max(total, searched))
                    continue
                localizer.start(first.T_map_base, first.covariance, stamp_ns)
                if start is None:
                    report("search", searched + 1, searched + 1)
            began = time.perf_counter()
            results.append(localizer.localize(image, camera, stamp_ns))
            latency_ms.append(1e3 * (time.perf_counter() - began))
            done = len(results) + searched
            report("localize", done, max(total, done))
        if not results:
            raise InputError(
                f"{reader.path}: none of {searched} images tells its place in {lhmap.path}: is it the map of this "
                "place? If so, tell a start pose (--init X Y Z YAW)"
            )
        left_out = reader.left_out.counts
    # 3. as arrays
    return RunRecord.of(results, latency_ms, np.cumsum(latency_ms) / 1e3, left_out, searched)


class SensorFeed:
    """Hands the odometry and the GPS fixes of a bag to a localizer as time goes on."""

    def __init__(self, odometry: Trajectory | None, localizer: Localizer, fixes: Sequence[Fix] = ()):
        self._odometry, self._localizer, self._next = odometry, localizer, 0
        self._fixes = deque(sorted(fixes, key=lambda fix: fix.stamp_ns))

    def until(self, stamp_ns: int) -> None:
        """Fixes up to `stamp_ns`, and odometry to the first pose at or after it, so that it can interpolate there."""
        if self._odometry is not None:
            stamps = self._odometry.stamps_ns
            end = min(int(np.searchsorted(stamps, stamp_ns)) + 1, len(stamps))
            for k in range(self._next, end):
                self._localizer.add_odometry(int(stamps[k]), self._odometry.poses[k])
            self._next = max(self._next, end)
        while self._fixes and self._fixes[0].stamp_ns <= stamp_ns:
            fix = self._fixes.popleft()
            self._localizer.add_fix(fix.stamp_ns, fix.geodetic, fix.sigma_m)


def write_run(folder: Path | str, record: RunRecord, config: LocalizeConfig) -> Path:
    """Writes poses.tum, poses.csv and config.yaml into a folder, all or none; gives the folder.

    Figures and a report of another run, which these poses replace, go.
    """
    with filling(folder) as temporary:
        write_tum(temporary / "poses.tum", Trajectory(record.stamps_ns, record.poses))
        (temporary / "poses.csv").write_text(record.to_csv())
        (temporary / "config.yaml").write_text(dump(config))
    with writing(folder):
        for name in (METRICS, REPORT):
            (Path(folder) / name).unlink(missing_ok=True)
    return Path(folder)
