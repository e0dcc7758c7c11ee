# SPDX-License-Identifier: Apache-2.0
"""Odometry buffer and motion prior."""

import numpy as np
import pytest
from helpers.fake_world import SECOND, truth

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import inverse, pose_error, se3_exp
from lhmap_loc_ros.localization import motion
from lhmap_loc_ros.localization.motion import MotionConfig, MotionModel, OdometryBuffer


def filled(stamps_s):
    buffer = OdometryBuffer()
    for stamp in stamps_s:
        buffer.add(int(stamp * SECOND), truth(int(stamp * SECOND)))
    return buffer


def test_interpolates_on_the_screw():
    buffer = filled([0, 0.1, 0.2, 0.3])
    assert pose_error(buffer.at(int(0.137 * SECOND)), truth(int(0.137 * SECOND))) == pytest.approx((0, 0), abs=1e-6)
    np.testing.assert_array_equal(buffer.at(int(0.2 * SECOND)), truth(int(0.2 * SECOND)))


def test_continues_briefly_and_not_backward():
    buffer = filled([0, 0.1])
    assert pose_error(buffer.at(int(0.2 * SECOND)), truth(int(0.2 * SECOND))) == pytest.approx((0, 0), abs=1e-6)
    assert buffer.at(int(0.3 * SECOND)) is None
    assert buffer.at(-1) is None
    assert filled([]).at(0) is None
    assert filled([0]).at(1) is None


def test_does_not_bridge_gaps():
    assert filled([0, 2.0]).at(SECOND) is None


def test_is_bounded(monkeypatch):
    monkeypatch.setattr(motion, "HISTORY_S", 1.0)
    buffer = filled(np.arange(0, 20, 0.1))
    assert len(buffer) == 11
    assert buffer.latest_ns == int(np.arange(0, 20, 0.1)[-1] * SECOND)


def test_refuses_nan_and_time_going_back():
    buffer = filled([0, 0.1])
    with pytest.raises(InputError, match="not finite"):
        buffer.add(SECOND, np.full((4, 4), np.nan))
    with pytest.raises(InputError, match="back in time"):
        buffer.add(0, np.eye(4))
    buffer.add(int(0.1 * SECOND), np.eye(4))  # the same stamp twice
    assert len(buffer) == 2


def test_jump_starts_anew():
    buffer = filled([0, 0.1])
    moved = truth(int(0.2 * SECOND))
    moved[:3, 3] += [0, 12, 0]
    buffer.add(int(0.2 * SECOND), moved)
    assert len(buffer) == 1
    assert buffer.at(int(0.1 * SECOND)) is None


def test_covariance_grows_with_distance_not_with_rate():
    model = MotionModel(MotionConfig())
    for k in range(101):
        model.odometry.add(k * SECOND // 10, truth(k * SECOND // 10))
    once = model.between(0, 10 * SECOND).covariance
    parts = sum(model.between(k * SECOND, (k + 1) * SECOND).covariance for k in range(10))
    np.testing.assert_allclose(once, parts, rtol=0.02)
    assert 0.4 < np.sqrt(once[0, 0]) < 0.6  # 80 m, 0.05 m per root metre


def test_constant_velocity_continues_the_motion():
    model = MotionModel(MotionConfig())
    delta = inverse(truth(0)) @ truth(SECOND // 10)
    assert model.between(0, SECOND).source == "none"
    model.observe(delta, 0.1)
    model.observe(np.eye(4), 0.0)  # no time passed: nothing learned
    motion = model.between(0, SECOND // 2)
    assert motion.source == "velocity"
    assert pose_error(motion.delta, inverse(truth(0)) @ truth(SECOND // 2)) == pytest.approx((0, 0), abs=1e-6)
    assert np.trace(model.between(0, SECOND).covariance) > np.trace(motion.covariance)
    model.reset()
    assert model.between(0, SECOND).source == "none"


def test_unknown_speed_is_wide_ahead():
    covariance = MotionModel(MotionConfig()).between(0, SECOND // 10).covariance
    assert covariance[0, 0] > 0.8**2 > covariance[1, 1]


def test_odometry_wins_over_velocity():
    model = MotionModel(MotionConfig())
    model.observe(se3_exp([5, 0, 0, 0, 0, 0]), 1.0)
    for k in range(3):
        model.odometry.add(k * SECOND // 10, truth(k * SECOND // 10))
    assert model.between(0, SECOND // 5).source == "odometry"


@pytest.mark.parametrize("reached", [(0.8, 2.0), (0.0, 1.2), (0.5, 1.5)])
def test_odometry_of_a_part_tells_the_velocity_of_the_rest(reached):
    """It began after the start pose, or is late: the motion is right, and less sure than with all of it."""
    model, whole = MotionModel(MotionConfig()), MotionModel(MotionConfig())
    for k in range(21):
        stamp = k * SECOND // 10
        whole.odometry.add(stamp, truth(stamp))
        if reached[0] * SECOND <= stamp <= reached[1] * SECOND:
            model.odometry.add(stamp, truth(stamp))
    motion = model.between(0, 2 * SECOND)
    assert motion.idle_s == pytest.approx(2.0 - (min(reached[1], 2.0) - max(reached[0], 0.0)), abs=0.01)
    assert pose_error(motion.delta, inverse(truth(0)) @ truth(2 * SECOND)) == pytest.approx((0, 0), abs=1e-6)
    assert motion.source == "odometry"
    assert np.trace(motion.covariance) > np.trace(whole.between(0, 2 * SECOND).covariance)


def test_odometry_of_another_time_is_no_help():
    model = MotionModel(MotionConfig())
    for k in range(3):
        model.odometry.add(10 * SECOND + k * SECOND // 10, truth(k * SECOND // 10))
    assert model.between(0, SECOND).source == "none"
    assert model.between(20 * SECOND, 21 * SECOND).source == "none"
    assert model.between(10 * SECOND, 10 * SECOND).covariance.max() == 0


def test_odometry_whose_yaw_jumps_in_place_begins_anew():
    buffer = OdometryBuffer()
    for k in range(10):
        buffer.add(k * SECOND // 20, se3_exp([0.5 * k, 0, 0, 0, 0, 0.02 * k]))
    assert len(buffer) == 10
    jumped = se3_exp([5.0, 0, 0, 0, 0, 0.2]) @ se3_exp([0, 0, 0, 0, 0, np.radians(30)])
    buffer.add(10 * SECOND // 20, jumped)
    assert len(buffer) == 1 and buffer.at(9 * SECOND // 20) is None


@pytest.mark.parametrize(
    "way, is_one",
    [
        ((1.3, 0.2, 0, 0, 0, 0), True),  # a little aside, as noise is
        ((1.2, 0.5, 0, 0, 0, 0.6), True),  # into a side street
        ((0.0, -1.4, 0, 0, 0, 0.1), False),  # sideways, as it seems with half of the image covered
        ((-1.3, 0, 0, 0, 0, 0), False),
        ((0.03, 0.04, 0, 0, 0, 0.5), True),  # it has stopped, and turns
    ],
)
def test_what_images_show_of_a_motion_goes_on_from_where_the_robot_was_going(way, is_one):
    coasted = motion.Motion(se3_exp([1.3, 0, 0, 0, 0, 0]), np.eye(6), "velocity")
    assert motion.goes_on(se3_exp(list(way)), coasted) == is_one


@pytest.mark.parametrize("rate", (20, 50, 200))
@pytest.mark.parametrize("stands", ((1.0, 4.0), (1.98, 3.5)))
def test_odometry_that_stands_is_told_from_one_that_moves_also_where_it_is_silent_meanwhile(rate, stands):
    model, moved = MotionModel(MotionConfig()), 0.0
    for k in range(5 * rate + 1):
        seconds = k / rate
        moved += 5.0 / rate if not stands[0] < seconds <= stands[1] else 0.0
        noise = 1e-4 * (k % 2)
        if not 2.0 < seconds < 3.5:  # silent
            model.odometry.add(round(seconds * SECOND), se3_exp([moved + noise, 0, 0, 0, 0, 0]))
    drives, carried = model.between(0, SECOND), model.between(round(0.8 * SECOND), round(4.2 * SECOND))
    assert drives.idle_s == 0.0 and carried.idle_s == pytest.approx(stands[1] - stands[0], abs=0.2)


def test_odometry_that_jumps_after_it_was_silent_does_not_take_the_robot_along():
    model, x = MotionModel(MotionConfig()), 0.0
    for k in range(100):
        stamp, x = k * SECOND // 10, x + 0.7 + (5.0 if k == 61 else 0.0)
        if not 20 <= k < 60:
            model.odometry.add(stamp, se3_exp([x, 0, 0, 0, 0, 0]))
    # images told the speed meanwhile
    model.observe(se3_exp([0.7, 0, 0, 0, 0, 0]), 0.1)
    ways = [model.between(k * SECOND // 10, (k + 1) * SECOND // 10) for k in range(58, 65)]
    assert [round(float(way.delta[0, 3]), 1) for way in ways] == [0.7] * 7 and ways[-1].source == "odometry"


def test_odometry_that_goes_on_so_was_right_and_what_was_known_wrong():
    model = MotionModel(MotionConfig())
    for k in range(20):
        model.odometry.add(k * SECOND // 10, se3_exp([0.7 * k, 0, 0, 0, 0, 0]))
    model.observe(se3_exp([3.0, 0, 0, 0, 0, 0]), 0.1)
    ways = [model.between(k * SECOND // 10, (k + 1) * SECOND // 10) for k in range(5)]
    assert [way.source for way in ways] == ["velocity"] + ["odometry"] * 4
