# SPDX-License-Identifier: Apache-2.0
"""Images of any camera, and the map, as the place camera sees them."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import Camera, inverse, make_pose
from lhmap_loc_ros.places.views import CELL, HEIGHT, PLACE_CAMERA, WIDTH, level, map_view, view_of

AHEAD = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""Rotation of an optical frame that looks along the robot's x axis."""


def camera(width=640, height=480, field_deg=80.0) -> Camera:
    focal = 0.5 * width / np.tan(np.radians(field_deg / 2))
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def picture(camera: Camera, T_base_camera: np.ndarray) -> np.ndarray:
    """What a camera sees of a world whose brightness depends on the direction alone, smoothly."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], -1)
    x, y, z = np.moveaxis(rays @ T_base_camera[:3, :3].T, -1, 0)
    azimuth, elevation = np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))
    value = 0.5 + 0.2 * np.sin(5 * azimuth) + 0.2 * np.sin(7 * elevation)
    return np.repeat((255 * value + 0.5).astype(np.uint8)[..., None], 3, 2)


def test_a_camera_that_is_turned_and_tilted_gives_the_view_of_a_level_one():
    straight = make_pose(AHEAD, (0.5, 0, 1.2))
    expected = view_of(picture(camera(), straight), camera(), straight)
    for euler in ((0, 8, 3), (0, -6, -10), (0, 0, 90), (0, 0, 180)):
        tilted = make_pose(AHEAD @ Rotation.from_euler("YXZ", euler, degrees=True).as_matrix(), (0.5, 0, 1.2))
        found = view_of(picture(camera(), tilted), camera(), tilted)
        both = np.repeat(np.repeat(found.seen[0] * expected.seen[0] == 1, CELL, 0), CELL, 1)
        assert both.mean() > 0.5
        assert np.abs(found.channels - expected.channels)[:, both].max() < 0.01


def test_of_a_narrow_camera_the_cells_beside_its_image_are_not_seen():
    narrow = camera(field_deg=40.0)
    seen = view_of(np.full((480, 640, 3), 90, np.uint8), narrow).seen[0]
    across = np.tan(np.radians(20)) / np.tan(np.radians(40))
    assert seen.shape == (HEIGHT // CELL, WIDTH // CELL)
    assert seen[8].mean() == pytest.approx(across, abs=0.02)
    assert (seen[:, :10] == 0).all() and (seen[:, -10:] == 0).all() and (seen[8, 13:-13] == 1).all()


def test_a_camera_that_looks_at_the_ground_is_refused_unless_it_sees_the_horizon():
    down = make_pose(AHEAD @ Rotation.from_euler("x", -60, degrees=True).as_matrix(), (0, 0, 1))
    with pytest.raises(InputError, match="sees nothing within 40 degrees of the horizon"):
        view_of(np.zeros((480, 640, 3), np.uint8), camera(field_deg=40.0), down)
    assert view_of(np.zeros((480, 640, 3), np.uint8), camera(field_deg=110.0), down).seen.any()


def test_image_of_another_size_is_refused():
    with pytest.raises(InputError, match="calibration expects"):
        view_of(np.zeros((100, 100, 3), np.uint8), camera())


def test_the_place_camera_is_level_where_the_tilted_one_is():
    T_base_camera = make_pose(AHEAD @ Rotation.from_euler("yx", (30, 12), degrees=True).as_matrix(), (0.4, 0.1, 1.5))
    T_map_base = make_pose(Rotation.from_euler("z", 70, degrees=True), (10.0, -3.0, 0.5))
    T_map_view = T_map_base @ T_base_camera @ level(T_base_camera)
    assert T_map_view[2, 2] == pytest.approx(0, abs=1e-9) and T_map_view[2, 1] == pytest.approx(-1)
    np.testing.assert_allclose(T_map_view[:3, 3], (T_map_base @ T_base_camera)[:3, 3])


def test_a_point_of_the_map_lies_where_the_place_camera_projects_it():
    pose = make_pose(AHEAD, (100.0, 50.0, 2.0))
    point = (pose @ (1.0, 0.4, 10.0, 1.0))[:3]
    view = map_view(point[None].astype(np.float32), np.array([0.7], np.float32), pose, 0.01)
    rows, columns = np.nonzero(view.channels[1])
    expected = PLACE_CAMERA.matrix @ (inverse(pose) @ (*point, 1.0))[:3] / 10.0
    assert np.hypot(rows.mean() - expected[1], columns.mean() - expected[0]) < 1
    assert view.seen.sum() == pytest.approx(view.channels[1].sum() / CELL**2)
