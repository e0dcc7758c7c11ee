# SPDX-License-Identifier: Apache-2.0
"""Without a start pose, when lost and when asked, the node looks for its place in the whole map."""

import threading

import numpy as np
import pytest
from one_session import SureRefiner, at, one_session
from robot import write_street
from ros_side import RosSide, wait_until
from std_srvs.srv import Empty, Trigger

from lhmap_loc_ros.localization.relocalize import PlacedPose
from lhmap_loc_ros.localization.states import TrackState
from lhmap_loc_ros.nodes.place_search import PlaceSearch
from lhmap_loc_ros.nodes.search_services import SearchServices

WIDE = np.diag([0.5**2] * 3 + [0.02**2] * 3)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return write_street(tmp_path_factory.mktemp("street") / "street.lhmap")


class Knows:
    """Recognises a place at the `after`-th image."""

    def __init__(self, place, after=3):
        self.place, self.after, self.images = place, after, 0

    def find(self, stamp_ns, image, seen_by, T_odom_base, going):
        assert image.shape[:2] == (seen_by.camera.height, seen_by.camera.width)
        self.images += 1
        return PlacedPose(self.place, WIDE, 0.6) if self.images >= self.after and going() else None

    def restart(self):
        self.images = 0


def test_a_robot_without_a_start_pose_starts_where_its_images_show(ros, street):
    with one_session(ros.node, street, SureRefiner(at(60.0)), search=Knows(at(60.5))) as fed:
        fed.image()
        assert "looking for the place" in fed.session.health.problem and fed.session.health.last is None
        for _ in range(6):
            fed.image()
        last = fed.session.health.last
    assert abs(last.T_map_base[0, 3] - 60.0) < 0.2 and last.state is TrackState.TRACKING


def test_what_a_user_says_ends_the_search(ros, street):
    with one_session(ros.node, street, SureRefiner(at(20.0)), search=Knows(at(60.0))) as fed:
        fed.image()
        fed.initialpose(at(20.2))
        for _ in range(4):
            fed.image()
        assert abs(fed.session.health.last.T_map_base[0, 3] - 20.0) < 0.3


def test_a_map_without_places_and_a_search_that_is_switched_off_wait_for_a_start_pose(ros, street):
    for settings, why in (
        ({}, "street.lhmap: has no places"),
        ({"relocalizer": "coordinates"}, "street.lhmap: nothing was learned by the method 'coordinates'"),
        ({"global_localization": False}, "is false"),
    ):
        with one_session(ros.node, street, SureRefiner(at(0.0)), **settings) as fed:
            for _ in range(2):
                fed.image()
            assert fed.session.health.problem.startswith("waiting for initialpose")
            assert why in fed.session.health.problem


def test_a_lost_robot_is_found_in_the_whole_map(ros, street):
    refiner, moved = SureRefiner(at(20.0)), at(150.0)
    states = {"states": {"lost_rejections": 3}}
    settings = {"tracker": states, "relocalize": {"enabled": False}}
    with one_session(ros.node, street, refiner, search=Knows(moved, after=1), **settings) as fed:
        fed.initialpose(at(20.0))
        for _ in range(3):
            fed.image()
        assert fed.session.health.last.state is TrackState.TRACKING
        refiner.place = moved  # somebody carried it away
        for _ in range(20):
            fed.image()
            last = fed.session.health.last
            if abs(last.T_map_base[0, 3] - 150.0) < 0.5 and last.state is TrackState.TRACKING:
                return
    raise AssertionError(f"not found: {last.state} at {last.T_map_base[0, 3]:.1f}")


def test_who_asks_for_the_place_is_answered_once_it_is_found_while_images_go_on(ros, street):
    answers = []
    with one_session(ros.node, street, SureRefiner(at(60.0)), search=Knows(at(60.2), after=4)) as fed:
        fed.initialpose(at(60.0))
        fed.image()
        asking = threading.Thread(target=lambda: answers.append(fed.session.search(20.0)))
        asking.start()
        while not answers:
            fed.image()
        asking.join()
        (place, problem), = answers
        assert place.T_map_base[0, 3] == pytest.approx(60.2) and not problem
        # nobody is kept waiting for ever, and whoever waits is told why nothing came
        place, problem = fed.session.search(0.05)
        assert place is None and "not found within 0 s" in problem
        fed.session.deactivate()
        assert fed.session.search(5.0) == (None, "the localizer is inactive")


def test_who_waits_is_answered_when_the_session_ends():
    search, answers = PlaceSearch(lambda: Knows(at(0.0))), []
    asking = threading.Thread(target=lambda: answers.append(search.ask(20.0)))
    asking.start()
    assert wait_until(lambda: search.asked)
    search.give_up()
    asking.join(5.0)
    assert answers == [None] and "shut down" in search.problem


def test_the_services_answer_with_the_place_and_hold_nothing_up():
    found, asked = threading.Event(), []

    def ask(wait_s):
        asked.append(wait_s)
        return (PlacedPose(at(12.0, 3.0), WIDE, 0.5), "") if found.wait(10.0) else (None, "nothing came")

    with RosSide() as robot, RosSide() as user:
        services = SearchServices(robot.node, ask)
        answers = []
        call = threading.Thread(target=lambda: answers.append(user.call(Trigger, "global_localization")))
        call.start()
        assert wait_until(lambda: asked)
        # the robot's own executor goes on meanwhile
        ticks = []
        timer = robot.node.create_timer(0.01, lambda: ticks.append(1))
        assert wait_until(lambda: len(ticks) > 3) and not answers
        found.set()
        call.join()
        assert answers[0].success and answers[0].message.startswith("at 12.00 3.00 0.00 m, 50 %")
        before = len(asked)
        user.call(Empty, "reinitialize_global_localization")
        assert len(asked) > before
        robot.node.destroy_timer(timer)
        services.close()
