# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lhmap_loc_ros.geometry import NO_POINT, Camera, inverse, may_be_seen, project, se3_exp, transform, z_buffer

CAMERA = Camera(64, 32, 40.0, 42.0, 31.5, 15.5)


def cloud(seed, n=400):
    rng = np.random.default_rng(seed)
    return (rng.uniform(-1, 1, (n, 3)) * (12, 6, 20)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_projection_is_the_intrinsic_matrix_applied_to_camera_points(seed):
    T = se3_exp(np.random.default_rng(seed).normal(0, 0.5, 6))
    points = cloud(seed)
    uv, depth = project(points, T, CAMERA)
    local = transform(T, points.astype(float))
    front = local[:, 2] > 0.1
    pixels = local[front] @ CAMERA.matrix.T
    np.testing.assert_allclose(uv[front], pixels[:, :2] / pixels[:, 2:], rtol=1e-3, atol=0.05)
    np.testing.assert_allclose(depth[front], local[front, 2], rtol=1e-4, atol=1e-4)
    assert np.isnan(uv[~front]).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_z_buffer_keeps_the_nearest_point_of_every_pixel(seed):
    uv, depth = project(cloud(seed, 3000), np.eye(4), CAMERA)
    nearest, index = z_buffer(uv, depth, CAMERA)
    expected = np.full((32, 64), np.inf)
    for (u, v), z in zip(uv, depth, strict=True):
        if z <= 0.1 or not np.isfinite(u):
            continue
        column, row = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
        if 0 <= column < 64 and 0 <= row < 32 and z <= 100:
            expected[row, column] = min(expected[row, column], z)
    np.testing.assert_array_equal(nearest, expected.astype(np.float32))
    hit = index != NO_POINT
    np.testing.assert_array_equal(hit, np.isfinite(nearest))
    np.testing.assert_array_equal(depth[index[hit]], nearest[hit])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_the_nearest_point_of_a_pixel_yields_beside_it_to_what_is_hardly_deeper(seed):
    widths = np.random.default_rng(seed).uniform(0.1, 3.0, 400).astype(np.float32)
    uv, depth = project(cloud(seed), np.eye(4), CAMERA)
    own, drawn = {}, {}

    def draw(canvas, pixel, key, point):
        canvas[pixel] = min(canvas.get(pixel, (np.inf, 0)), (np.float32(key), point))

    for point in np.flatnonzero(np.isfinite(uv[:, 0])):
        column, row = np.floor(uv[point] + 0.5).astype(int).tolist()
        if -3 <= column < 67 and -3 <= row < 35:
            draw(own, (row, column), depth[point], point)
    for (row, column), (z, point) in own.items():
        reach = min(int(0.5 * widths[point] * np.float32(CAMERA.fx) / z), 3)
        for r in range(row - reach, row + reach + 1):
            for c in range(column - reach, column + reach + 1):
                draw(drawn, (r, c), z if (r, c) == (row, column) else z + 0.3 + 0.02 * float(z), point)
    expected = np.full((32, 64), NO_POINT)
    for (row, column), (_, point) in drawn.items():
        if 0 <= row < 32 and 0 <= column < 64:
            expected[row, column] = point
    np.testing.assert_array_equal(z_buffer(uv, depth, CAMERA, widths)[1], expected)


def test_near_points_cover_more_pixels_than_far_ones():
    points = np.array([[-1.0, 0, 4], [5.0, 0, 20]], np.float32)
    _, index = z_buffer(*project(points, np.eye(4), CAMERA), CAMERA, splat_m=0.5)
    assert (index == 0).sum() > (index == 1).sum() == 1


def test_points_beyond_the_depth_limit_are_not_drawn():
    uv, depth = project(np.array([[0, 0, 50.0]], np.float32), np.eye(4), CAMERA)
    assert (z_buffer(uv, depth, CAMERA, max_depth=40)[1] == NO_POINT).all()


def test_points_behind_and_absurdly_far_outside_do_no_harm():
    points = np.array([[0, 0, -5], [1e9, 0, 1], [np.nan, 0, 3]], np.float32)
    uv, depth = project(points, inverse(np.eye(4)), CAMERA)
    assert (z_buffer(uv, depth, CAMERA)[1] == NO_POINT).all()


def test_near_ground_is_not_drawn_over_the_ground_behind_it():
    """A plane below the camera, one point per pixel: every pixel keeps its own point, though splats cover several."""
    columns, rows = np.meshgrid(np.arange(64), np.arange(18, 32))
    ray = np.stack([(columns - 31.5) / 40, (rows - 15.5) / 42, np.ones(rows.shape)], -1).reshape(-1, 3)
    points = (ray * (1.6 / ray[:, 1:2])).astype(np.float32)
    uv, depth = project(points, np.eye(4), CAMERA)
    _, index = z_buffer(uv, depth, CAMERA, splat_m=0.25)
    np.testing.assert_array_equal(index[18:].ravel(), np.arange(len(points)))


def test_splat_hides_what_lies_well_behind_it():
    near, far = np.array([[0, 0, 3.0]]), np.array([[0.15, 0, 6.0]])
    uv, depth = project(np.vstack([near, far]).astype(np.float32), np.eye(4), CAMERA)
    nearest, index = z_buffer(uv, depth, CAMERA, splat_m=0.5)
    assert (index != 1).all() and np.isclose(nearest[index == 0], 3.0).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 6), st.floats(0, 30))
def test_whatever_a_pose_within_reach_sees_may_be_seen(seed, metres, degrees):
    rng = np.random.default_rng(seed)
    start = se3_exp(rng.normal(0, 1, 6))
    direction, axis = (v / np.linalg.norm(v) for v in rng.normal(0, 1, (2, 3)))
    moved = start.copy()
    moved[:3, :3] = start[:3, :3] @ se3_exp(np.r_[0, 0, 0, np.radians(degrees) * axis])[:3, :3]
    moved[:3, 3] += metres * direction
    points = (3 * cloud(seed)).astype(np.float32)
    _, index = z_buffer(*project(points, inverse(moved), CAMERA), CAMERA, 2.0)
    seen = np.unique(index[index != NO_POINT])
    assert may_be_seen(points, inverse(start), CAMERA, metres + 1e-3, degrees + 0.01)[seen].all()


def test_what_lies_behind_or_far_aside_is_left_out():
    points = np.array([[0, 0, 20], [0, 0, -20], [40, 0, 5], [-40, 0, 5], [5, 0, 10]], np.float32)
    assert may_be_seen(points, np.eye(4), CAMERA, 2.0, 5.0).tolist() == [True, False, False, False, True]
    assert may_be_seen(points, np.eye(4), CAMERA, 2.0, 60.0).all()  # every way
