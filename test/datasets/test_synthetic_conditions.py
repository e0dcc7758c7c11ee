# SPDX-License-Identifier: Apache-2.0
"""Robots that carry the sensors, dusk and night, wet ground."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lhmap_loc_ros.datasets.synthetic.frames import FrameJob, make_frame
from lhmap_loc_ros.datasets.synthetic.lens import lens_of
from lhmap_loc_ros.datasets.synthetic.light import Light
from lhmap_loc_ros.datasets.synthetic.runs import Settings, plan_run
from lhmap_loc_ros.datasets.synthetic.sensors import CameraSpec, LidarSpec
from lhmap_loc_ros.datasets.synthetic.world import World
from lhmap_loc_ros.errors import InputError

SEED, LENGTH = 6, 40.0
SMALL = Settings(
    CameraSpec.pinhole(96, 54, 60.0, rate=1.0),
    LidarSpec(elevations_deg=(-20.0, -12.0, -6.0, -2.0, 2.0), azimuths=128, rate=1.0),
    workers=0,
)


@pytest.fixture(scope="module")
def world():
    return World.generate(SEED, LENGTH, 1)


def at(world, light="day", wet=False):
    """The same town in another light: nothing is built again."""
    return replace(world, light=Light.generate(np.random.default_rng([SEED, 3, 1]), light), wet=wet)


def pitch_roll(run):
    poses = [run.drive.pose(t) for t in np.arange(1.0, 9.0, 0.05)]
    return np.degrees(Rotation.from_matrix([p[:3, :3] for p in poses]).as_euler("zyx")[:, 1:])


def test_each_robot_carries_its_camera_at_its_height_and_speed():
    expected = {"car": (1.35, 1.95, 5, 9), "cart": (0.8, 1.2, 1, 2), "dog": (0.3, 0.6, 0.7, 1.7)}
    for robot, (low, high, slow, fast) in expected.items():
        run = plan_run("query", SEED, LENGTH, replace(SMALL, robot=robot))
        assert low <= run.rig.T_base_camera[2, 3] <= high
        assert slow < np.linalg.norm(run.drive.pose(4.0)[:3, 3] - run.drive.pose(3.0)[:3, 3]) < fast


def test_a_sensor_may_be_mounted_at_a_height_of_its_own():
    high = SMALL.camera.model_copy(update={"mount_height": 2.4})
    run = plan_run("query", SEED, LENGTH, replace(SMALL, camera=high, robot="dog"))
    assert run.rig.T_base_camera[2, 3] == 2.4


def test_a_dog_sways_by_degrees_and_a_cart_does_not():
    dog, cart = (pitch_roll(plan_run("query", SEED, LENGTH, replace(SMALL, robot=r))).std(0) for r in ("dog", "cart"))
    assert (dog > 0.7).all() and (dog < 4.0).all() and (cart < dog).all()


@pytest.mark.parametrize("seed", [3, 7])
def test_slow_robots_stand_on_the_ground_and_run_into_nothing(seed):
    world = World.generate(seed, LENGTH, 1)
    run = plan_run("query", seed, LENGTH, replace(SMALL, robot="cart"))
    for t in np.linspace(0.5, run.drive.duration, 25):
        pose = run.drive.pose(t)
        above = (pose[:3, 3] + pose[:3, 2])[None]
        down, _ = world.scan_rays(above, -pose[None, :3, 2], 0.0)
        assert not np.isfinite(down[0]) or down[0] == pytest.approx(1.0, abs=0.14)
        ahead, _ = world.scan_rays(above - 0.4 * pose[:3, 2], pose[None, :3, 0], 0.0)
        assert ahead[0] > 0.4


def test_night_is_darker_than_dusk_and_dusk_than_day_and_lamps_light_it(world):
    run = plan_run("query", SEED, LENGTH, SMALL)
    job = FrameJob("image", 0, 2.0)
    day, dusk, night = (make_frame(at(world, light), run, job).astype(float) for light in ("day", "dusk", "night"))
    assert day.mean() > dusk.mean() > night.mean() > 5
    assert night[:10].mean() < 0.5 * day[:10].mean()
    unlit = replace(at(world, "night"), geometry=replace(world.geometry, lamps=np.zeros((0, 4)), vehicles=()))
    assert np.abs(make_frame(unlit, run, job) - night).mean() > 2


def test_headlights_light_what_lies_ahead(world):
    run = plan_run("query", SEED, LENGTH, replace(SMALL, robot="cart"))
    dark = at(world, "night")
    pose = run.drive.pose(3.0)
    lit = make_frame(dark, run, FrameJob("image", 0, 3.0)).astype(float)
    without = dark.photograph(pose @ run.rig.T_base_camera, lens_of(SMALL.camera), 3.0).astype(float)
    middle = np.s_[36:50, 30:66]
    assert lit[middle].mean() - lit.mean() > without[middle].mean() - without.mean() + 5


def test_wet_ground_returns_less_to_the_lidar(world):
    run = plan_run("mapping", SEED, LENGTH, SMALL)
    job = FrameJob("scan", 0, 2.0)
    dry, wet = (make_frame(at(world, wet=w), run, job) for w in (False, True))
    ground = [s.xyz[:, 2] < -1.4 for s in (dry, wet)]
    assert ground[1].sum() <= ground[0].sum()
    assert np.median(wet.intensity[ground[1]]) < 0.6 * np.median(dry.intensity[ground[0]])


def test_wet_ground_mirrors(world):
    run = plan_run("query", SEED, LENGTH, SMALL)
    job = FrameJob("image", 0, 2.0)
    dry, wet = (make_frame(at(world, wet=w), run, job).astype(float) for w in (False, True))
    assert np.abs(dry - wet)[:10].mean() < 4 < np.abs(dry - wet)[35:].mean()


def test_same_seed_and_options_same_frames():
    settings = replace(SMALL, robot="dog", light="night", wet=True)
    frames = []
    for _ in range(2):
        world = World.generate(SEED, 20.0, 1, light="night", wet=True)
        image = make_frame(world, plan_run("query", SEED, 20.0, settings), FrameJob("image", 0, 2.0))
        scan = make_frame(world, plan_run("mapping", SEED, 20.0, settings), FrameJob("scan", 0, 2.0))
        frames.append([image, scan.xyz, scan.intensity, scan.time])
    assert all(np.array_equal(a, b) for a, b in zip(*frames, strict=True))


def test_an_unknown_robot_or_light_is_named():
    with pytest.raises(InputError, match="robot: 'boat' found, expected one of car, cart, dog"):
        Settings(robot="boat")
    with pytest.raises(InputError, match="light: 'noon' found, expected one of day, dusk, night"):
        Settings(light="noon")
