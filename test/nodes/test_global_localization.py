# SPDX-License-Identifier: Apache-2.0
"""Without a start pose, when lost and when asked, the node looks for its place in the whole map."""

import threading

import numpy as np
import pytest
from helpers.one_session import SureRefiner, at, one_session
from helpers.robot import SECOND, image_message, picture, write_street
from helpers.ros_side import RosSide, wait_until
from rclpy.serialization import serialize_message
from sensor_msgs.msg import NavSatFix
from std_srvs.srv import Empty, Trigger

from lhmap_loc_ros.lhmap import GeodeticDatum
from lhmap_loc_ros.localization import transitions
from lhmap_loc_ros.localization.localizer import Localizer
from lhmap_loc_ros.localization.relocalize import PlaceSearch, PoseHypothesis
from lhmap_loc_ros.localization.states import TrackState
from lhmap_loc_ros.nodes import conversions as convert
from lhmap_loc_ros.nodes.global_localization import TOLD, GlobalLocalization
from lhmap_loc_ros.nodes.search_services import SearchServices

WIDE = np.diag([0.5**2] * 3 + [0.02**2] * 3)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return write_street(tmp_path_factory.mktemp("street") / "street.lhmap")


class Knows(PlaceSearch):
    """Recognises a place at the `after`-th image."""

    def __init__(self, place, after=3):
        self.place, self.after, self.images, self.regions = place, after, 0, []

    def find(self, stamp_ns, image, camera, T_odom_base, should_continue, region=None):
        self.regions.append(region)
        assert image.shape[:2] == (camera.camera.height, camera.camera.width)
        self.images += 1
        return PoseHypothesis(self.place, WIDE, 0.6) if self.images >= self.after and should_continue() else None

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


def test_a_pose_that_somebody_knows_but_roughly_is_where_the_place_is_looked_for(ros, street):
    search = Knows(at(60.0), after=2)
    with one_session(ros.node, street, SureRefiner(at(60.0)), search=search) as fed:
        fed.initialpose(at(20.0))
        fed.image()
        fed.initialpose(at(75.0), sigma_m=8.0)
        for _ in range(5):
            fed.image()
        assert abs(fed.session.health.last.T_map_base[0, 3] - 60.0) < 0.2
    assert search.regions[0].center == pytest.approx((75.0, 0.0)) and search.regions[0].radius_m >= 4 * 8.0


def test_a_gps_fix_tells_where_the_place_is_looked_for(ros, tmp_path):
    datum = GeodeticDatum(latitude_deg=48.0, longitude_deg=11.0)
    street, search = write_street(tmp_path / "street.lhmap", datum=datum), Knows(at(60.0))
    with one_session(ros.node, street, SureRefiner(at(60.0)), search=search) as fed:
        fed.image()
        latitude, longitude, _ = datum.to_geodetic(np.array([70.0, 3.0, 0.0])).tolist()
        for status in (0, -1):
            message = NavSatFix(latitude=latitude, longitude=longitude, altitude=float("nan"))
            message.header, message.status.status = convert.header(fed.stamp_ns, "gps"), status
            fed.session.on_fix(message)
        fed.image()
    assert search.regions[0] is None and search.regions[1].center == pytest.approx((70.0, 3.0), abs=1e-3)
    assert fed.session.health.left_out["fix"] == 1


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


def test_a_lost_robot_is_found_in_the_whole_map(ros, street, monkeypatch):
    refiner, moved = SureRefiner(at(20.0)), at(150.0)
    monkeypatch.setattr(transitions, "LOST_REJECTIONS", 3)
    settings = {"relocalize": {"enabled": False}}
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


class KnowsOnce(Knows):
    """Recognises a place at the first image, and none after it."""

    def find(self, *given, **more):
        found = super().find(*given, **more)
        return found if self.images == 1 else None

    def restart(self):
        pass


def test_a_place_that_was_found_for_a_lost_robot_is_not_believed_before_images_confirm_it(ros, street, monkeypatch):
    refiner, search = SureRefiner(at(20.0)), KnowsOnce(at(150.0), after=1)
    monkeypatch.setattr(transitions, "LOST_REJECTIONS", 3)
    with one_session(ros.node, street, refiner, search=search, relocalize={"enabled": False}) as fed:
        fed.initialpose(at(20.0))
        for _ in range(4):
            fed.image()
        refiner.place = at(60.0)
        for _ in range(12):
            fed.image()
        assert wait_until(lambda: search.images > 1)
        # nearby is looked for around where it was tracked, not around a place that no image fits
        assert fed.session._localizer._recovery._around[0, 3] == pytest.approx(20.0, abs=1.0)


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
        ((place, problem),) = answers
        assert place.T_map_base[0, 3] == pytest.approx(60.2) and not problem
        # nobody is kept waiting for ever, and whoever waits is told why nothing came
        place, problem = fed.session.search(0.05)
        assert place is None and "not found within 0 s" in problem
        fed.session.deactivate()
        assert fed.session.search(5.0) == (None, "the localizer is inactive")


class Interrupted(Knows):
    """Finds its place with every image; while it looks at the first, somebody says something.

    It notices at once that it should not continue, or only when it has found the place.
    """

    def __init__(self, place, notices=True):
        super().__init__(place)
        self.says, self.looks, self.notices = lambda: None, 0, notices

    def find(self, stamp_ns, image, camera, T_odom_base, should_continue, region=None):
        self.looks += 1
        if self.looks == 1:
            self.says()
        return PoseHypothesis(self.place, WIDE, 0.6) if should_continue() or not self.notices else None


@pytest.mark.parametrize("notices", [True, False])
def test_a_users_pose_that_comes_while_a_search_that_was_asked_for_runs_ends_it(ros, street, notices):
    answers, search = [], Interrupted(at(150.0), notices)
    with one_session(ros.node, street, SureRefiner(at(20.0)), search=search) as fed:
        search.says = lambda: fed.initialpose(at(20.2))
        fed.initialpose(at(20.0))
        fed.image()
        asking = threading.Thread(target=lambda: answers.append(fed.session.search(20.0)))
        asking.start()
        while not search.looks:
            fed.image()
        for _ in range(6):
            fed.image()
            assert abs(fed.session.health.last.T_map_base[0, 3] - 20.0) < 0.5
        asking.join()
    assert answers == [(None, TOLD)] and search.looks == 1


def test_a_users_pose_that_comes_while_a_place_found_is_being_started_from_counts(ros, street, monkeypatch):
    search, started = Interrupted(at(150.0)), []
    with one_session(ros.node, street, SureRefiner(at(20.0)), search=search) as fed:
        start = Localizer.start

        def says_at_the_same_time(localizer, T_map_base, *more):
            started.append(round(T_map_base[0, 3]))
            if len(started) == 1:
                fed.initialpose(at(20.0))
            start(localizer, T_map_base, *more)

        monkeypatch.setattr(Localizer, "start", says_at_the_same_time)
        for _ in range(8):
            fed.image()
        assert started == [150, 20]
        assert abs(fed.session.health.last.T_map_base[0, 3] - 20.0) < 0.5


def test_who_waits_is_answered_when_the_session_ends():
    search, answers = GlobalLocalization(lambda: Knows(at(0.0))), []
    asking = threading.Thread(target=lambda: answers.append(search.ask(20.0)))
    asking.start()
    assert wait_until(lambda: search.asked)
    search.give_up()
    asking.join(5.0)
    assert answers == [(None, "the localizer was shut down")]


def test_the_services_answer_with_the_place_and_hold_nothing_up():
    found, asked = threading.Event(), []

    def ask(wait_s):
        asked.append(wait_s)
        return (PoseHypothesis(at(12.0, 3.0), WIDE, 0.5), "") if found.wait(10.0) else (None, "nothing came")

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


class Following(Knows):
    """It looks at its image until two later ones have come, which it follows."""

    follows, sent = True, None

    def __init__(self, place):
        super().__init__(place, after=1)
        self.followed = []

    def follow(self, stamp_ns, image, camera):
        assert image.shape[:2] == (camera.camera.height, camera.camera.width)
        if stamp_ns not in self.followed:
            self.followed.append(stamp_ns)

    def find(self, stamp_ns, *arguments):
        for k in (1, 2):
            self.sent(stamp_ns + k * SECOND // 2)
            while len(self.followed) < k:
                assert arguments[3]()
        return super().find(stamp_ns, *arguments)

    def moved_on(self, T_map_base):
        return self.followed[-1], at(6.0)


def test_without_odometry_a_robot_that_drove_on_during_the_search_is_where_its_images_say(ros, street):
    search = Following(at(60.0))
    with one_session(ros.node, street, SureRefiner(at(66.2)), search=search) as fed:
        search.sent = lambda stamp_ns: fed.session.on_image(
            "", serialize_message(image_message(stamp_ns, picture(stamp_ns)))
        )
        fed.image()
        assert wait_until(lambda: fed.session.health.last is not None)
        last = fed.session.health.last
    assert len(search.followed) == 2 and last.motion == "velocity" and last.T_map_odom is None
    assert abs(last.T_map_base[0, 3] - 66.2) < 0.2
