# SPDX-License-Identifier: Apache-2.0
"""The state machine, signal by signal."""

import math

import pytest

from lhmap_loc_ros.configuration import validate
from lhmap_loc_ros.errors import ConfigError
from lhmap_loc_ros.localization.states import Signals, StateConfig, StateMachine, TrackState

GOOD = {"accepted": True, "contradicts": False, "inlier_ratio": 0.5, "usual_inliers": 0.5, "innovation": 1.0,
        "scatter_m": 0.05, "scatter_deg": 0.2, "sigma_m": 0.1, "sigma_deg": 0.3}  # fmt: skip


class Machine(StateMachine):
    """Takes images at 10 Hz."""

    stamp_ns = 0

    def images(self, count, **signals):
        for _ in range(count):
            self.stamp_ns += 100_000_000
            state = self.update(Signals(stamp_ns=self.stamp_ns, **{**GOOD, **signals}))
        return state


@pytest.fixture
def tracking():
    machine = Machine(StateConfig())
    assert machine.images(5) is TrackState.TRACKING
    return machine


def test_innovations_within_the_gate_that_stay_large_degrade_and_calm_down(tracking):
    assert tracking.images(2, innovation=12.0) is TrackState.TRACKING
    assert tracking.images(5, innovation=12.0) is TrackState.DEGRADED
    assert tracking.images(2) is TrackState.DEGRADED
    assert tracking.images(10) is TrackState.TRACKING


def test_images_without_a_measurement_tell_nothing_of_the_innovation(tracking):
    tracking.images(2, innovation=12.0)
    assert tracking.images(2, innovation=math.nan, accepted=False, inlier_ratio=math.nan) is TrackState.TRACKING
    assert tracking.images(1, innovation=12.0) is TrackState.DEGRADED


def test_inliers_far_below_the_usual_degrade(tracking):
    assert tracking.images(30, inlier_ratio=0.3) is TrackState.TRACKING
    assert tracking.images(30, inlier_ratio=0.2) is TrackState.DEGRADED
    assert tracking.images(30, inlier_ratio=0.3) is TrackState.DEGRADED
    assert tracking.images(30, inlier_ratio=0.35) is TrackState.TRACKING


@pytest.mark.parametrize("signal", ["scatter_m", "scatter_deg", "sigma_m", "sigma_deg"])
def test_a_state_that_would_end_as_soon_as_it_began_is_refused(signal):
    with pytest.raises(ConfigError, match=f"tracking_{signal} is 9, expected at most degraded_{signal}"):
        validate(StateConfig, {f"tracking_{signal}": 9.0})


def test_where_inliers_are_few_as_a_rule_they_are_enough():
    machine = Machine(StateConfig())
    assert machine.images(20, inlier_ratio=0.15, usual_inliers=0.15) is TrackState.TRACKING
    assert machine.images(30, inlier_ratio=0.08, usual_inliers=0.15) is TrackState.DEGRADED


def test_measurements_that_scatter_confirm_no_start_however_well_they_pass():
    for scattering in ({"scatter_m": 0.5}, {"scatter_deg": 1.5}):
        machine = Machine(StateConfig())
        assert machine.images(40, **scattering) is TrackState.INITIALIZING
        assert machine.images(10) is TrackState.TRACKING


def test_measurements_that_begin_to_scatter_degrade_and_one_alone_does_not(tracking):
    assert tracking.images(1, scatter_m=50.0, scatter_deg=90.0) is TrackState.TRACKING
    assert tracking.images(30, scatter_m=0.4, scatter_deg=1.2) is TrackState.TRACKING
    assert tracking.images(30, scatter_m=0.6) is TrackState.DEGRADED
    assert tracking.images(30, scatter_m=0.4) is TrackState.DEGRADED
    assert tracking.images(20) is TrackState.TRACKING


def test_a_start_that_nothing_confirms_in_time_is_lost():
    machine = Machine(StateConfig(lost_after_s=5.0))
    assert machine.images(45, scatter_m=0.6) is TrackState.INITIALIZING
    assert machine.images(10, scatter_m=0.6) is TrackState.LOST
    machine.restart()
    assert machine.images(60, inlier_ratio=0.12) is TrackState.LOST


def test_a_slow_camera_may_take_longer_to_confirm_a_start():
    machine = Machine(StateConfig(lost_after_s=5.0))
    slow = {"scatter_m": 0.6}
    for _ in range(8):
        machine.stamp_ns += 2_000_000_000
        assert machine.images(1, **slow) is TrackState.INITIALIZING
    machine.stamp_ns += 2_000_000_000
    assert machine.images(1, **slow) is TrackState.LOST
