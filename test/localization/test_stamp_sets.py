# SPDX-License-Identifier: Apache-2.0
"""Images of one stamp come together, and no camera holds up the others."""

import numpy as np
import pytest

from lhmap_loc_ros.localization.stamp_sets import PATIENCE_S, StampSets

MS = 1_000_000


def fed(sets, *events):
    """What comes out of events (camera, stamp [ms]): a string of the cameras of each set."""
    out = []
    for camera, stamp_ms in events:
        out += ["".join(found.items) for found in sets.put(camera, round(stamp_ms * MS), camera)]
    return out


def test_images_of_one_stamp_are_one_set_whichever_comes_first():
    sets = StampSets("ab")
    assert fed(sets, ("a", 0), ("b", 0), ("b", 100), ("a", 102), ("a", 200), ("b", 199)) == ["ab", "ab", "ab"]
    assert sets.deadline_s is None


def test_the_stamp_of_a_set_is_its_earliest():
    sets = StampSets("ab")
    sets.put("a", 103 * MS, 0)
    [found] = sets.put("b", 100 * MS, 1)
    assert found.stamp_ns == 100 * MS and found.items == {"a": 0, "b": 1}


def test_a_camera_alone_never_waits():
    assert fed(StampSets("a"), ("a", 0), ("a", 100)) == ["a", "a"]


def test_a_set_goes_on_without_a_camera_once_another_sends_its_next_image():
    assert fed(StampSets("ab"), ("a", 0), ("b", 0), ("a", 100), ("a", 200), ("b", 200)) == ["ab", "a", "ab"]


def test_a_set_goes_on_after_the_patience_in_live_use():
    sets = StampSets("ab")
    fed(sets, ("a", 0), ("b", 0))
    assert sets.put("a", 100 * MS, "a", now_s=5.0) == []
    assert sets.deadline_s == pytest.approx(5.0 + PATIENCE_S)
    assert sets.overdue(5.0) == []
    [found] = sets.overdue(5.0 + PATIENCE_S)
    assert found.items == {"a": "a"} and sets.deadline_s is None


def test_a_camera_that_fell_silent_is_waited_for_only_a_few_times():
    sets = StampSets("ab")
    fed(sets, ("a", -100), ("b", -100), ("a", 0), ("b", 0))
    waited = [not sets.put("a", 100 * k * MS, "a") and len(sets.overdue(np.inf)) for k in range(1, 8)]
    assert waited == [1, 1, 1, 0, 0, 0, 0]
    # and again as soon as it comes back, be it just too late
    assert fed(sets, ("b", 700.0), ("a", 800)) == ["b"]
    assert fed(sets, ("b", 800)) == ["ab"]


def test_a_camera_of_half_the_rate_is_expected_at_every_other_image_alone():
    sets = StampSets("ab")
    fed(sets, ("a", 0), ("b", 0), ("a", 100), ("a", 200), ("b", 200))
    assert fed(sets, ("a", 300)) == ["a"]
    assert fed(sets, ("a", 400)) == [] and fed(sets, ("b", 400)) == ["ab"]


def test_cameras_that_are_not_synchronised_do_not_wait_for_each_other():
    sets = StampSets("ab")
    fed(sets, *[(c, 100 * k + 40 * (c == "b")) for k in range(5) for c in "ab"])
    for stamp, camera in ((500, "a"), (540, "b"), (600, "a"), (640, "b")):
        assert fed(sets, (camera, stamp)) == [camera]


def test_what_comes_after_a_later_set_is_dropped_and_counted():
    sets = StampSets("ab")
    fed(sets, ("a", 0), ("b", 0), ("a", 100), ("a", 200), ("b", 200))
    assert fed(sets, ("b", 100.5)) == [] and sets.late == 1


def test_a_clock_that_begins_anew_begins_new_sets():
    sets = StampSets("ab")
    fed(sets, ("a", 50_000), ("b", 50_000))
    assert fed(sets, ("a", 0), ("b", 0)) == ["ab"] and sets.late == 0


def test_the_end_gives_what_is_left():
    sets = StampSets("ab")
    fed(sets, ("a", 0), ("b", 0), ("b", 100))
    assert ["".join(found.items) for found in sets.flush()] == ["b"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_sets_are_in_order_and_hold_images_of_one_moment_once(seed):
    rng = np.random.default_rng(seed)
    arrivals = []
    for camera, rate in zip("abc", rng.choice([5, 10, 15], 3), strict=True):
        for k in range(40):
            if rng.random() < 0.85:
                stamp_ms = 1000 * k / rate + rng.normal(0, 2)
                arrivals.append((stamp_ms + rng.exponential(30), camera, stamp_ms))
    sets, out, last = StampSets("abc"), [], dict.fromkeys("abc", -np.inf)
    in_order = 0
    for now_ms, camera, stamp_ms in sorted(arrivals):
        if stamp_ms <= last[camera]:
            continue  # as those before the sets see to
        last[camera] = stamp_ms
        in_order += 1
        out += sets.overdue(now_ms / 1e3) + sets.put(camera, round(stamp_ms * MS), stamp_ms, now_ms / 1e3)
    out += sets.flush()
    stamps = [found.stamp_ns for found in out]
    assert stamps == sorted(stamps)
    assert sum(len(found.items) for found in out) + sets.late == in_order
    for found in out:
        assert max(found.items.values()) - min(found.items.values()) <= 10 + 1e-6
