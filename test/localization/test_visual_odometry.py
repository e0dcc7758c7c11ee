# SPDX-License-Identifier: Apache-2.0
"""How a robot without odometry moved: a street of known texture is drawn, and its map tells how far."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lhmap_loc_ros.geometry import Camera, inverse, make_pose, pose_error
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.localization.visual_odometry import VisualOdometry

SECOND = 1_000_000_000
CAMERA = Camera(640, 192, 360.0, 360.0, 319.5, 80.0)
T_BASE_CAMERA = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [0.3, 0.0, 1.5])
MOUNTED = PosedCamera(CAMERA, T_BASE_CAMERA)
WALLS_M, SKY = 6.0, 200
TEXTURE = cv2.GaussianBlur(np.random.default_rng(3).uniform(0, 255, (512, 512)).astype(np.float32), (0, 0), 1.5)
TEXTURE = (TEXTURE - TEXTURE.mean()) * 3 + 128


def on_street(x, y=0.0, yaw_deg=0.0):
    return make_pose(Rotation.from_euler("z", yaw_deg, degrees=True), (x, y, 0.0))


def drawn(T_map_base, camera=CAMERA):
    """What the camera sees of a road between two walls, 0.1 m a texture pixel."""
    T_map_camera = T_map_base @ T_BASE_CAMERA
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u, float)], -1)
    rays, at = rays @ T_map_camera[:3, :3].T, T_map_camera[:3, 3]
    with np.errstate(divide="ignore"):
        road = np.where(rays[..., 2] < 0, -at[2] / rays[..., 2], np.inf)
        wall = np.where(rays[..., 1] > 0, WALLS_M - at[1], -WALLS_M - at[1]) / rays[..., 1]
    depth = np.minimum(road, np.where(wall > 0, wall, np.inf))
    hit = at + rays * np.minimum(depth, 1e3)[..., None]
    on_road = road < wall
    across = np.where(on_road, hit[..., 1], hit[..., 2] + 20 * np.sign(hit[..., 1]))
    where = [np.float32(10 * c % 511) for c in (hit[..., 0], across)]
    grey = cv2.remap(TEXTURE, *where, cv2.INTER_LINEAR)
    grey = np.where(depth < 60, np.clip(grey, 0, 255), SKY)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


class Street:
    """Its map, from `x_m` on."""

    def __init__(self, x_m=-20.0):
        x, a = np.arange(x_m, 120.0, 0.2), np.arange(-WALLS_M, WALLS_M, 0.2)
        road = np.stack(np.meshgrid(x, a, [0.0]), -1).reshape(-1, 3)
        walls = np.stack(np.meshgrid(x, [-WALLS_M, WALLS_M], np.arange(0, 5, 0.2)), -1).reshape(-1, 3)
        self._points = np.concatenate([road, walls]).astype(np.float32)

    def crop(self, center, radius, damaged=None):
        near = np.hypot(*(self._points[:, :2] - center[:2]).T) < radius
        origin = np.array([*np.round(center[:2]), 0.0])
        return SimpleNamespace(points=(self._points[near] - origin).astype(np.float32), origin=origin)


def followed(poses, lhmap=None, period_s=0.1):
    visual = VisualOdometry(lhmap or Street())
    visual.follow(SECOND, drawn(poses[0]), MOUNTED)
    assert visual.since_mark()[1](poses[0]) is None
    visual.mark()
    for k, pose in enumerate(poses[1:], 1):
        visual.follow(SECOND + round(k * period_s * SECOND), drawn(pose), MOUNTED)
    return visual


@pytest.mark.parametrize("step_m, turn_deg, period_s", ((0.3, 0.0, 0.1), (1.5, 0.0, 0.2), (0.6, 1.0, 0.1)))
def test_a_drive_is_measured_from_where_it_began(step_m, turn_deg, period_s):
    poses = [on_street(0.0)]
    for _ in range(6):
        poses.append(poses[-1] @ on_street(step_m, 0.0, turn_deg))
    way, truth = followed(poses, period_s=period_s).since_mark()[1](poses[0]), inverse(poses[0]) @ poses[-1]
    metres, degrees = pose_error(way, truth)
    assert metres < 0.08 * 6 * step_m + 0.05 and degrees < 1.0


def test_each_way_begins_where_the_last_ended():
    poses = [on_street(0.8 * k) for k in range(5)]
    visual = followed(poses[:3])
    first = visual.since_mark()[1]
    visual.mark()
    for k in (3, 4):
        visual.follow(2 * SECOND + k * SECOND // 10, drawn(poses[k]), MOUNTED)
    for motion, begin in ((first, 0), (visual.since_mark()[1], 2)):
        assert motion(poses[begin])[0, 3] == pytest.approx(1.6, abs=0.12)


def test_a_robot_that_stands_has_not_moved():
    way = followed([on_street(3.0)] * 8).since_mark()[1](on_street(3.0))
    assert way == pytest.approx(np.eye(4))


def test_where_the_map_is_empty_or_the_image_shows_nothing_it_does_not_tell():
    poses = [on_street(0.8 * k) for k in range(3)]
    assert followed(poses, Street(x_m=110.0)).since_mark()[1](poses[0]) is None
    assert followed(poses).since_mark()[1](None) is None
    visual, grey = VisualOdometry(Street()), np.full((192, 640, 3), 128, np.uint8)
    for k in range(3):
        visual.follow(k * SECOND, grey, MOUNTED)
        if k == 0:
            visual.mark()
    assert visual.since_mark()[1](poses[0]) is None


def test_images_of_another_camera_between_break_nothing_until_the_one_followed_is_silent():
    aside = PosedCamera(CAMERA, T_BASE_CAMERA @ make_pose(np.eye(3), (0.5, 0, 0)))
    visual, where = VisualOdometry(Street()), [on_street(0.4 * k) for k in range(6)]
    for k, pose in enumerate(where):
        assert visual.follow(k * SECOND // 10, drawn(pose), MOUNTED)
        assert not visual.follow(k * SECOND // 10 + SECOND // 20, drawn(pose), aside)
        if k == 0:
            visual.mark()
    stamp_ns, motion = visual.since_mark()
    assert stamp_ns == SECOND // 2 and motion(where[0])[0, 3] == pytest.approx(2.0, abs=0.15)
    assert visual.follow(3 * SECOND, drawn(where[-1]), aside)


def test_what_another_camera_saw_or_comes_before_breaks_the_way():
    poses = [on_street(0.8 * k) for k in range(3)]
    other = PosedCamera(CAMERA, T_BASE_CAMERA @ make_pose(np.eye(3), (0.5, 0, 0)))
    for camera, stamp_ns in ((other, 3 * SECOND), (MOUNTED, SECOND)):
        visual = followed(poses)
        visual.follow(stamp_ns, drawn(poses[-1]), camera)
        assert visual.since_mark()[1](poses[0]) is None
