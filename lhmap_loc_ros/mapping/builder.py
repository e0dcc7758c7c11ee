# SPDX-License-Identifier: Apache-2.0
"""From bags to an LHMap, in stages that an interrupted build resumes."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import numpy as np

from ..datasets.bag import BagReader
from ..datasets.bag_files import fingerprint, unpacked
from ..datasets.left_out import joined, tell
from ..datasets.trajectory import Trajectory
from ..errors import BagError, ConfigError, InputError, LhmapError
from ..inference import Model
from ..lhmap import GeodeticDatum, LHMap
from ..lhmap.writer import write_with_section
from ..outputs import check_file, make_folder_of
from ..places.build import describe_map
from ..places.database import SECTION
from ..places.describer import Describer
from ..progress import Report, quiet
from .compensation import is_compensated
from .config import BuildConfig
from .datum import find_datum
from .heat import full_scale_of, load_heat_model
from .intensity import ranks_of_bag
from .poses import find_poses
from .scans import MAX_GAP_S, lidar_extrinsics, lidar_trajectory, unbroken
from .stages.accumulate import AccumulateJob
from .stages.plan import POSES, Plan, Recording, Tile, chunk_starts, results
from .stages.schedule import Workers, dask_workers, local_workers
from .stages.store import key_of, load, save
from .stages.write import write_file

_TILES_FRACTION = 0.98
"""Fraction of the budget for tiles: with all of it a map of 70 m, where the header counts most, took 101 %."""
_log = logging.getLogger(__name__)


def build_map(
    bag: Path | str | Sequence[Path | str],
    out: Path | str,
    config: BuildConfig | None = None,
    report: Report | None = None,
    work: Path | str | None = None,
    scheduler: str | None = None,
) -> LHMap:
    """Builds the map of one bag, or of several whose poses share one map frame, writes it to `out` and opens it.

    The folder of `out` is created if needed. Results of stages are kept in the folder `work`, and used again by a later
    build where they are still valid: another bag costs the tiles it touches. By default the folder is OUT.work, which
    is deleted when the map is complete. `scheduler` is the address of a Dask scheduler whose workers run the jobs; by
    default they run on the cores of this machine.

    Calls `report(stage, done, total)` with the progress. Raises an InputError for bags, poses, a configuration or a
    heat network that cannot be used; `out` is then left as it was.
    """
    config, report = config or BuildConfig(), report or quiet
    bags = [Path(bag)] if isinstance(bag, str | Path) else [Path(b) for b in bag]
    # an output that cannot be written or a missing network should not fail after minutes of work
    check_file(out)
    model = None if config.heat_model is None else load_heat_model(config.heat_model)
    config, describer = resolved(config), load_describer(config)
    with working_folder(out, work) as folder, _workers(scheduler) as workers:
        # 1. poses; the map names their source
        copies = folder / "unpacked"
        readable = [unpacked(path, copies / str(number)) for number, path in enumerate(bags)]
        drives, recordings, origin = _open_drives(bags, readable, config, folder, report)
        config = config.model_copy(update={"poses": origin})
        plan = Plan(folder, config)
        # 2. scans, accumulated chunk by chunk
        chunks = [job for recording in recordings for job in plan.accumulate(recording)]
        workers.do("accumulate", chunks, report)
        datum = find_datum(readable, drives)
        drives = [part for drive in drives for part in unbroken(drive)]
        shutil.rmtree(copies, ignore_errors=True)
        _check_scans(chunks, config, bags)
        # 3. tiles without moving objects and noise
        tiles = plan.clean([job.out for job in chunks])
        workers.do("clean", list(tiles.values()), report)
        # 4. heat, selection, the file, places
        intensity = "rank" if any(recording.intensity.values for recording in recordings) else "none"
        return map_from_tiles(
            plan, results(tiles), drives, bags, model, workers, out, report, intensity, describer=describer,
            datum=datum,
        )  # fmt: skip


def map_from_tiles(
    plan: Plan, points: dict[Tile, Path], drives: list[Trajectory], sources: Sequence[Path | str], model: Model | None,
    workers: Workers, out: Path | str, report: Report, intensity: str, heats: dict[Tile, Path] | None = None,
    describer: Describer | None = None, datum: GeodeticDatum | None = None,
) -> LHMap:  # fmt: skip
    """From clean tiles to the map: heat along the drives unless `heats` are given, selection, the file, places.

    `intensity` is that of `MapMetadata`. Without a `describer` the map has no places.
    """
    config, choices = plan.config, None
    _tell_what_is_lost(Path(out))
    if model is not None and drives:
        views = plan.score_views(points, drives, model)
        workers.do("score_views", views, report)
        jobs = plan.heat(points, views, full_scale_of(model))
        workers.do("heat", list(jobs.values()), report)
        heats = results(jobs)
    if config.budget_mb_per_km is not None and drives:
        bytes_per_m = 1000 * config.budget_mb_per_km * _TILES_FRACTION
        choices = plan.select(points, heats, drives, bytes_per_m)
        workers.do("select", choices, report)
    packs = plan.pack(points, heats, choices)
    workers.do("pack", list(packs.values()), report)
    report("write", 0, 1)
    # the map appears as `out` when it is complete: with its places
    path = plan.work / "without_places.lhmap" if describer is not None and drives else Path(out)
    write_file(path, out, results(packs), drives, model if drives else None, config, sources, intensity, datum)
    report("write", 1, 1)
    if describer is not None and drives:
        with LHMap.open(path) as lhmap:
            database = describe_map(lhmap, describer, report, plan.cached("places"))
            make_folder_of(out)
            write_with_section(lhmap, out, database.to_section(lhmap))
        path.unlink()
    return LHMap.open(out)


def _tell_what_is_lost(out: Path) -> None:
    """A warning where a map with what `lhmap learn` stored is about to be replaced."""
    try:
        with LHMap.open(out) as before:
            learned = sorted({section.name for section in before.metadata.sections} - {SECTION})
    except LhmapError:
        return  # none is there, or none that is of use
    if learned:
        _log.warning(
            "%s: the map that is replaced has learned %s; the new one has not: run `lhmap learn` again",
            out, ", ".join(learned),
        )  # fmt: skip


def load_describer(config: BuildConfig) -> Describer | None:
    """The networks that describe places, or None without places; raises ModelError if they are missing."""
    if not config.places:
        return None
    from ..places.describe import PlaceDescriber

    return PlaceDescriber()


def resolved(config: BuildConfig) -> BuildConfig:
    """The configuration with the size of voxels filled in."""
    return config.model_copy(update={"voxel_m": config.edge_m})


class working_folder(AbstractContextManager[Path]):
    """The folder for results of stages; the default one is deleted when the block ends without an error.

    After an InputError it is deleted only if it has no results; else the error names it.
    """

    def __init__(self, out: Path | str, work: Path | str | None):
        self.path = Path(f"{out}.work") if work is None else Path(work)
        self._keep = work is not None

    def __enter__(self) -> Path:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be created ({error.strerror}), expected a work folder") from error
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:  # fmt: skip
        if self._keep or not (kind is None or issubclass(kind, InputError)):
            return
        if kind is not None and self._has_results():
            raise kind(f"{error}; {self.path} keeps the results so far for the next build") from error
        shutil.rmtree(self.path, ignore_errors=True)

    def _has_results(self) -> bool:
        """Poses do not count: reading them again takes no time."""
        return any(result.parent.name != POSES for result in self.path.rglob("*.npz"))


def _workers(scheduler: str | None) -> AbstractContextManager[Workers]:
    return local_workers() if scheduler is None else dask_workers(scheduler)


def _other_points(reader: BagReader) -> str:
    """What to do where the topic of the scans is not in the bag: name one that is, or take another bag."""
    clouds = reader.of_type("sensor_msgs/PointCloud2")
    return (
        f"in --config FILE set points_topic: {clouds[0]}"
        if clouds
        else "none has scans (PointCloud2): is it the bag of the mapping run?"
    )


def _open_drives(
    bags: list[Path], readable: list[Path], config: BuildConfig, work: Path, report: Report
) -> tuple[list[Trajectory], list[Recording], str]:
    """The vehicle's trajectory in each bag, the bags as the stages see them, and the source of the poses.

    `readable` are the bags, or copies of them that are not compressed as a whole.
    """
    drives, recordings, origin = [], [], config.poses
    for bag, path in zip(bags, readable, strict=True):
        with BagReader(path, config.point_times) as reader:
            reader.require(config.points_topic, otherwise=_other_points(reader))
            T_base_lidar = lidar_extrinsics(reader, config)
            content = key_of("bag", fingerprint(bag))
            trajectory, origin = _poses(reader, config, T_base_lidar, content, work, report)
            if len(bags) > 1 and origin in ("odometry", "icp"):
                raise ConfigError(
                    f"poses: {bag} has only poses by {origin}, in a frame of this bag alone; "
                    "a map of several bags needs poses in one map frame (tf or file)"
                )
            drives.append(trajectory)
            moved = lidar_trajectory(trajectory, T_base_lidar)
            starts = chunk_starts(reader, config.points_topic)
            ranks = ranks_of_bag(reader, config.points_topic, starts)
            times = _point_times(reader, config, moved)
            recordings.append(Recording(path, content, starts, moved, ranks, times))
            # unusable scans are counted by the chunks
            others = {words: n for words, n in reader.left_out.counts.items() if not _is_of(config.points_topic, words)}
            tell(others, _log, bag)
    return drives, recordings, origin


def _is_of(topic: str, words: str) -> bool:
    return words.startswith(f"{topic}: ")


def _point_times(reader: BagReader, config: BuildConfig, T_map_lidar: Trajectory) -> str:
    """The unit of the times of a bag's points, or ignore; a warning if they are ignored."""
    if config.point_times != "auto" or not is_compensated(reader, config, T_map_lidar):
        return config.point_times
    _log.warning(
        "%s: surfaces are sharper without the times of points: %s seems to be compensated for motion already, "
        "so the times are ignored (point_times: ns, us, ms or s uses them)", reader.path, config.points_topic,
    )  # fmt: skip
    return "ignore"


def _check_scans(chunks: Sequence[AccumulateJob], config: BuildConfig, bags: list[Path]) -> None:
    """Warns of scans that were left out; raises BagError if all were."""
    placed, left_out = np.sum([load(job.out, "scans")["scans"] for job in chunks], axis=0)
    unusable = joined([json.loads(str(load(job.out, "unusable")["unusable"])) for job in chunks])
    tell(unusable, _log, ", ".join(map(str, bags)))
    if not placed:
        for job in chunks:
            job.out.unlink(missing_ok=True)  # of no use to the next build
        raise BagError(
            f"no scan on {config.points_topic} has points in range at a time with a known pose: "
            + ", ".join(str(b) for b in bags)
        )
    if left_out:
        _log.warning(
            "%d of %d scans are left out: no point in range, before or after the poses, or where poses jump or are "
            "more than %g s apart", left_out, placed + left_out, MAX_GAP_S,
        )  # fmt: skip


def _poses(
    reader: BagReader, config: BuildConfig, T_base_lidar: np.ndarray, content: str, work: Path, report: Report
) -> tuple[Trajectory, str]:  # fmt: skip
    """The trajectory and its source; the result of LiDAR odometry, which takes long, is kept."""
    c = config
    names = (c.points_topic, c.tf_topic, c.tf_static_topic, c.odometry_topic, c.map_frame, c.base_frame)
    settings = (*names, c.point_times, c.min_range_m, c.max_range_m, T_base_lidar)
    kept = work / "icp" / f"{key_of('icp', content, *settings)}.npz"
    if config.poses in ("icp", "auto") and kept.exists():
        data = load(kept)
        return Trajectory(data["stamps"], data["poses"]), "icp"
    trajectory, origin = find_poses(reader, config, T_base_lidar, report)
    if origin == "icp":
        save(kept, stamps=trajectory.stamps_ns, poses=trajectory.poses)
    return trajectory, origin
