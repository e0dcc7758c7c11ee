# SPDX-License-Identifier: Apache-2.0
"""Where training shards come from: synthetic worlds and KITTI drives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..datasets.kitti import Sequence
from ..errors import InputError
from ..geometry import Camera, inverse, make_pose, project, transform, z_buffer
from ..mapping.builder import clean
from ..mapping.cloud import VoxelCloud
from ..mapping.config import BuildConfig
from ..mapping.moving import RangeImage, Thinner
from ..mapping.scans import PlacedScan
from .shards import shrink, write_shard

KITTI_WIDTH = 640


def kitti_frames(text: str, count: int) -> list[int]:
    """Frame numbers of ``"all"``, ``"0-109"`` or ``"120-143"``."""
    if text == "all":
        return list(range(count))
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit()):
        raise InputError(f"frames {text!r}: expected 'all' or a range such as 0-109")
    return list(range(int(first), min(int(last) + 1, count)))


def kitti_shard(root: Path, sequence: str, out: Path, frames: str = "all", queries: str = "odd", voxel=0.1):
    """A shard of a KITTI sequence: odd frames in the map of the even ones, or the other way round.

    The map is cleaned as the builder cleans it: traffic would else lie smeared over the street. `frames` limits
    which images are used; the map uses all scans of the other parity.
    """
    source = Sequence(root, sequence)
    if source.truth is None:
        raise InputError(f"{source.truth_path}: not there, training needs true poses")
    T_lidar_camera = inverse(source.calibration.T_camera_lidar)
    parity = {"odd": 1, "even": 0}[queries]

    def placed(k: int) -> PlacedScan:
        scan = source.scan(k)
        distance = np.linalg.norm(scan[:, :3], axis=1)
        scan = scan[(distance > 2.7) & (distance < 80)]
        pose = source.truth.poses[k]
        return PlacedScan(int(source.stamps[k]), transform(pose, scan[:, :3].astype(float)), scan[:, 3], pose)

    config = BuildConfig(voxel_m=voxel)
    cloud, thinner, beams = VoxelCloud(voxel), Thinner(config.moving), []
    for k in range(1 - parity, len(source.stamps), 2):
        scan = placed(k)
        cloud.add(scan.points, scan.intensity)
        if thinner.wants(scan):
            beams.append(RangeImage.of(scan))
    points = clean(cloud.to_points(), beams, config, lambda *stage: None)
    K = source.calibration.matrix
    images, cameras, truth, depths = [], [], [], []
    for k in kitti_frames(frames, len(source.stamps)):
        if k % 2 != parity:
            continue
        image = source.image(k)
        camera = Camera(image.shape[1], image.shape[0], K[0, 0], K[1, 1], K[0, 2], K[1, 2])
        image, camera = shrink(image, camera, KITTI_WIDTH)
        images.append(image)
        cameras.append(camera)
        truth.append(source.truth.poses[k] @ T_lidar_camera)
        # what the image shows, as far as its own scan tells; for the labels alone, the map never holds it
        nearest, _ = z_buffer(*project(placed(k).points, inverse(truth[-1]), camera), camera, 0.2)
        depths.append(np.where(np.isfinite(nearest), nearest, np.nan))
    xyz = points.points + points.origin.astype(np.float32)
    write_shard(out, images, cameras, truth, depths, xyz, points.intensity)


def synthetic_shard(seed: int, out: Path, length: float = 240.0, images: int = 160, voxel=0.1):
    """A shard of a synthetic world: mapped on one day, seen on two others from anywhere on the road.

    Camera height, pitch, roll, heading, lateral position and field of view vary widely: a network that meets
    only one mounting learns the mounting instead of looking at the image.
    """
    from ..datasets.synthetic.lidar import deskew, sample_lidar_scan
    from ..datasets.synthetic.world import World

    rng = np.random.default_rng([seed, 77])
    world = World.generate(seed, length, day=0)
    if seed % 4:
        # most maps are clean, as the builder leaves them; some keep the smear of moving cars
        world = replace(world, geometry=replace(world.geometry, vehicles=()))
    path = world.route(world.lanes[0], wander_amplitude=0.3, seed=seed)
    T_base_lidar = make_pose(np.eye(3), (0.0, 0.0, rng.uniform(1.5, 2.0)))
    cloud = VoxelCloud(voxel)
    step = 0.7
    for k, s in enumerate(np.arange(0.0, path.length - step, rng.uniform(1.2, 1.8))):
        a, b = path.pose(s) @ T_base_lidar, path.pose(s + step) @ T_base_lidar
        scan = sample_lidar_scan(world, a, b, time=0.2 * k, azimuths=1024)
        cloud.add(deskew(scan, a, b), scan.intensity)
    points = cloud.to_points()
    width, height = 400, 120
    pictures, cameras, poses, depths = [], [], [], []
    for day in (1, 2):
        world = World.generate(seed, length, day=day)
        for _ in range(images // 2):
            side = rng.uniform(-world.half_road + 1.0, world.half_road - 1.0)
            where = world.route(side)
            f = width * rng.uniform(0.45, 0.8)
            camera = Camera(width, height, f, f, width * rng.uniform(0.47, 0.53), height * rng.uniform(0.4, 0.55))
            T_base_camera = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), (0, 0, rng.uniform(1.1, 2.3)))
            turn = Rotation.from_euler("zyx", rng.normal(0, (6, 3, 1.5)), degrees=True)
            pose = where.pose(rng.uniform(3, where.length - 12)) @ make_pose(turn, (0, 0, 0)) @ T_base_camera
            k = (camera.fx, camera.fy, camera.cx, camera.cy)
            time = rng.uniform(0, 40)
            pictures.append(world.render_image(pose, k, width, height, time=time))
            depths.append(world.depth_image(pose, k, width, height, time=time))
            cameras.append(camera)
            poses.append(pose)
    xyz = points.points + points.origin.astype(np.float32)
    write_shard(out, pictures, cameras, poses, depths, xyz, points.intensity, seed)
