# SPDX-License-Identifier: Apache-2.0
"""The procedural street: what stays, what changes, and whether its sensors agree."""

import numpy as np
import pytest

from lhmap_loc_ros.datasets.synthetic.lidar import deskew, sample_lidar_scan
from lhmap_loc_ros.datasets.synthetic.surfaces import Kind
from lhmap_loc_ros.datasets.synthetic.world import Course, World

T_BASE_CAMERA = np.array([[0, 0, 1, 0.3], [-1, 0, 0, 0], [0, -1, 0, 1.65], [0, 0, 0, 1.0]])
WIDTH, HEIGHT = 160, 48
K = (0.58 * WIDTH, 0.58 * WIDTH, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)


@pytest.fixture(scope="module")
def world():
    return World.generate(5, 40.0, day=0, character="suburb")


@pytest.fixture(scope="module")
def other_day():
    return World.generate(5, 40.0, day=1, character="suburb")


def camera_pose(world, s=15.0):
    return world.route(world.lanes[0]).pose(s) @ T_BASE_CAMERA


def lidar_pose(world, s=15.0):
    pose = world.route(world.lanes[0]).pose(s)
    pose[:3, 3] += 1.7 * pose[:3, 2]
    return pose


def test_same_seed_gives_the_same_world(world):
    again = World.generate(5, 40.0, day=0, character="suburb")
    assert np.array_equal(again.geometry.fixed, world.geometry.fixed)
    assert np.array_equal(again.geometry.surface, world.geometry.surface)
    image = world.render_image(camera_pose(world), K, WIDTH, HEIGHT, 2.0)
    assert np.array_equal(image, again.render_image(camera_pose(again), K, WIDTH, HEIGHT, 2.0))


def test_another_seed_gives_another_street(world):
    assert World.generate(6, 40.0).geometry.fixed.shape != world.geometry.fixed.shape


def test_another_day_leaves_the_houses_and_moves_the_cars(world, other_day):
    a, b = world.geometry, other_day.geometry
    assert a.permanent == b.permanent
    assert np.array_equal(a.fixed[: a.permanent], b.fixed[: b.permanent])
    assert np.array_equal(a.decals, b.decals)
    assert not np.array_equal(a.fixed[a.permanent :], b.fixed[b.permanent :])
    assert not np.array_equal(world.light.sun, other_day.light.sun)


def test_moving_cars_move_with_time(world):
    car = next(v for v in (v.at(0.0, world.geometry.line, world.geometry.terrain) for v in world.geometry.vehicles))
    vehicle = world.geometry.vehicles[0]
    later = vehicle.at(0.1, world.geometry.line, world.geometry.terrain)
    assert np.allclose(later.pose[:3, 3] - car.pose[:3, 3], 0.1 * car.velocity, atol=0.05)
    assert np.linalg.norm(car.velocity) > 3.0


def test_the_course_is_known_without_building_the_world(world):
    course = Course.generate(5, 40.0)
    assert np.array_equal(course.route(-1.0, 0.3, 2).pose(20.0), world.route(-1.0, 0.3, 2).pose(20.0))


def test_a_path_keeps_its_offset_and_stands_on_the_road(world):
    for s in (2.0, 20.0, 38.0):
        a, b = world.route(0.0).pose(s), world.route(-2.0).pose(s)
        assert np.allclose((np.linalg.inv(a) @ b)[:2, 3], [0.0, -2.0], atol=0.01)
        assert np.allclose(b[:3, :3] @ b[:3, :3].T, np.eye(3), atol=1e-9)
        down, _ = world.scan_rays(b[None, :3, 3] + [[0, 0, 1.0]], np.array([[0, 0, -1.0]]), 0.0)
        assert down[0] == pytest.approx(1.0, abs=0.06)


def test_markings_return_more_than_asphalt(world):
    decals = world.geometry.decals
    line, terrain = world.geometry.line, world.geometry.terrain
    paint = decals[(decals[:, 0] == 0) & (decals[:, 4] > 0.05)]
    other = (paint[:, 1] + 0.0, paint[:, 2] + 0.9)

    def intensity(s, d):
        x, y = line.offset(s, d)
        origins = np.stack([x, y, terrain.height(x, y) + 0.15], 1)
        return world.scan_rays(origins, np.tile([0.0, 0.0, -1.0], (len(origins), 1)), 0.0)[1]

    assert np.median(intensity(paint[:, 1], paint[:, 2])) > 2.0 * np.median(intensity(*other))


def test_windows_return_little(world):
    g = world.geometry
    glass = np.flatnonzero(g.kinds[g.surface[: g.permanent]] == Kind.WINDOW)[::5]
    corners = g.fixed[glass]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    aside = np.cross(normal, [0, 0, 1.0])
    direction = -(normal + 0.4 * aside) / np.linalg.norm(normal + 0.4 * aside, axis=1, keepdims=True)
    for sign in (1, -1):
        reach, _ = world.scan_rays(corners.mean(1) - 0.05 * sign * direction, sign * direction, 0.0)
        assert np.isfinite(reach).mean() < 0.6


def test_scan_points_lie_on_surfaces_though_the_sensor_moves(world):
    start, end = lidar_pose(world, 10.0), lidar_pose(world, 10.8)
    scan = sample_lidar_scan(world, start, end, time=1.0, azimuths=128)
    points = deskew(scan, start, end)
    # cast again from the pose at the middle of the sweep: what is seen from there is where the points are
    middle = 0.5 * (start[:3, 3] + end[:3, 3])
    direction = points - middle
    distance = np.linalg.norm(direction, axis=1)
    hits = world.caster.cast(
        np.tile(middle, (len(points), 1)).astype(np.float32), (direction / distance[:, None]).astype(np.float32)
    )
    assert np.mean(np.abs(hits.range - distance) < 0.1) > 0.9
    assert (np.diff(scan.time) >= 0).all() and 0 < scan.time[-1] < 0.1
    assert scan.ring.max() == 63 and scan.intensity.min() >= 0 and scan.intensity.max() <= 1


def test_the_image_shows_what_the_rays_hit(world):
    """Sky pixels of the picture are the rays that meet nothing."""
    T = camera_pose(world)
    cols, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    local = np.stack([(cols - K[2]) / K[0], (rows - K[3]) / K[1], np.ones_like(cols, float)], -1).reshape(-1, 3)
    direction = local / np.linalg.norm(local, axis=1, keepdims=True) @ T[:3, :3].T
    hits = world.caster.cast(np.tile(T[:3, 3], (len(local), 1)).astype(np.float32), direction.astype(np.float32))
    image = world.render_image(T, K, WIDTH, HEIGHT, extra_samples=0).reshape(-1, 3).astype(float).mean(1)
    sky = ~np.isfinite(hits.range)
    assert 0.02 < sky.mean() < 0.8
    assert image[sky].mean() > image[~sky].mean() + 20
    assert image[~sky].std() > 8


def test_depth_is_how_far_the_rays_reach_along_the_optical_axis(world):
    pose = camera_pose(world)
    depth, checked = world.depth_image(pose, K, WIDTH, HEIGHT), 0
    for row, column in ((40, 20), (44, 80), (30, 150), (2, 80)):
        local = np.array([(column - K[2]) / K[0], (row - K[3]) / K[1], 1.0])
        direction = pose[:3, :3] @ local / np.linalg.norm(local)
        reach, _ = world.scan_rays(pose[None, :3, 3], direction[None], 0.0)
        expected = reach[0] / np.linalg.norm(local)
        # not every LiDAR pulse returns
        if np.isfinite(reach[0]):
            assert depth[row, column] == pytest.approx(expected, abs=0.1)
            checked += 1
    assert checked >= 2
    assert np.isfinite(depth[40:]).all() and np.isinf(depth).any()


def test_pictures_are_well_exposed_on_any_day(world, other_day):
    for w in (world, other_day):
        image = w.render_image(camera_pose(w, 25.0), K, WIDTH, HEIGHT)
        assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
        assert 30 < image.mean() < 225


def test_a_wooded_road_has_more_leaves_than_an_old_town():
    def leaves(character):
        g = World.generate(5, 40.0, character=character).geometry
        return np.mean(g.kinds[g.surface[: g.permanent]] == Kind.LEAF)

    assert leaves("wooded") > 1.2 * leaves("old town")
