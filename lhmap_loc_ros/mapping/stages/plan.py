# SPDX-License-Identifier: Apache-2.0
"""The jobs of a build, stage by stage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from ...datasets.bag import BagReader
from ...datasets.trajectory import Trajectory
from ...inference import Model
from ...lhmap import layout
from ..config import BuildConfig
from ..heat import VIEW_SAMPLING, virtual_views_along
from ..intensity import IntensityRanks
from ..moving import observing_chunks
from ..selection import EXTRAPOLATE_M, SEGMENT_M, merge_duplicates, path_segments
from .accumulate import AccumulateJob
from .clean import CleanJob
from .heat import HeatJob
from .pack import PackJob
from .schedule import Job
from .score_views import ScoreViewsJob
from .select import SelectJob
from .store import key_of, load, save
from .tiles import observation_reach

CHUNK_S = 10.0
"""Duration of the chunks that a bag is read in: each core holds one."""
Tile = tuple[int, int]

POSES = "poses"
"""Folder of the trajectories."""
VIEWS_PER_JOB, SEGMENTS_PER_JOB = 25, 10


@dataclass(frozen=True)
class Recording:
    """A bag as the stages see it."""

    path: Path
    fingerprint: str
    """Changes with the bag's content."""
    starts_ns: list[int]
    """When the recording of each chunk with scans begins."""
    T_map_lidar: Trajectory
    intensity: IntensityRanks
    point_times: str


def chunk_starts(bag: BagReader, topic: str) -> list[int]:
    """When the chunks of a bag begin, by the time of recording [ns], at least one; those without scans are left out
    where they are many."""
    (first, last), step = bag.span_ns, round(CHUNK_S * 1e9)
    count = (last - first) // step + 1
    if count <= max(bag.count(topic), 1):
        return list(range(first, last + 1, step))
    # a computer without a clock of its own began to record in 1970, and was told the time then
    numbers = np.unique((bag.recorded_ns(topic) - first) // step)
    return (first + numbers * step).tolist() or [first]


class Plan:
    """Makes the jobs of each stage; a job's inputs name its result."""

    def __init__(self, work: Path, config: BuildConfig):
        self.work, self.config = work, config

    def out(self, stage: str, *parts: object) -> Path:
        """Path of the result of a stage that was computed from all these."""
        return self.work / stage / f"{key_of(stage, *parts)}.npz"

    def cached(self, stage: str) -> Callable[[str, Callable[[], np.ndarray]], np.ndarray]:
        """A cache of arrays for a stage: `get(name, compute)`, where the name covers all that `compute` depends on."""

        def get(name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
            out = self.out(stage, name)
            if not out.exists():
                save(out, values=compute())
            return load(out)["values"]

        return get

    def accumulate(self, recording: Recording) -> list[AccumulateJob]:
        """One job for each chunk of a bag."""
        c = self.config.model_copy(update={"point_times": recording.point_times})
        drive = {"stamps": recording.T_map_lidar.stamps_ns, "poses": recording.T_map_lidar.poses}
        trajectory = self.out(POSES, drive)
        if not trajectory.exists():
            save(trajectory, **drive)
        starts, step = recording.starts_ns, round(CHUNK_S * 1e9)
        curve = recording.intensity.values, recording.intensity.ranks
        read = (c.points_topic, curve, c.min_range_m, c.max_range_m, c.point_times)
        settings = (*read, c.voxel_m, c.tile_m, c.remove_moving)
        jobs = []
        for number, start in enumerate(starts):
            # bounds are exclusive: the last chunk has none, so that it holds the last message
            stop = start + step if number + 1 < len(starts) else None
            out = self.out("accumulate", recording.fingerprint, trajectory, start, stop, *settings)
            jobs.append(AccumulateJob(recording.path, start, stop, trajectory, recording.intensity, c, out))
        return jobs

    def clean(self, chunks: Sequence[Path]) -> dict[Tile, CleanJob]:
        """One job for each tile that any chunk has voxels in."""
        c = self.config
        parts: dict[Tile, list[tuple[Path, int, int]]] = defaultdict(list)
        places = []
        for chunk in chunks:
            data = load(chunk, "tiles", "spans", "poses")
            places.append(data["poses"][:, :2, 3])
            for tile, (start, end) in zip(data["tiles"].tolist(), data["spans"].tolist(), strict=True):
                parts[tuple(tile)].append((chunk, start, end))
        observing, reach = observing_chunks(places), observation_reach(c.tile_m)
        chunk_of = np.repeat(observing, [len(places[number]) for number in observing])
        images = cKDTree(np.concatenate([np.zeros((0, 2)), *(places[number] for number in observing)]))
        jobs = {}
        for tile in sorted(parts, key=lambda t: (t[1], t[0])):
            middle = (np.array(tile) + 0.5) * c.tile_m
            near = [chunks[k] for k in sorted({chunk_of[i] for i in images.query_ball_point(middle, reach)})]
            out = self.out("clean", tile, parts[tile], near, c.voxel_m, c.tile_m, c.remove_moving)
            jobs[tile] = CleanJob(tile, tuple(parts[tile]), tuple(near), c, out)
        return jobs

    def score_views(self, points: dict[Tile, Path], drives: Sequence[Trajectory], model: Model) -> list[ScoreViewsJob]:
        """One job for some virtual views along the paths; views that several bags have in common are scored once."""
        c, jobs, tiles = self.config, {}, _TileIndex(points, self.config.tile_m)
        assert c.heat_model is not None  # `model` is of that name
        for drive in drives:
            views = virtual_views_along(drive.poses)
            for first in range(0, len(views), VIEWS_PER_JOB):
                some = tuple(views[first : first + VIEWS_PER_JOB])
                places = np.array([view.T_map_base[:2, 3] for view in some])
                near = tiles.within(places, VIEW_SAMPLING.max_depth_m + max(map(abs, VIEW_SAMPLING.beside_m)))
                poses = [(view.T_map_base, view.beside_m, view.yaw_deg) for view in some]
                out = self.out("score_views", poses, near, c.tile_m, model.sha256)
                jobs[out] = ScoreViewsJob(some, near, c.tile_m, c.heat_model, model.sha256, out)
        return list(jobs.values())

    def heat(self, points: dict[Tile, Path], views: Sequence[ScoreViewsJob], full_scale: float) -> dict[Tile, HeatJob]:
        """One job for each tile; `full_scale` is the mean score that is heat 1."""
        seen: dict[Tile, list[Path]] = defaultdict(list)
        for job in views:
            for tile, _ in job.tiles:
                seen[tile].append(job.out)
        jobs = {}
        for tile, path in points.items():
            out = self.out("heat", tile, path, seen[tile], full_scale)
            jobs[tile] = HeatJob(tile, path, tuple(seen[tile]), full_scale, out)
        return jobs

    def select(
        self, points: dict[Tile, Path], heats: dict[Tile, Path] | None, drives: Sequence[Trajectory], bytes_per_m: float
    ) -> list[SelectJob]:
        """One job for some segments of the path."""
        c = self.config
        parts = [path_segments(drive.poses[:, :3, 3], SEGMENT_M, bytes_per_m, EXTRAPOLATE_M) for drive in drives]
        centers, budgets = merge_duplicates(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        reach, jobs, tiles = c.max_range_m + SEGMENT_M, [], _TileIndex(points, c.tile_m)
        for first in range(0, len(centers), SEGMENTS_PER_JOB):
            own = np.arange(first, min(first + SEGMENTS_PER_JOB, len(centers)))
            # segments that could be nearer to a point within reach
            low, high = centers[own, :2].min(0) - 2 * reach, centers[own, :2].max(0) + 2 * reach
            around = np.flatnonzero(((centers[:, :2] >= low) & (centers[:, :2] <= high)).all(axis=1))
            near = tiles.within(centers[own, :2], reach)
            if not near:
                continue
            allowed = np.where(np.isin(around, own), budgets[around], 0)
            heats_near = tuple(heats[tile] for tile, _ in near) if heats else ()
            out = self.out("select", centers[around], allowed, reach, near, heats_near, c.voxel_m, *self._format())
            jobs.append(SelectJob(centers[around], allowed, reach, near, heats_near, c, out))
        return jobs

    def pack(
        self, points: dict[Tile, Path], heats: dict[Tile, Path] | None, choices: Sequence[SelectJob] | None
    ) -> dict[Tile, PackJob]:
        """One job for each tile."""
        c, keepers = self.config, defaultdict(list)
        for job in choices or ():
            for tile, _ in job.tiles:
                keepers[tile].append(job.out)
        jobs = {}
        for tile, path in points.items():
            kept = None if choices is None else tuple(keepers[tile])
            heat = heats[tile] if heats else None
            out = self.out("pack", tile, path, heat, kept, *self._format())
            jobs[tile] = PackJob(tile, path, heat, kept, c, out)
        return jobs

    def _format(self) -> tuple[float, float | None, tuple[int, int]]:
        """The settings that the bytes of a tile depend on, besides its points."""
        c = self.config
        return c.tile_m, c.resolution_m, layout.VERSION


class _TileIndex:
    """Results by tile, found by position."""

    def __init__(self, points: dict[Tile, Path], tile_m: float):
        self._items = tuple(points.items())
        self._middles = (np.array([tile for tile, _ in self._items]).reshape(-1, 2) + 0.5) * tile_m
        self._tree, self._half = cKDTree(self._middles), tile_m / 2

    def within(self, places: np.ndarray, radius: float) -> tuple[tuple[Tile, Path], ...]:
        """The tiles within `radius` metres of any of the positions (P, 2), in their order."""
        found: set[int] = set()
        for place, near in zip(places, self._tree.query_ball_point(places, radius + self._half * 2**0.5), strict=True):
            gap = np.maximum(np.abs(self._middles[near] - place) - self._half, 0)
            found.update(np.array(near)[np.square(gap).sum(axis=1) <= radius**2].tolist() if near else ())
        return tuple(self._items[k] for k in sorted(found))


def results(jobs: Mapping[Tile, Job]) -> dict[Tile, Path]:
    """The results of jobs by tile."""
    return {tile: job.out for tile, job in jobs.items()}
