# SPDX-License-Identifier: Apache-2.0
"""Between callbacks and worker: the newest image of each camera, and all odometry."""

import threading
import time

import numpy as np

from lhmap_loc_ros.nodes import latest
from lhmap_loc_ros.nodes.latest import Frame, Mailbox


def image(stamp_ns, camera=""):
    return Frame(stamp_ns, b"", camera)


def test_the_newest_image_of_each_camera_is_taken_and_the_others_are_counted():
    mailbox = Mailbox()
    for stamp_ns, camera in ((1, "left"), (2, "right"), (3, "left"), (5, "left")):
        mailbox.put_image(image(stamp_ns, camera))
    taken = [mailbox.take_image(), mailbox.take_image()]
    assert [(frame.stamp_ns, frame.camera) for frame in taken] == [(2, "right"), (5, "left")]
    assert (mailbox.received, mailbox.dropped) == (4, 2)


def test_dropped_images_are_counted_and_never_taken():
    mailbox = Mailbox()
    mailbox.put_image(image(1, "left"))
    mailbox.put_image(image(2, "right"))
    mailbox.drop_images()
    assert (mailbox.received, mailbox.dropped) == (2, 2)
    mailbox.put_image(image(3, "left"))
    assert mailbox.take_image().stamp_ns == 3


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


def test_closing_ends_the_wait_of_the_worker():
    mailbox = Mailbox()
    threading.Timer(0.05, mailbox.close).start()
    assert mailbox.take_image() is None
    mailbox.put_odometry(5, np.eye(4))
    assert len(mailbox.take_odometry(10, wait_s=60)) == 1
