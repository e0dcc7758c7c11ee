# SPDX-License-Identifier: Apache-2.0
"""Lets the tests of this folder import the modules that lie beside them (pytest's importlib mode does not)."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from known_places import KnowingDescriber, write_street

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
