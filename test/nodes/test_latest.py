# SPDX-License-Identifier: Apache-2.0
"""Between callbacks and worker: the newest image of each camera, and all odometry."""

import threading
import time

import numpy as np
import pytest

from lhmap_loc_ros.localization import stamp_sets
from lhmap_loc_ros.nodes import latest
from lhmap_loc_ros.nodes.latest import Frame, Mailbox

MS = 1_000_000


def image(stamp_ns, camera=""):
    return Frame(stamp_ns, b"", camera)


def test_the_newest_image_of_each_camera_is_taken_and_the_others_are_counted():
    mailbox = Mailbox(("left", "right"))
    for ms, camera in ((10, "left"), (20, "right"), (30, "left"), (50, "left"), (60, "right")):
        mailbox.put_image(image(ms * MS, camera))
    taken = [*mailbox.take_images(), *mailbox.take_images()]
    assert [(frame.stamp_ns, frame.camera) for frame in taken] == [(50 * MS, "left"), (60 * MS, "right")]
    assert (mailbox.received, mailbox.dropped) == (5, 3)


def cameras_of(frames):
    return [frame.camera for frame in frames]


def test_images_of_one_moment_are_taken_together():
    mailbox = Mailbox(("left", "right", "back"))
    for camera, ms in (("left", 100), ("right", 102), ("back", 130)):
        mailbox.put_image(image(ms * MS, camera))
    assert cameras_of(mailbox.take_images()) == ["left", "right"]
    assert cameras_of(mailbox.take_images()) == ["back"]


def test_a_camera_that_takes_its_images_with_another_is_waited_for_until_it_has_missed_some(monkeypatch):
    monkeypatch.setattr(stamp_sets, "PATIENCE_S", 5.0)
    mailbox = Mailbox(("left", "right"))
    for camera in ("left", "right"):
        mailbox.put_image(image(100 * MS, camera))
    assert len(mailbox.take_images()) == 2
    mailbox.put_image(image(200 * MS, "left"))
    later = threading.Timer(0.1, mailbox.put_image, (image(201 * MS, "right"),))
    later.start()
    assert cameras_of(mailbox.take_images()) == ["left", "right"]
    # the right one falls silent
    monkeypatch.setattr(stamp_sets, "PATIENCE_S", 0.05)
    for k in range(stamp_sets.MAX_MISSED):
        mailbox.put_image(image((300 + 100 * k) * MS, "left"))
        assert cameras_of(mailbox.take_images()) == ["left"]
    monkeypatch.setattr(stamp_sets, "PATIENCE_S", 30.0)
    mailbox.put_image(image(900 * MS, "left"))
    began = time.monotonic()
    assert cameras_of(mailbox.take_images()) == ["left"] and time.monotonic() < began + 10
    # and comes again
    for ms, camera in ((1000, "left"), (1001, "right"), (1100, "left"), (1101, "right")):
        mailbox.put_image(image(ms * MS, camera))
    assert cameras_of(mailbox.take_images()) == ["left", "right"]


def test_a_camera_whose_images_take_longer_is_not_left_behind_while_the_worker_is_busy(monkeypatch):
    monkeypatch.setattr(stamp_sets, "PATIENCE_S", 0.0)
    mailbox = Mailbox(("left", "right"))
    mailbox.put_image(image(100 * MS, "left"))
    mailbox.put_image(image(100 * MS, "right"))
    assert len(mailbox.take_images()) == 2


def test_cameras_that_are_not_synchronised_do_not_wait_for_each_other(monkeypatch):
    mailbox, began = Mailbox(("left", "right")), time.monotonic()
    for k in range(4):
        # until it knows how often each of them comes
        monkeypatch.setattr(stamp_sets, "PATIENCE_S", 0.05 if k < 2 else 30.0)
        mailbox.put_image(image((100 * k) * MS, "left"))
        assert cameras_of(mailbox.take_images()) == ["left"]
        mailbox.put_image(image((100 * k + 50) * MS, "right"))
        assert cameras_of(mailbox.take_images()) == ["right"]
    assert time.monotonic() < began + 10


def test_dropped_images_are_counted_and_never_taken():
    mailbox = Mailbox(("left", "right"))
    for stamp_ns, camera in ((1 * MS, "left"), (2 * MS, "right"), (100 * MS, "left")):
        mailbox.put_image(image(stamp_ns, camera))
    mailbox.drop_images()
    assert (mailbox.received, mailbox.dropped) == (3, 3)
    mailbox.put_image(image(200 * MS, "left"))
    assert mailbox.take_images()[0].stamp_ns == 200 * MS


def test_odometry_is_waited_for_up_to_the_image_and_never_dropped():
    mailbox = Mailbox()
    assert mailbox.take_odometry(10, wait_s=60) == []  # none ever came: there is nothing to wait for
    mailbox.put_odometry(5, np.eye(4))
    later = threading.Timer(0.05, mailbox.put_odometry, (10, np.eye(4)))
    later.start()
    assert [stamp_ns for stamp_ns, _ in mailbox.take_odometry(10, wait_s=60)] == [5, 10]
    assert mailbox.take_odometry(20, wait_s=0.01) == []


def test_odometry_that_has_ended_is_not_waited_for(monkeypatch):
    mailbox = Mailbox()
    mailbox.put_odometry(5, np.eye(4))
    monkeypatch.setattr(latest, "SILENT_S", 0.0)
    began = time.monotonic()
    assert len(mailbox.take_odometry(10, wait_s=60)) == 1 and time.monotonic() < began + 30


def test_an_image_that_comes_late_does_not_take_the_place_of_a_newer_one():
    mailbox, second = Mailbox(), 1_000_000_000
    for stamp_ns in (5 * second, 5 * second, 5 * second - 1):
        mailbox.put_image(image(stamp_ns))
    assert mailbox.take_images()[0].stamp_ns == 5 * second and (mailbox.received, mailbox.dropped) == (3, 2)
    # where the clock went back it does
    mailbox.put_image(image(5 * second))
    mailbox.put_image(image(2 * second))
    assert mailbox.take_images()[0].stamp_ns == 2 * second


class Clock:
    """The steady clock of the mailbox; waiting lets time go by, and odometry come that is due."""

    def __init__(self, mailbox, monkeypatch):
        self.now, self.due, self.waited, self.mailbox = 100.0, [], [], mailbox
        monkeypatch.setattr(latest.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(mailbox._changed, "wait_for", self.wait_for)

    def until(self, then):
        while self.due and self.due[0][0] <= then:
            self.now, stamp_ns = self.due.pop(0)
            self.mailbox.put_odometry(stamp_ns, np.eye(4))
        self.now = then

    def wait_for(self, condition, timeout):
        end, began = self.now + timeout, self.now
        while not condition() and self.now < end:
            self.until(min(end, self.due[0][0]) if self.due else end)
        self.waited.append(self.now - began)


@pytest.mark.parametrize(
    ("every_s", "late_s", "waits"),
    [(0.02, 0.01, "each"), (0.02, 0.3, "none"), (0.02, 1.0, "none"), (1.0, 0.0, "none"), (0.1, 0.09, "each")],
)
def test_images_wait_only_for_odometry_that_comes_soon(monkeypatch, every_s, late_s, waits):
    mailbox = Mailbox()
    clock, ns = Clock(mailbox, monkeypatch), 1_000_000_000
    stamps = np.arange(0.005, 20, every_s)
    clock.due = [(100 + s + late_s, round(s * ns)) for s in stamps]
    for k in range(150):
        at = k / 10
        clock.until(max(100 + at, clock.now))
        mailbox.take_odometry(round(at * ns), 0.1)
    settled = [w for w in clock.waited if w > 0]
    assert sum(settled) < 150 * 0.1
    if waits == "each":
        assert len(settled) > 140 and max(settled) < 0.1
    else:
        assert len(settled) < 10 and sum(settled) < 1.0


def test_odometry_that_comes_in_time_again_is_waited_for_again(monkeypatch):
    mailbox = Mailbox()
    clock, ns = Clock(mailbox, monkeypatch), 1_000_000_000
    late_s = lambda s: 0.4 if 5 < s < 8 else 0.01  # noqa: E731
    clock.due = sorted((100 + s + late_s(s), round(s * ns)) for s in np.arange(0.005, 20, 0.02))
    for k in range(150):
        clock.until(max(100 + k / 10, clock.now))
        mailbox.take_odometry(round(k / 10 * ns), 0.1)
    assert len([w for w in clock.waited if 0 < w < 0.1]) > 110
    assert len([w for w in clock.waited if w >= 0.1]) < 5


def test_odometry_of_a_clock_that_went_back_is_waited_for_again(monkeypatch):
    mailbox, ns = Mailbox(), 1_000_000_000
    clock = Clock(mailbox, monkeypatch)
    clock.due = [(100 + 0.02 * k, round((500 + 0.02 * k) * ns)) for k in range(100)]
    clock.until(102.5)
    mailbox.take_odometry(round(502.5 * ns), 0.1)  # an image that no odometry reaches
    clock.due = [(103 + 0.02 * k, round((1 + 0.02 * k) * ns)) for k in range(200)]
    clock.until(106.0)
    clock.waited.clear()
    mailbox.take_odometry(round(4.005 * ns), 0.1)
    assert 0 < sum(clock.waited) < 0.1


def test_closing_ends_the_wait_of_the_worker():
    mailbox = Mailbox()
    threading.Timer(0.05, mailbox.close).start()
    assert mailbox.take_images() == []
    mailbox.put_odometry(5, np.eye(4))
    assert len(mailbox.take_odometry(10, wait_s=60)) == 1
