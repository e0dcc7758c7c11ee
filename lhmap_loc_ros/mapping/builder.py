# SPDX-License-Identifier: Apache-2.0
"""From bags to an LHMap, stage by stage, each of which goes on where it was interrupted."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from ..datasets.bag import BagReader
from ..datasets.left_out import joined, tell
from ..datasets.trajectory import Trajectory
from ..errors import BagError, ConfigError, InputError
from ..inference import Model
from ..lhmap import LHMap
from ..lhmap.writer import write_with_section
from ..outputs import check_file, make_folder_of
from ..places.build import describe_map
from ..places.describer import Describer
from .compensation import is_compensated
from .config import BuildConfig
from .heat import full_scale_of, load_heat_model
from .intensity import ranks_of_bag
from .poses import find_poses
from .scans import lidar_extrinsics, lidar_trajectory
from .stages.accumulate import AccumulateJob
from .stages.plan import POSES, Plan, Recording, Tile, results
from .stages.schedule import Report, Workers, dask_workers, local_workers
from .stages.store import key_of, load, save
from .stages.write import write_file

_FOR_TILES = 0.98
"""Part of the budget that is dealt out: with all of it a map of 70 m, where the header weighs most, took 101 %."""
_log = logging.getLogger(__name__)


def build_map(
    bag: Path | str | Sequence,
    out,
    config: BuildConfig | None = None,
    report: Report | None = None,
    work: Path | str | None = None,
    scheduler: str | None = None,
) -> LHMap:
    """Builds the map of one bag, or of several whose poses share one map frame, writes it to `out`, opens it.

    Folders on the way to `out` are made.
    What stages compute lies in the folder `work`; what is there from an earlier or interrupted build and fits is used
    again, so that a bag more costs the tiles it touches. Without one it is OUT.work, deleted when the map is there.
    `scheduler` is the address of a Dask scheduler whose workers do the jobs; else the cores of this machine do.

    `report(stage, done, total)` follows the progress. Raises an InputError for bags, poses, a configuration
    or a heat network that cannot be used; `out` is then left as it was.
    """
    config, report = config or BuildConfig(), report or (lambda stage, done, total: None)
    bags = [Path(bag)] if isinstance(bag, str | Path) else [Path(b) for b in bag]
    # neither a place that cannot be written nor a missing network should show after minutes of work
    check_file(out)
    model = None if config.heat_model is None else load_heat_model(config.heat_model)
    config, describer = resolved(config), load_describer(config)
    with working_folder(out, work) as folder, _workers(scheduler) as workers:
        # 1. where the vehicle was; the map tells which source of poses it was made with
        drives, recordings, origin = _open_drives(bags, config, folder, report)
        config = config.model_copy(update={"poses": origin})
        plan = Plan(folder, config)
        # 2. scans, merged piece by piece
        chunks = [job for recording in recordings for job in plan.accumulate(recording)]
        workers.do("accumulate", chunks, report)
        _check_scans(chunks, config, bags)
        # 3. tiles without what moved
        tiles = plan.clean([job.out for job in chunks])
        workers.do("clean", list(tiles.values()), report)
        # 4. heat, selection, the file
        intensity = "rank" if any(recording.intensity.values for recording in recordings) else "none"
        return value_and_write(
            plan, results(tiles), drives, bags, model, workers, out, report, intensity, describer=describer
        )


def value_and_write(
    plan: Plan, points: dict[Tile, Path], drives: list[Trajectory], sources: Sequence, model: Model | None,
    workers: Workers, out, report: Report, intensity: str, heats: dict[Tile, Path] | None = None,
    describer: Describer | None = None,
) -> LHMap:  # fmt: skip
    """From clean tiles to the map: heat along the drives, if not given, the points worth keeping, the file, places.

    `intensity`: what `MapMetadata` says of it. Without a `describer` the map gets no places.
    """
    config, choices = plan.config, None
    if model is not None and drives:
        views = plan.score_views(points, drives, model)
        workers.do("score_views", views, report)
        jobs = plan.heat(points, views, full_scale_of(model))
        workers.do("heat", list(jobs.values()), report)
        heats = results(jobs)
    if config.budget_mb_per_km is not None and drives:
        bytes_per_m = 1000 * config.budget_mb_per_km * _FOR_TILES
        choices = plan.select(points, heats, drives, bytes_per_m)
        workers.do("select", choices, report)
    packs = plan.pack(points, heats, choices)
    workers.do("pack", list(packs.values()), report)
    report("write", 0, 1)
    # with places the map is there once it has them
    path = Path(out) if describer is None or not drives else plan.work / "without_places.lhmap"
    write_file(path, out, results(packs), drives, model if drives else None, config, sources, intensity)
    report("write", 1, 1)
    if path != Path(out):
        with LHMap.open(path) as lhmap:
            database = describe_map(lhmap, describer, report, plan.cached("places"))
            make_folder_of(out)
            write_with_section(lhmap, out, database.to_section(lhmap))
        path.unlink()
    return LHMap.open(out)


def load_describer(config: BuildConfig) -> Describer | None:
    """The networks that places are described by, if they are to be; raises ModelError where these are missing."""
    if not config.places:
        return None
    from ..places.describe import PlaceDescriber

    return PlaceDescriber()


def resolved(config: BuildConfig) -> BuildConfig:
    """The configuration with the size of voxels that it leaves open."""
    return config.model_copy(update={"voxel_m": config.edge_m})


class working_folder(AbstractContextManager):
    """The folder for what stages compute; one that nobody asked for is deleted when the block ends well.

    After bad input it is deleted only if no stage is done; else the error says that it is there.
    """

    def __init__(self, out, work):
        self.path = Path(f"{out}.work") if work is None else Path(work)
        self._keep = work is not None

    def __enter__(self) -> Path:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be made ({error.strerror}), expected a folder to work in") from error
        return self.path

    def __exit__(self, kind, error, _):
        if self._keep or not (kind is None or issubclass(kind, InputError)):
            return
        if kind is not None and self._some_stage_is_done():
            raise kind(f"{error}; {self.path} holds what was done before, for the next build") from error
        shutil.rmtree(self.path, ignore_errors=True)

    def _some_stage_is_done(self) -> bool:
        """Poses that were read from a bag are read again at no cost."""
        return any(result.parent.name != POSES for result in self.path.rglob("*.npz"))


def _workers(scheduler: str | None) -> AbstractContextManager[Workers]:
    return local_workers() if scheduler is None else dask_workers(scheduler)


def _open_drives(
    bags: list[Path], config: BuildConfig, work: Path, report: Report
) -> tuple[list[Trajectory], list[Recording], str]:
    """The vehicle's trajectory in each bag, the bags as the stages see them, and where all poses came from."""
    drives, recordings, origin = [], [], config.poses
    for path in bags:
        with BagReader(path, config.point_times) as reader:
            reader.require(config.points_topic)
            T_base_lidar = lidar_extrinsics(reader, config)
            fingerprint = key_of("bag", reader.fingerprint())
            trajectory, origin = _poses(reader, config, T_base_lidar, fingerprint, work, report)
            if len(bags) > 1 and origin in ("odometry", "icp"):
                raise ConfigError(
                    f"poses: {reader.path} has only poses by {origin}, whose frame is its own; "
                    "several bags make one map only with poses in one map frame (tf or file)"
                )
            drives.append(trajectory)
            moved = lidar_trajectory(trajectory, T_base_lidar)
            ranks = ranks_of_bag(reader, config.points_topic)
            times = _point_times(reader, config, moved)
            recordings.append(Recording(path, fingerprint, reader.span_ns, moved, ranks, times))
            # of scans the pieces tell
            others = {words: n for words, n in reader.left_out.counts.items() if not _is_of(config.points_topic, words)}
            tell(others, _log, path)
    return drives, recordings, origin


def _is_of(topic: str, words: str) -> bool:
    return words.startswith(f"{topic}: ")


def _point_times(reader: BagReader, config: BuildConfig, T_map_lidar: Trajectory) -> str:
    """How the times of a bag's points are read."""
    if config.point_times != "auto" or not is_compensated(reader, config, T_map_lidar):
        return config.point_times
    _log.warning(
        "%s: walls are sharper without the times of points: %s seems to be compensated for motion already, so "
        "the times are ignored (point_times: ns, us, ms or s uses them)", reader.path, config.points_topic,
    )  # fmt: skip
    return "ignore"


def _check_scans(chunks: Sequence[AccumulateJob], config: BuildConfig, bags: list[Path]) -> None:
    """Says how many scans have been left out; raises BagError if all were."""
    placed, left_out = np.sum([load(job.out, "scans")["scans"] for job in chunks], axis=0)
    unusable = joined([json.loads(str(load(job.out, "unusable")["unusable"])) for job in chunks])
    tell(unusable, _log, ", ".join(map(str, bags)))
    if not placed:
        for job in chunks:
            job.out.unlink(missing_ok=True)  # nothing in it is worth going on with
        raise BagError(
            f"no scan on {config.points_topic} has points in range at a time with a known pose: "
            + ", ".join(str(b) for b in bags)
        )
    if left_out:
        _log.warning(
            "%d of %d scans are left out: no point in range, before or after the poses, or where those jump or are "
            "more than max_gap_s (%g s) apart", left_out, placed + left_out, config.max_gap_s,
        )  # fmt: skip


def _poses(reader, config, T_base_lidar, fingerprint: str, work: Path, report) -> tuple[Trajectory, str]:
    """The trajectory and where it came from; LiDAR odometry takes long and is kept."""
    topics = (config.points_topic, config.tf_topic, config.odometry_topic, config.map_frame, config.base_frame)
    settings = (*topics, config.min_range_m, config.max_range_m, T_base_lidar)
    kept = work / "icp" / f"{key_of('icp', fingerprint, *settings)}.npz"
    asked = config.poses == "icp" or (config.poses == "auto" and config.poses_file is None)
    if asked and kept.exists():
        data = load(kept)
        return Trajectory(data["stamps"], data["poses"]), "icp"
    trajectory, origin = find_poses(reader, config, T_base_lidar, report)
    if origin == "icp":
        save(kept, stamps=trajectory.stamps_ns, poses=trajectory.poses)
    return trajectory, origin
