# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share."""

import pytest
from helpers.known_places import KnowingDescriber, write_street

from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.places.build import add_places


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A map with places, open, and its file."""
    path = tmp_path_factory.mktemp("street") / "street.lhmap"
    write_street(path).close()
    add_places(path, KnowingDescriber())
    with LHMap.open(path) as lhmap:
        yield lhmap
