# SPDX-License-Identifier: Apache-2.0
"""Lets the tests of this folder import the modules beside them and the small bag of the evaluation's tests."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "evaluation")]

from ros_side import RosSide
from tiny_bag import write_bag, write_walls


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A folder with a bag and a map of the street it was recorded in."""
    folder = tmp_path_factory.mktemp("street")
    write_bag(folder / "bag", frames=25)
    write_walls(folder / "walls.lhmap")
    return folder


@pytest.fixture
def ros():
    """This process as a part of the ROS graph."""
    with RosSide() as side:
        yield side
