# SPDX-License-Identifier: Apache-2.0
"""What /diagnostics is told from: of late, not of the whole drive."""

from types import SimpleNamespace

import pytest

from lhmap_loc_ros.configuration import validate
from lhmap_loc_ros.nodes import diagnostics
from lhmap_loc_ros.nodes.diagnostics import Health
from lhmap_loc_ros.nodes.localizer_config import LocalizerConfig


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(diagnostics.time, "monotonic", lambda: Clock.now)
    return Clock


def test_an_overload_after_a_good_hour_shows_within_seconds_and_is_forgotten_as_fast(clock):
    health, shares = Health(""), []
    for second in range(3640):
        clock.now += 1
        dropped = 9 * min(max(second - 3600, 0), 20)
        shares.append(health.dropped_share(10 * second, dropped))
    assert shares[3600] == 0 and shares[3608] == pytest.approx(0.9) and shares[3630] == 0


def test_what_was_of_no_use_is_told_for_some_seconds(clock):
    health = Health("")
    assert health.complaint == ""
    health.complain("odometry is of 'wheel'")
    assert health.complaint == "odometry is of 'wheel'" and health.problem == ""
    clock.now += 10
    assert health.complaint == ""


@pytest.mark.parametrize(("lost_after_s", "warns"), [(10.0, True), (30.0, False)])
def test_how_seldom_images_may_be_localized_follows_from_the_time_until_lost(clock, lost_after_s, warns):
    health = Health("")
    config = validate(LocalizerConfig, {"map_path": "m", "tracker": {"states": {"lost_after_s": lost_after_s}}})
    for _ in range(4):
        clock.now += 1.6
        health.localized(None, 50.0)
    images = {"received": 4, "dropped": 0, "came_s": 0.0}
    lhmap = SimpleNamespace(
        path="m", identity="", metadata=SimpleNamespace(points=0), index=(), tiles_waited_for=0
    )  # fmt: skip
    _, status, *_ = diagnostics.session_statuses(health, images, (), lhmap, config, active=True)
    assert (status.level == diagnostics.WARN, "limit 1.0" in status.message) == (warns, warns)
