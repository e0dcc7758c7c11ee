# SPDX-License-Identifier: Apache-2.0
"""What several images say together of the poses that each of them leaves possible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lhmap_loc_ros.geometry import make_pose
from lhmap_loc_ros.localization.relocalize import PoseHypothesis
from lhmap_loc_ros.places.hypotheses import CONFIRMED, KEPT, Hypotheses
from lhmap_loc_ros.places.verdict import Verdict


def at(x, y=0.0):
    return make_pose(np.eye(3), (x, y, 0.0))


def fit(pose, ratio=0.2, rival=0.12):
    return Verdict(PoseHypothesis(pose, np.eye(6) * 1e-2, ratio), rival, agrees=False)


def after(*images, step=5.0):
    """Hypotheses after images, each with its fits, taken one `step` [m] after the other along x."""
    hypotheses = Hypotheses()
    for fits in images:
        hypotheses.carry(lambda _: at(step))
        hypotheses.add(fits)
    return hypotheses


def test_images_that_each_say_little_are_believed_together():
    drive = [[fit(at(100 + 5 * k), 0.2, 0.13)] for k in range(3)]
    assert after(*drive[:2]).confirmed() is None
    found = after(*drive).confirmed()
    assert found.place.T_map_base[0, 3] == 110


def test_one_image_is_never_enough_whatever_it_says():
    assert after([fit(at(100), 0.9, 0.1)]).confirmed() is None
    assert after([fit(at(100), 0.9, 0.1)], [fit(at(105), 0.9, 0.1)]).confirmed() is not None


def test_where_two_places_look_alike_none_is_believed():
    drive = [[fit(at(100 + 5 * k), 0.4, 0.38), fit(at(300 + 5 * k), 0.38, 0.4)] for k in range(6)]
    assert after(*drive).confirmed() is None


def test_an_image_that_fits_elsewhere_speaks_against_a_hypothesis():
    believed = [[fit(at(100), 0.3, 0.12)], [fit(at(105), 0.3, 0.12)]]
    assert after(*believed).confirmed() is not None
    assert after(*believed, [fit(at(400), 0.2, 0.12)]).confirmed() is None


def test_the_same_view_again_adds_nothing():
    same = [[fit(at(100 + 0.1 * k), 0.3, 0.12)] for k in range(9)]
    assert after(*same, step=0.1).confirmed() is None


def test_the_right_one_may_begin_behind_others():
    wrong = [fit(at(1000 * (k + 1) + 77 * n), 0.14, 0.13) for n in range(3) for k in range(KEPT - 1)]
    drive = [[*wrong[3 * n : 3 * n + 3], fit(at(100 + 5 * n), (0.13, 0.3, 0.35)[n], 0.14)] for n in range(3)]
    assert after(*drive).confirmed().place.T_map_base[0, 3] == 110


def test_poses_are_carried_on_in_every_direction():
    hypotheses = Hypotheses()
    turned = make_pose(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]), (10.0, 20.0, 0.0))
    hypotheses.add([fit(turned)])
    assert hypotheses.carry(lambda _: at(3.0))[0, 3] == 3
    assert hypotheses.poses[0][:3, 3] == pytest.approx((10, 23, 0))
    hypotheses.clear()
    assert hypotheses.poses == []


def test_each_goes_the_way_that_it_would_have_gone_and_is_forgotten_where_that_is_not_known():
    hypotheses = Hypotheses()
    hypotheses.add([fit(at(100), 0.3), fit(at(200), 0.2), fit(at(300), 0.1)])
    ways = {100: None, 200: at(4.0), 300: at(6.0)}
    assert hypotheses.carry(lambda pose: ways[pose[0, 3]])[0, 3] == 4
    assert [pose[0, 3] for pose in hypotheses.poses] == [204, 306]


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 500), st.floats(0, 1), st.floats(0, 1)), max_size=4), min_size=1, max_size=8
    )
)
def test_whatever_images_say_few_are_kept_the_likeliest_first(images):
    hypotheses = after(*[[fit(at(x), ratio, rival) for x, ratio, rival in fits] for fits in images])
    evidence = [h.evidence for h in hypotheses._kept]
    assert len(evidence) <= KEPT and evidence == sorted(evidence, reverse=True)
    found = hypotheses.confirmed()
    assert found is None or evidence[0] >= CONFIRMED


def test_views_of_a_slow_robot_count_once_it_has_moved_enough_in_sum():
    drive = [[fit(at(100 + 0.4 * k), 0.3, 0.12)] for k in range(4)]
    assert after(*drive[:3], step=0.4).confirmed() is None
    assert after(*drive, step=0.4).confirmed() is not None
