# SPDX-License-Identifier: Apache-2.0
"""Renders the frames of a run, in order, on as many processes as wanted."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .lidar import LidarScan, sample_lidar_scan
from .runs import Run, Settings, plan_run

# Sensors resolve about 2 mm; a power of two leaves zero bits that compress well.
RESOLUTION = 1.0 / 512.0
_worker_run: Run | None = None


@dataclass(frozen=True)
class FrameJob:
    """One frame to make."""

    kind: str  # "scan" or "image"
    index: int
    time: float  # seconds since the start of the run


def frames(run: Run, jobs: Iterable[FrameJob]) -> Iterator[np.ndarray | LidarScan]:
    """Frames in the order of the jobs. Each depends on its job only, so the processes do not matter."""
    if run.settings.workers < 1:
        yield from (make_frame(run, job) for job in jobs)
        return
    # spawn: the ray caster's threads would not survive a fork
    context = multiprocessing.get_context("spawn")
    plan = (run.name, run.seed, run.length, run.settings)
    with context.Pool(run.settings.workers, _start_worker, plan) as pool:
        yield from pool.imap(_work, jobs, chunksize=2)


def make_frame(run: Run, job: FrameJob) -> np.ndarray | LidarScan:
    """An image (h, w, 3) uint8 or a sweep."""
    settings = run.settings
    pose = run.drive.pose(job.time)
    if job.kind == "image":
        T_map_camera = pose @ run.rig.T_base_camera
        return run.world.render_image(T_map_camera, settings.intrinsics, settings.width, settings.height, job.time)
    end = run.drive.pose(job.time + settings.sweep_time)
    mount = run.rig.T_base_lidar
    scan = sample_lidar_scan(run.world, pose @ mount, end @ mount, job.time, settings.azimuths, settings.beams,
                             settings.sweep_time)
    xyz = np.round(scan.xyz / RESOLUTION) * RESOLUTION
    return LidarScan(xyz.astype(np.float32), np.round(scan.intensity * 255) / np.float32(255), scan.ring, scan.time)


def _start_worker(name: str, seed: int, length: float, settings: Settings) -> None:
    global _worker_run
    _worker_run = plan_run(name, seed, length, settings)


def _work(job: FrameJob) -> np.ndarray | LidarScan:
    return make_frame(_worker_run, job)
