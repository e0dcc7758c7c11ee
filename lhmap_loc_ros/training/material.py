# SPDX-License-Identifier: Apache-2.0
"""Where training shards come from: synthetic worlds and drives of data sets. For bags see `bag_material`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.spatial.transform import Rotation

from ..datasets.camera_lidar import CameraLidarDrive, nearest_scans
from ..datasets.frames import frame_numbers
from ..datasets.synthetic.robots import heights_off_road
from ..errors import InputError
from ..geometry import Camera, inverse, make_pose, project, transform, z_buffer
from ..lhmap import MapPoints
from ..mapping.cleaning import find_static
from ..mapping.cloud import VoxelCloud
from ..mapping.moving import KeyframeSelector, RangeImage
from ..mapping.scans import PlacedScan
from ..places.virtual_poses import BASE_FROM_OPTICAL
from .bag_scans import OWN_SCAN_NS
from .shards import shrink, write_shard

if TYPE_CHECKING:
    from ..datasets.image_pairs import ImagePairs
    from ..datasets.synthetic.world import World

WIDTH = 1280
"""Wider images are shrunk to so many pixels unless another width is asked for."""
SYNTHETIC_WIDTH, SYNTHETIC_ASPECT = 640, 0.7
"""Width of rendered images [pixels], and height over width: parts of them are what cameras of other shapes see."""
LIDAR_M, CAMERA_M = (1.5, 2.0), (0.35, 2.5)
"""Heights over the road that mappers and cameras of a world are drawn from."""
FOOTWAY_BEAMS = (16, 32, 64, 128)
"""How many beams the LiDARs of robots on the footpath have."""
APART_M = 200.0
"""From the origin of one place to that of the next in a shard of places that have nothing to do with each other."""
FLOAT32_M = 10_000.0
"""Shards are float32, which is a millimetre up to here: maps that lie further from zero, as in UTM, are moved to it."""


def drive_shard(
    drive: CameraLidarDrive,
    out: Path,
    frames: str = "all",
    queries: Literal["odd", "even"] = "odd",
    voxel: float = 0.1,
    width: int = WIDTH,
) -> None:
    """A shard of a drive: odd frames in the map of the even ones, or the other way round.

    A frame is a scan with the images nearest to it in time. The map is cleaned as the builder cleans it: traffic
    would else lie smeared over the street. `frames` (see `frame_numbers`) limits which images are used; the map
    uses all scans of the other parity. Raises InputError if the true poses are not known or no image is left.
    """
    if drive.truth is None:
        raise InputError(f"{drive.truth_path}: not there, training needs true poses")
    parity = {"odd": 1, "even": 0}[queries]
    own, apart = nearest_scans(drive)
    wanted = {k for k in frame_numbers(frames, len(drive.scan_stamps)) if k % 2 == parity}
    chosen = [k for k in range(len(own)) if int(own[k]) in wanted]
    if not chosen:
        raise InputError(f"{drive.truth_path}: no image belongs to the {queries} ones of the frames {frames!r}")
    points = _merged(drive, range(1 - parity, len(drive.scan_stamps), 2), voxel)
    K = drive.calibration.matrix
    images, cameras, depths = [], [], []
    poses = drive.truth.at(drive.image_stamps[chosen]) @ drive.calibration.T_base_camera
    for k, pose in zip(chosen, poses, strict=True):
        image = drive.image(k)
        camera = Camera(image.shape[1], image.shape[0], K[0, 0], K[1, 1], K[0, 2], K[1, 2])
        image, camera = shrink(image, camera, width)
        images.append(image)
        cameras.append(camera)
        near = apart[k] <= OWN_SCAN_NS
        depths.append(shown_depth(_placed(drive, own[k]).points, pose, camera) if near else unknown_depth(camera))
    if np.abs(points.origin).max() > FLOAT32_M:
        poses[:, :3, 3] -= points.origin
        xyz = points.points
    else:
        xyz = points.points + points.origin.astype(np.float32)
    write_shard(out, images, cameras, poses, depths, xyz, points.intensity)


def pairs_shard(pairs: ImagePairs, names: list[str], out: Path, width: int = WIDTH) -> None:
    """A shard of places seen once, each image in the scan taken with it.

    Raises InputError where `names` names none, BagError for a missing place.
    """
    if not names:
        raise InputError(f"{pairs.root}: no place is left of {len(pairs.names)}, expected one at least")
    images, cameras, poses, depths, clouds, intensities = [], [], [], [], [], []
    for number, name in enumerate(names):
        place = pairs.place(name)
        corner = np.array([number % 10, number // 10, 0.0]) * APART_M
        keep = np.linalg.norm(place.points, axis=1) < 80
        points = place.points[keep] + corner
        for image, camera, pose in zip(place.images, place.cameras, place.poses, strict=True):
            pose = make_pose(pose[:3, :3], pose[:3, 3] + corner)
            image, camera = shrink(image, camera, width)
            images.append(image)
            cameras.append(camera)
            poses.append(pose)
            depths.append(shown_depth(points, pose, camera))
        clouds.append(points)
        intensities.append(place.intensity[keep])
    _to_one_size(images, cameras, depths)
    write_shard(out, images, cameras, poses, depths, np.concatenate(clouds), np.concatenate(intensities))


def _to_one_size(images: list, cameras: list, depths: list) -> None:
    """Cuts images, in place, to the size that all of them have, at the right and below."""
    width, height = min(c.width for c in cameras), min(c.height for c in cameras)
    images[:] = [image[:height, :width] for image in images]
    depths[:] = [depth[:height, :width] for depth in depths]
    cameras[:] = [camera.cropped(0, 0, width, height) for camera in cameras]


def _merged(drive: CameraLidarDrive, numbers: range, voxel: float) -> MapPoints:
    """The map of some scans, without what moved."""
    cloud, keyframes, beams = VoxelCloud(voxel), KeyframeSelector(), []
    for number in numbers:
        scan = _placed(drive, number)
        cloud.add(scan.points, scan.intensity)
        if keyframes.is_keyframe(scan):
            beams.append(RangeImage.of(scan))
    points = cloud.to_points()
    return points.select(find_static(points.points, points.origin, beams))


def _placed(drive: CameraLidarDrive, number: int) -> PlacedScan:
    """A scan in the map frame, without the car itself."""
    scan, stamp = drive.scan(int(number)), int(drive.scan_stamps[number])
    distance = np.linalg.norm(scan[:, :3], axis=1)
    scan = scan[(distance > 2.7) & (distance < 80)]
    pose = drive.truth.at(stamp) @ drive.calibration.T_base_lidar
    return PlacedScan(stamp, transform(pose, scan[:, :3].astype(float)), scan[:, 3], pose)


def shown_depth(points: np.ndarray, T_map_camera: np.ndarray, camera: Camera) -> np.ndarray:
    """What the image shows, as far as its own scan (N, 3), map frame, tells: depth (H, W) [m], NaN elsewhere.

    For the labels alone; the map need not hold these points.
    """
    nearest, _ = z_buffer(*project(points, inverse(T_map_camera), camera), camera, 0.2)
    return np.where(np.isfinite(nearest), nearest, np.nan)


def unknown_depth(camera: Camera) -> np.ndarray:
    """The depth (H, W) of an image without a scan: NaN."""
    return np.full((camera.height, camera.width), np.nan, np.float32)


def synthetic_shard(
    seed: int,
    out: Path,
    length: float = 240.0,
    images: int = 160,
    voxel: float = 0.1,
    character: str | None = None,
    width: int = SYNTHETIC_WIDTH,
    footway: bool = False,
) -> None:
    """A shard of a synthetic world: mapped on one day, seen on two others from anywhere on the road.

    Camera height, pitch, roll, heading, lateral position and field of view vary widely: a network that meets
    only one mounting learns the mounting instead of looking at the image. With `footway` low robots map and see the
    world from its footpath, near walls and parked cars.
    """
    from ..datasets.synthetic.world import World

    rng = np.random.default_rng([seed, 77])
    world = World.generate(seed, length, 0, character)
    if seed % 16:
        # most maps are clean, as the builder leaves them; a few keep the smear of moving cars
        world = replace(world, geometry=replace(world.geometry, vehicles=()))
    points = _mapped(world, voxel, footway, rng)
    seen = []
    for day in (1, 2):
        world = World.generate(seed, length, day, character)
        seen += [_photographed(world, width, footway, rng) for _ in range(images // 2)]
    xyz = points.points + points.origin.astype(np.float32)
    write_shard(out, *zip(*seen, strict=True), xyz, points.intensity, seed)


def _mapped(world: World, voxel: float, footway: bool, rng: np.random.Generator) -> MapPoints:
    """The map of a world, scanned from a lane or its footpath."""
    from ..datasets.synthetic.lidar import BEAMS, deskew, sample_lidar_scan

    path = world.course.footway(rng) if footway else world.route(world.lanes[0], wander_amplitude=0.3, seed=world.seed)
    heights = heights_off_road("lidar") if footway else LIDAR_M
    T_base_lidar = make_pose(np.eye(3), (0.0, 0.0, rng.uniform(*heights)))
    beams = int(rng.choice(FOOTWAY_BEAMS)) if footway else BEAMS
    cloud = VoxelCloud(voxel)
    # metres driven during a sweep, and from one to the next
    step, apart = (0.13, rng.uniform(0.4, 0.8)) if footway else (0.7, rng.uniform(1.2, 1.8))
    for k, s in enumerate(np.arange(0.0, path.length - step, apart)):
        a, b = path.pose(s) @ T_base_lidar, path.pose(s + step) @ T_base_lidar
        scan = sample_lidar_scan(world, a, b, time=0.2 * k, azimuths=1024, beams=beams)
        cloud.add(deskew(scan, a, b), scan.intensity)
    return cloud.to_points()


def _photographed(
    world: World, width: int, footway: bool, rng: np.random.Generator
) -> tuple[np.ndarray, Camera, np.ndarray, np.ndarray]:
    """An image (H, W, 3) from somewhere on the road or the footpath, its camera, pose (4, 4) and depth (H, W) [m]."""
    side = rng.uniform(-world.half_road + 1.0, world.half_road - 1.0)
    path = world.course.footway(rng) if footway else world.route(side)
    height, f = round(SYNTHETIC_ASPECT * width), width * rng.uniform(0.38, 0.8)
    camera = Camera(width, height, f, f, width * rng.uniform(0.47, 0.53), height * rng.uniform(0.4, 0.55))
    heights = heights_off_road("camera") if footway else CAMERA_M
    T_base_camera = make_pose(BASE_FROM_OPTICAL, (0, 0, rng.uniform(*heights)))
    turn = Rotation.from_euler("zyx", rng.normal(0, (6, 3, 1.5)), degrees=True)
    pose = path.pose(rng.uniform(3, path.length - 12)) @ make_pose(turn, (0, 0, 0)) @ T_base_camera
    k, time = (camera.fx, camera.fy, camera.cx, camera.cy), rng.uniform(0, 40)
    image = world.render_image(pose, k, width, height, time=time)
    return image, camera, pose, world.depth_image(pose, k, width, height, time=time)
