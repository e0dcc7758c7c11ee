# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share."""

import pytest
from helpers.ros_side import RosSide
from helpers.tiny_bag import write_bag, write_walls


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
