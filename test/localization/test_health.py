# SPDX-License-Identifier: Apache-2.0
"""What is believed, which state follows and when to search, image by image; each row of the table of transitions."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lhmap_loc_ros.configuration import validate
from lhmap_loc_ros.errors import ConfigError
from lhmap_loc_ros.geometry import make_pose
from lhmap_loc_ros.localization import transitions
from lhmap_loc_ros.localization.health import Admission, HealthMonitor, Observation, Posterior
from lhmap_loc_ros.localization.measurement import Measurement, MeasurementConfig
from lhmap_loc_ros.localization.motion import SECOND_NS, Motion
from lhmap_loc_ros.localization.relocalize import RelocalizeConfig
from lhmap_loc_ros.localization.states import LOST_SIGMA, Search, StateConfig, TrackState
from lhmap_loc_ros.localization.transitions import TRANSITIONS, Event

INITIALIZING, TRACKING, DEGRADED, LOST = TrackState
STILL = Motion(np.eye(4), 1e-6 * np.eye(6), "odometry", 0.1)
DRIVES = Motion(make_pose(np.eye(3), (0.5, 0, 0)), 1e-4 * np.eye(6), "odometry")
UNHEARD = Motion(DRIVES.delta, np.eye(6), "velocity")
FAR = 99.0
"""An innovation that does not pass the gate."""


class Monitor(HealthMonitor):
    """Sees images at 10 Hz: good ones, unless told otherwise."""

    def __init__(self, states=None, relocalize=None):
        self.stamp_ns, self.fired = 0, []
        super().__init__(states or StateConfig(), MeasurementConfig(), relocalize)

    def image(
        self, innovation=1.0, inlier_ratio=0.5, x=0.0, after_s=0.1, measured=True, motion=STILL, **posterior
    ):  # fmt: skip
        """What follows from an image that measures a place at `x`."""
        self.stamp_ns += round(after_s * SECOND_NS)
        covariance = 1e-2 * np.eye(6)
        pose = make_pose(np.eye(3), (x, 0, 0))
        measurement = Measurement(pose, covariance, covariance, inlier_ratio) if measured else None
        seen = Observation(
            self.stamp_ns, self.stamp_ns / SECOND_NS, motion, measurement, np.zeros(6) if measured else None,
            innovation if measured else math.nan,
        )  # fmt: skip
        nothing = {} if measured else {"scatter_m": math.nan, "scatter_deg": math.nan}
        good = {"sigma_m": 0.1, "sigma_deg": 0.3, "scatter_m": 0.05, "scatter_deg": 0.2}
        decision = self.update(seen, lambda admission: Posterior(**{**good, **nothing, **posterior}))
        if decision.transition is not None:
            self.fired.append(decision.transition)
        return decision

    def images(self, count, **given):
        """The state after so many."""
        return [self.image(**given) for _ in range(count)][-1].state

    def contradictions(self, count):
        """The state after so many measurements at ever other places."""
        return [self.image(FAR, x=10.0 * (k % 2)) for k in range(count)][-1].state


def monitor_in(state):
    """A monitor that has come to a state by itself."""
    monitor = Monitor()
    if state is not INITIALIZING:
        assert monitor.images(5) is TRACKING
    if state in (DEGRADED, LOST):
        assert monitor.images(3, measured=False) is DEGRADED
    if state is LOST:
        assert monitor.image(sigma_m=99.0).state is LOST
    return monitor


@pytest.fixture
def tracking():
    return monitor_in(TRACKING)


def pause(monitor):
    """Two images 11 s apart that cannot be used."""
    monitor.image(measured=False)
    monitor.image(measured=False, after_s=11.0)


def two_contradictions(monitor):
    monitor.contradictions(2)


ROWS = [
    *((Event.START, state, "always", INITIALIZING, lambda m: m.fired.append(m.start())) for state in TrackState),
    (Event.RECONVERGENCE, LOST, "always", INITIALIZING, lambda m: m.images(5)),
    (Event.IMAGE, TRACKING, "contradicted", LOST, two_contradictions),
    *(
        (Event.IMAGE, state, "contradicted", LOST, lambda m: m.contradictions(12))
        for state in (INITIALIZING, DEGRADED)
    ),
    *((Event.IMAGE, state, "starved", LOST, pause) for state in (INITIALIZING, TRACKING, DEGRADED)),
    (Event.IMAGE, INITIALIZING, "start_not_confirmed", LOST, lambda m: m.images(102, scatter_m=0.4)),
    *(
        (Event.IMAGE, state, "very_unsure", LOST, lambda m: m.image(sigma_m=5.0))
        for state in (TRACKING, DEGRADED)
    ),
    (Event.IMAGE, TRACKING, "images_do_not_fit", DEGRADED, lambda m: m.images(3, measured=False)),
    (Event.IMAGE, TRACKING, "unsure", DEGRADED, lambda m: m.image(sigma_m=1.0)),
    (Event.IMAGE, TRACKING, "few_inliers", DEGRADED, lambda m: m.images(9, inlier_ratio=0.06)),
    (Event.IMAGE, TRACKING, "innovation_stays_large", DEGRADED, lambda m: m.images(4, innovation=12.0)),
    (Event.IMAGE, TRACKING, "measurements_scatter", DEGRADED, lambda m: m.images(20, scatter_m=0.7)),
    (Event.IMAGE, INITIALIZING, "confirmed", TRACKING, lambda m: m.images(3)),
    (Event.IMAGE, DEGRADED, "confirmed", TRACKING, lambda m: m.images(3)),
    *(
        (Event.SILENCE, state, "silent", LOST, lambda m: m.fired.append(m.after_silence(10.1)))
        for state in (INITIALIZING, TRACKING, DEGRADED)
    ),
    (Event.SILENCE, TRACKING, "pose_is_old", DEGRADED, lambda m: m.fired.append(m.after_silence(2.1))),
]  # fmt: skip


@pytest.mark.parametrize("event, source, condition, target, happens", ROWS)
def test_each_row_of_the_table_is_what_happens(event, source, condition, target, happens, monkeypatch):
    if happens is two_contradictions:  # before three, after which it is DEGRADED
        monkeypatch.setattr(transitions, "LOST_REJECTIONS", 2)
    monitor = monitor_in(source)
    monitor.fired.clear()
    happens(monitor)
    first = monitor.fired[0]
    assert (first.event, first.holds.__name__, first.target) == (event, condition, target) and source in first.sources
    assert len(monitor.fired) == 1


def test_every_row_of_the_table_is_tried():
    tried = {row[:4] for row in ROWS}
    assert tried == {(t.event, s, t.holds.__name__, t.target) for t in TRANSITIONS for s in t.sources}


def test_the_page_of_the_interface_has_the_table():
    page = (Path(__file__).parents[2] / "docs" / "interface.md").read_text()
    lines = page.split("<!-- transitions -->")[1].split("<!-- end transitions -->")[0].strip().splitlines()[2:]
    rows = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]
    assert rows == [(", ".join(t.sources), t.target, t.when) for t in TRANSITIONS]


def test_only_images_after_it_confirm_a_start_or_a_place_found_whatever_came_before(tracking):
    ways = [t for t in TRANSITIONS if t.target is TRACKING]
    assert {(t.event, t.holds.__name__) for t in ways} == {(Event.IMAGE, "confirmed")}
    tracking.images(50)
    tracking.start()
    assert tracking.state is INITIALIZING
    assert [tracking.image().state for _ in range(3)] == [INITIALIZING, INITIALIZING, TRACKING]
    # at a wrong place each image says something else, however well it passes
    tracking.start()
    assert tracking.images(90, scatter_m=0.4) is INITIALIZING


def test_without_a_reason_the_state_stays():
    for state in TrackState:
        monitor = monitor_in(state)
        assert monitor.after_silence(1.0) is None
        monitor.fired.clear()
        assert monitor.image(measured=False).state is state and not monitor.fired


# -- what is believed


def test_what_passes_the_gate_is_believed_and_what_does_not_is_not(tracking):
    assert tracking.image().admission is Admission.ACCEPTED
    assert tracking.image(FAR).admission is Admission.REJECTED
    assert tracking.image(measured=False).admission is Admission.REJECTED


def test_rejected_measurements_that_agree_are_believed_in_the_end(tracking):
    admissions = [tracking.image(FAR).admission for _ in range(6)]
    assert admissions == [Admission.REJECTED] * 4 + [Admission.RECONVERGED, Admission.REJECTED]


def test_a_lost_track_begins_anew_where_measurements_agree_though_any_would_pass():
    lost = monitor_in(LOST)
    decisions = [lost.image() for _ in range(5)]
    assert [d.admission for d in decisions] == [Admission.REJECTED] * 4 + [Admission.RESTARTED]
    assert decisions[-1].state is INITIALIZING
    assert lost.images(2) is TRACKING


# -- states


def test_innovations_within_the_gate_that_stay_large_degrade_and_calm_down(tracking):
    assert tracking.images(2, innovation=12.0) is TRACKING
    assert tracking.images(5, innovation=12.0) is DEGRADED
    assert tracking.images(2) is DEGRADED
    assert tracking.images(10) is TRACKING


def test_images_without_a_measurement_tell_nothing_of_the_innovation(tracking):
    tracking.images(2, innovation=12.0)
    assert tracking.images(2, measured=False) is TRACKING
    assert tracking.image(innovation=12.0).state is DEGRADED


def test_inliers_far_below_the_usual_degrade(tracking):
    assert tracking.images(30, inlier_ratio=0.4) is TRACKING
    assert tracking.images(12, inlier_ratio=0.15) is DEGRADED
    assert tracking.images(30, inlier_ratio=0.25) is DEGRADED
    assert tracking.images(30, inlier_ratio=0.35) is TRACKING


def test_where_inliers_are_few_as_a_rule_they_are_enough():
    monitor = Monitor()
    assert monitor.images(20, inlier_ratio=0.15) is TRACKING
    assert monitor.images(30, inlier_ratio=0.08) is DEGRADED


def test_measurements_that_pass_while_not_tracking_hardly_teach_what_is_usual():
    degraded = monitor_in(DEGRADED)
    assert degraded.images(8, inlier_ratio=0.06) is DEGRADED
    assert degraded.usual_inliers > 0.8 * 0.5


def test_a_state_that_would_still_hold_where_the_pose_is_lost_is_refused():
    largest = validate(StateConfig, {"tracking_sigma_m": 2.5})
    assert np.less_equal(largest.degraded_sigma, LOST_SIGMA).all()
    with pytest.raises(ConfigError, match="tracking_sigma_m: found 2.6, .* less than or equal to 2.5"):
        validate(StateConfig, {"tracking_sigma_m": 2.6})


def test_where_camera_or_map_are_coarser_one_setting_takes_all_that_depends_on_it_along():
    coarse = StateConfig(tracking_sigma_m=1.0)
    monitor = Monitor(coarse)
    assert monitor.images(10, sigma_m=0.9, scatter_m=0.4) is TRACKING
    assert monitor.images(30, sigma_m=1.5, scatter_m=0.9) is TRACKING
    assert monitor.image(sigma_m=1.0, sigma_deg=5.9).state is TRACKING
    assert monitor.image(sigma_m=1.0, sigma_deg=6.1).state is DEGRADED
    assert Monitor().images(10, sigma_m=0.9, scatter_m=0.4) is INITIALIZING


def test_measurements_that_scatter_confirm_no_start_however_well_they_pass():
    for scattering in ({"scatter_m": 0.5}, {"scatter_deg": 1.5}):
        monitor = Monitor()
        assert monitor.images(40, **scattering) is INITIALIZING
        assert monitor.images(10) is TRACKING


def test_measurements_that_begin_to_scatter_degrade_and_one_alone_does_not(tracking):
    assert tracking.images(1, scatter_m=50.0, scatter_deg=90.0) is TRACKING
    assert tracking.images(30, scatter_m=0.4, scatter_deg=1.2) is TRACKING
    assert tracking.images(30, scatter_m=0.6) is DEGRADED
    assert tracking.images(30, scatter_m=0.4) is DEGRADED
    assert tracking.images(20) is TRACKING


def test_a_start_that_nothing_confirms_in_time_is_lost():
    monitor = Monitor(StateConfig(lost_after_s=5.0))
    assert monitor.images(45, scatter_m=0.6) is INITIALIZING
    assert monitor.images(10, scatter_m=0.6) is LOST
    monitor.start()
    assert monitor.images(53, inlier_ratio=0.12) is LOST


def test_a_slow_camera_may_take_longer_to_confirm_a_start():
    monitor = Monitor(StateConfig(lost_after_s=5.0))
    slow = {"scatter_m": 0.6, "after_s": 2.0}
    assert monitor.images(8, **slow) is INITIALIZING
    assert monitor.images(1, **slow) is LOST


# -- the search


def searches(monitor, images, **given):
    """The numbers of the images at which to look nearby; a look takes no time."""
    out = []
    for number in range(images):
        if Search.NEARBY in monitor.image(**given).search:
            out.append(number)
            monitor.searched(monitor.stamp_ns / SECOND_NS)
    return out


def test_a_lost_track_is_looked_for_now_and_then_and_everywhere_at_each_image():
    lost = monitor_in(LOST)
    assert Search.EVERYWHERE in lost.image(measured=False).search
    gaps = np.diff(searches(lost, 120, measured=False))
    assert len(gaps) == 2 and (abs(gaps - 50) <= 1).all()
    # until the next attempt counts from the end of the one before
    lost.searched(lost.stamp_ns / SECOND_NS + 100)
    assert not searches(lost, 90, measured=False)


@pytest.mark.parametrize("misfit", ({"inlier_ratio": 0.05}, {"measured": False}))
def test_a_robot_that_may_have_been_carried_off_is_looked_for_everywhere_before_its_track_is_lost(misfit):
    monitor = monitor_in(TRACKING)
    wanted = [Search.EVERYWHERE in monitor.image(**misfit).search for _ in range(60)]
    assert monitor.state is DEGRADED and not any(wanted[:29]) and all(wanted[45:])
    # once images fit again there is nothing to look for
    assert [monitor.image() for _ in range(20)][-1].search is Search.NONE


@pytest.mark.parametrize("doubtful", ({}, {"scatter_m": 1.0}))
def test_images_that_pass_by_chance_do_not_put_off_the_search_of_a_robot_that_was_carried_off(doubtful):
    monitor = monitor_in(TRACKING)
    wanted = []
    for _ in range(12):
        wanted += [Search.EVERYWHERE in monitor.image(measured=False).search for _ in range(4)]
        # without odometry the covariance grows fast, and lets wrong measurements pass
        wanted += [Search.EVERYWHERE in monitor.image(sigma_m=1.5, **doubtful).search for _ in range(2)]
    assert monitor.state is DEGRADED and not any(wanted[:29]) and all(wanted[36:])


def elsewhere(monitor, images, **given):
    """At which of so many images that fit nothing the robot may be at any other place of the map."""
    believed = []
    for _ in range(images):
        monitor.image(measured=False, **given)
        believed.append(monitor.may_be_elsewhere(monitor.stamp_ns / SECOND_NS))
    return believed


def test_while_odometry_drives_a_robot_on_nobody_has_carried_it_to_where_its_images_show():
    monitor = Monitor()
    monitor.images(10, motion=DRIVES)
    believed = elsewhere(monitor, 130, motion=DRIVES)
    assert monitor.state is LOST and not any(believed[:100]) and all(believed[110:])
    # once images have fitted again, all begins anew
    monitor.images(1), monitor.start(), monitor.images(5, motion=DRIVES)
    assert monitor.state is TRACKING and not any(elsewhere(monitor, 30, motion=DRIVES))


def test_also_where_odometry_is_silent_for_a_while_or_what_images_say_contradicts_the_track():
    silent = Monitor()
    silent.images(10, motion=DRIVES)
    assert not any(elsewhere(silent, 20, motion=DRIVES) + elsewhere(silent, 40, motion=UNHEARD))
    contradicted = Monitor()
    contradicted.images(10, motion=DRIVES)
    for k in range(20):
        contradicted.image(FAR, x=10.0 * (k % 2), motion=DRIVES)
    assert contradicted.state is LOST and not any(elsewhere(contradicted, 50, motion=DRIVES))


@pytest.mark.parametrize("meanwhile", (
    [{"motion": STILL}] * 12,
    [{"motion": replace(STILL, idle_s=2.0), "after_s": 2.0}],
    [{"motion": replace(DRIVES, idle_s=1.9), "after_s": 2.0}],
), ids=("stood", "switched off", "unheard"))  # fmt: skip
def test_a_robot_that_stopped_before_its_images_fitted_no_more_may_have_been_carried(meanwhile):
    monitor = Monitor()
    monitor.images(10, motion=DRIVES)
    for motion in meanwhile:
        monitor.image(measured=False, **motion)
    # where it was put down a few images pass by chance
    monitor.images(5, motion=DRIVES)
    assert all(elsewhere(monitor, 30, motion=DRIVES))
    # a robot that stood at a light, and whose images fit while it drives on, was not carried
    monitor.images(60, motion=DRIVES)
    assert not any(elsewhere(monitor, 30, motion=DRIVES))


def test_without_odometry_nobody_knows_whether_a_robot_was_carried():
    monitor = Monitor()
    monitor.images(10, motion=UNHEARD)
    assert all(elsewhere(monitor, 30, motion=UNHEARD))


def test_a_lorry_or_a_pose_that_is_unsure_is_no_reason_to_look_everywhere():
    passing = monitor_in(TRACKING)
    assert not any(Search.EVERYWHERE in passing.image(measured=False).search for _ in range(25))
    unsure = monitor_in(TRACKING)
    looked = [Search.EVERYWHERE in unsure.image(sigma_m=1.5).search for _ in range(100)]
    assert unsure.state is DEGRADED and not any(looked)


def test_a_track_that_images_pass_for_long_and_never_confirm_is_looked_for_too():
    degraded = monitor_in(DEGRADED)
    doubtful = {"scatter_m": 1.0}
    found = searches(degraded, 700, **doubtful)
    assert degraded.state is DEGRADED and len(found) == 2 and 295 <= found[0] <= 301
    tracking = monitor_in(TRACKING)
    assert not searches(tracking, 700)


def test_where_relocalization_is_off_nobody_looks_nearby():
    monitor = Monitor(relocalize=RelocalizeConfig(enabled=False))
    monitor.images(3)
    monitor.image(sigma_m=99.0)
    assert not searches(monitor, 20, measured=False)
    assert monitor.image(measured=False).search is Search.EVERYWHERE
