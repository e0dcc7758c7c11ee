# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import (
    distance_along,
    from_quaternion,
    interpolate,
    inverse,
    perturb,
    pose_error,
    se3_exp,
    se3_log,
    to_quaternion,
    transform,
)

tangents = arrays(float, 6, elements=st.floats(-1.7, 1.7))


@settings(deadline=None)
@given(tangents)
def test_log_undoes_exp(xi):
    np.testing.assert_allclose(se3_log(se3_exp(xi)), xi, atol=1e-8)


@settings(deadline=None)
@given(tangents, tangents)
def test_inverse_of_a_product(a, b):
    left, right = se3_exp(a), se3_exp(b)
    np.testing.assert_allclose(inverse(left @ right), inverse(right) @ inverse(left), atol=1e-9)


@settings(deadline=None)
@given(tangents)
def test_quaternion_round_trip(xi):
    pose = se3_exp(xi)
    translation, quaternion = to_quaternion(pose)
    assert quaternion[3] >= 0
    np.testing.assert_allclose(from_quaternion(translation, quaternion), pose, atol=1e-9)


@settings(deadline=None)
@given(tangents, st.floats(0, 1))
def test_interpolation_walks_a_constant_twist(xi, fraction):
    start = se3_exp([1, 2, 3, 0.1, 0.2, 0.3])
    end = start @ se3_exp(xi)
    step = se3_log(inverse(start) @ interpolate(start, end, fraction))
    np.testing.assert_allclose(step, fraction * xi, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(tangents)
def test_transform_matches_homogeneous_product(xi):
    points = np.random.default_rng(0).normal(0, 10, (20, 3))
    expected = (se3_exp(xi) @ np.column_stack([points, np.ones(20)]).T).T[:, :3]
    np.testing.assert_allclose(transform(se3_exp(xi), points), expected, atol=1e-9)


def test_transform_keeps_single_precision():
    assert transform(np.eye(4), np.zeros((2, 3), np.float32)).dtype == np.float32


def test_error_of_a_known_perturbation():
    truth = se3_exp([4, -2, 1, 0.2, -0.4, 1.0])
    metres, degrees = pose_error(perturb(truth, (3, 0, 4), (0, 0, 7)), truth)
    assert metres == pytest.approx(5)
    assert degrees == pytest.approx(7)


@pytest.mark.parametrize("translation, quaternion", [((0, 0, np.nan), (0, 0, 0, 1)), ((0, 0, 0), (0, np.inf, 0, 1))])
def test_pose_that_is_not_finite_is_refused(translation, quaternion):
    with pytest.raises(InputError, match="not finite"):
        from_quaternion(translation, quaternion)


def test_a_place_that_is_none_on_the_earth_is_refused():
    with pytest.raises(InputError, match="at most 1e.09"):
        from_quaternion((0, 1e30, 0), (0, 0, 0, 1))


def test_a_quaternion_of_huge_numbers_is_a_direction():
    np.testing.assert_allclose(from_quaternion((0, 0, 0), (0, 0, 3e300, 3e300))[:2, :2], [[0, -1], [1, 0]], atol=1e-12)


def test_quaternion_of_norm_zero_is_refused():
    with pytest.raises(InputError, match="norm zero"):
        from_quaternion((0, 0, 0), (0, 0, 0, 0))


@settings(deadline=None)
@given(arrays(float, (20, 3), elements=st.floats(-30, 30)))
def test_distance_along_is_the_sum_of_steps_that_a_vehicle_drives(corners):
    driven = corners[:1]
    for corner in corners:
        if np.linalg.norm(corner - driven[-1]) >= 0.2:
            driven = np.vstack([driven, corner])
    steps = np.linalg.norm(np.diff(driven, axis=0), axis=1)
    np.testing.assert_allclose(distance_along(driven), np.r_[0, np.cumsum(steps)], atol=1e-9)


def test_distance_along_grows_with_each_pose_of_a_slow_drive():
    x = np.linspace(0, 10, 2001)
    np.testing.assert_allclose(distance_along(np.column_stack([x, 0 * x])), x, atol=1e-9)


def test_a_vehicle_that_stands_drives_nowhere_though_its_poses_jitter():
    rng = np.random.default_rng(0)
    drive = np.column_stack([np.arange(0, 50, 0.5), np.zeros(100), np.zeros(100)])
    stop = drive[40] + rng.normal(0, 0.02, (3000, 3))
    along = distance_along(np.vstack([drive[:41], stop, drive[41:]]))
    assert along[-1] == pytest.approx(49.5, abs=0.2)
    assert (np.diff(along) >= 0).all()
