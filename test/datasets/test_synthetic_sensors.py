# SPDX-License-Identifier: Apache-2.0
"""Cameras and LiDARs of the simulator: their rays, what they tell, and how they are named."""

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree

from lhmap_loc_ros.configuration import dump
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.synthetic.lens import lens_of, unproject
from lhmap_loc_ros.datasets.synthetic.lidar import sweep
from lhmap_loc_ros.datasets.synthetic.runs import Settings
from lhmap_loc_ros.datasets.synthetic.sensors import CAMERAS, LIDARS, CameraSpec, LidarSpec, camera_named, lidar_named
from lhmap_loc_ros.datasets.synthetic.simulate import simulate
from lhmap_loc_ros.datasets.synthetic.world import World
from lhmap_loc_ros.errors import ConfigError, InputError
from lhmap_loc_ros.geometry import Rectifier

OPTICAL = np.array([[0, 0, 1, 0.3], [-1, 0, 0, 0], [0, -1, 0, 1.65], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def world():
    return World.generate(5, 40.0, day=0, character="suburb")


def raised(pose):
    """A sensor 1.7 m above the ground."""
    pose = pose.copy()
    pose[2, 3] += 1.7
    return pose


@pytest.fixture(scope="module")
def street(world):
    return world.route(world.lanes[0]).pose(15.0)


def test_rays_of_a_distorted_camera_are_those_of_opencv():
    rational = CameraSpec.pinhole(
        640, 480, 400.0, distortion_model="rational_polynomial", d=(0.2, -0.05, 1e-3, -1e-3, 0.01, 0.3, -0.02, 0.01)
    )
    pixels = np.random.default_rng(0).uniform(0, 1, (500, 2))
    for spec in (CAMERAS["action"], rational):
        at = pixels * (spec.width - 1, spec.height - 1)
        rays = unproject(spec, at)
        back, _ = cv2.projectPoints(rays / rays[:, 2:], np.zeros(3), np.zeros(3), spec.matrix, np.array(spec.d))
        assert np.abs(back[:, 0] - at).max() < 1e-3
        assert np.allclose(np.linalg.norm(rays, axis=1), 1.0)


def test_rays_of_the_fisheye_are_those_of_opencv_and_reach_behind_the_camera():
    spec = CAMERAS["fisheye"]
    at = np.random.default_rng(0).uniform(250, 780, (500, 2))
    rays = unproject(spec, at)
    back, _ = cv2.fisheye.projectPoints(rays[:, None], np.zeros(3), np.zeros(3), spec.matrix, np.array(spec.d))
    assert np.abs(back[:, 0] - at).max() < 1e-3
    left, right = unproject(spec, np.array([[0.0, 511.5], [1023.0, 511.5]]))
    across = np.degrees(2 * np.pi - np.arccos(left @ right))
    assert across == pytest.approx(190.0, abs=1.0) and left[2] < 0


@pytest.mark.parametrize(("name", "degrees"), [("kitti", 81), ("realsense", 69), ("action", 110), ("default", 81.5)])
def test_a_preset_sees_as_much_as_it_says(name, degrees):
    spec = CAMERAS[name]
    middle = (spec.height - 1) / 2
    left, right = unproject(spec, np.array([[-0.5, middle], [spec.width - 0.5, middle]]))
    assert np.degrees(np.arccos(left @ right)) == pytest.approx(degrees, abs=0.5)


def test_a_distorted_image_rectified_is_the_pinhole_image(world, street):
    d = (-0.2, 0.04, 0.001, -0.001, 0.0)
    bent = CameraSpec.pinhole(320, 180, 200.0, d=d)
    T = street @ OPTICAL
    raw = world.photograph(T, lens_of(bent))
    straight = world.render_image(T, bent.intrinsics, 320, 180)
    rectified = Rectifier(320, 180, bent.matrix, d)(raw).astype(float)
    inside = np.s_[40:140, 60:260]
    assert np.abs(rectified - straight)[inside].mean() < 0.65 * np.abs(raw.astype(float) - straight)[inside].mean()
    assert np.median(np.abs(rectified - straight)[inside]) < 8


def test_a_fisheye_is_black_outside_its_circle_alone(world, street):
    spec = CameraSpec.pinhole(96, 96, 28.7, distortion_model="equidistant", d=(0.0,) * 4, fov_deg=190.0)
    image = world.photograph(street @ OPTICAL, lens_of(spec))
    cols, rows = np.meshgrid(np.arange(96), np.arange(96))
    away = np.hypot(cols - 47.5, rows - 47.5)
    assert not image[away > 49].any()
    assert (image[away < 46].max(1) > 10).mean() > 0.95


def test_a_file_of_the_same_fields_is_the_same_sensor(tmp_path):
    for presets, named in ((CAMERAS, camera_named), (LIDARS, lidar_named)):
        for name, spec in presets.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(dump(spec))
            assert named(path) == spec == named(name)


def test_what_is_no_sensor_is_named(tmp_path):
    with pytest.raises(InputError, match="camera: gopro is no file and none of default, kitti"):
        camera_named("gopro")
    path = tmp_path / "lidar.yaml"
    path.write_text("azimuths: 900\n")
    with pytest.raises(ConfigError, match=r"lidar.yaml: .*elevations_deg: missing"):
        lidar_named(path)
    path.write_text("elevations_deg: [0]\nrate: 20\n")
    with pytest.raises(ConfigError, match="sweep_time: 0.1 s found"):
        lidar_named(path)
    path.write_text("width: 640\nheight: 480\nk: [400, 0, 320, 0, 400, 240, 0, 0, 1]\nd: [0.1, 0.2]\n")
    with pytest.raises(ConfigError, match="2 numbers found, plumb_bob takes"):
        camera_named(path)
    folded = CameraSpec.pinhole(640, 480, 300.0, d=(-0.6, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="has no ray for pixel"):
        unproject(folded, np.array([[0.0, 0.0]]))


def test_beams_of_a_spinning_lidar_have_their_elevations(world, street):
    spec = LidarSpec(elevations_deg=(-15.0, -5.0, 3.0), azimuths=360, max_range=30.0)
    pose = raised(street)
    scan = sweep(world, np.stack([pose, pose]), 0.0, spec)
    distance = np.linalg.norm(scan.xyz, axis=1)
    elevation = np.degrees(np.arcsin(scan.xyz[:, 2] / distance))
    assert np.allclose(elevation, np.array(spec.elevations_deg)[scan.ring], atol=0.01)
    assert distance.max() < 30.1


def test_a_solid_state_lidar_looks_ahead_and_never_twice_the_same_way(world, street):
    spec = LIDARS["solid-state"].model_copy(update={"points": 4000})
    pose = raised(street)
    scans = [sweep(world, np.stack([pose, pose]), t, spec) for t in (0.0, 0.1)]
    first, second = (s.xyz / np.linalg.norm(s.xyz, axis=1, keepdims=True) for s in scans)
    for directions in (first, second):
        assert 30 < np.degrees(np.arccos(directions[:, 0])).max() < 35.1
    apart, _ = cKDTree(first).query(second)
    assert np.median(apart) > 0.002
    assert scans[0].ring is None


def test_intensity_is_told_as_the_sensor_does():
    value = np.array([0.0, 0.5, 1.0], np.float32)
    base = {"elevations_deg": (0.0,)}
    told = {kind: LidarSpec(intensity=kind, **base).encoded(value) for kind in ("unit", "8 bit", "16 bit", "none")}
    assert told["none"] is None
    assert told["unit"].max() == 1 and told["8 bit"].max() == 255
    assert told["16 bit"].dtype == np.uint16 and told["16 bit"].max() == 65535


def test_the_bags_tell_the_camera_and_the_intensity(tmp_path):
    fisheye = CameraSpec.pinhole(
        48, 48, 14.3, distortion_model="equidistant", d=(0.01, 0.0, 0.0, 0.0), fov_deg=190.0, rate=1.0
    )
    elevations = {"elevations_deg": (-15.0, -8.0, -3.0, 2.0), "azimuths": 64, "rate": 1.0}
    lidar = LidarSpec(intensity="16 bit", intensity_field="reflectivity", **elevations)
    simulate(tmp_path / "a", 9, 20.0, None, Settings(fisheye, lidar, odometry_period=0.1, workers=0))
    with BagReader(tmp_path / "a/query") as bag:
        info = next(iter(bag.messages(["/camera/camera_info"])))
    assert info.distortion_model == "equidistant" and info.distortion.tolist() == list(fisheye.d)
    assert np.allclose(info.matrix, fisheye.matrix)
    with BagReader(tmp_path / "a/mapping") as bag:
        scan = next(iter(bag.messages(["/points"])))
    assert 0.05 < scan.intensity.max() <= 1 and len(np.unique(scan.intensity)) > 100
    silent = Settings(fisheye, LidarSpec(intensity="none", **elevations), odometry_period=0.1, workers=0)
    simulate(tmp_path / "b", 9, 20.0, None, silent)
    with BagReader(tmp_path / "b/mapping") as bag:
        assert not next(iter(bag.messages(["/points"]))).intensity.any()
