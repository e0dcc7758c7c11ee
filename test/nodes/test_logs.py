# SPDX-License-Identifier: Apache-2.0
"""What the package logs reaches the log of ROS."""

import logging
from types import SimpleNamespace

import pytest

from lhmap_loc_ros.nodes import runtime


@pytest.fixture
def seen(monkeypatch):
    """(level, name, text) of what ROS is given."""
    lines = []

    def logger(name):
        levels = ("info", "warning", "error")
        return SimpleNamespace(**{k: lambda text, k=k: lines.append((k, name, text)) for k in levels})

    monkeypatch.setattr(runtime, "get_logger", logger)
    # tests that import the real launch leave a class behind that does not propagate
    logging.setLoggerClass(logging.Logger)
    return lines


def test_what_the_package_logs_reaches_ros_with_its_level(seen):
    log = logging.getLogger("lhmap_loc_ros.inference.anything")
    with runtime.logs_to_ros():
        log.debug("details")
        log.info("building %d %%", 10)
        log.warning("deleted")
        log.error("failed")
        logging.getLogger("another.package").error("not ours")
    log.error("after the node has ended")
    name = "lhmap_loc_ros.inference.anything"
    assert seen == [("info", name, "building 10 %"), ("warning", name, "deleted"), ("error", name, "failed")]
