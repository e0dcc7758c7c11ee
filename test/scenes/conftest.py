# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share."""

import pytest
from helpers.known_places import write_street
from helpers.known_scene import KnowingEncoder, street_material

from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.lhmap.writer import write_with_section


@pytest.fixture(scope="session")
def learned_map(tmp_path_factory):
    """A map with what two methods learned of its street in a few seconds, open."""
    pytest.importorskip("torch")
    from lhmap_loc_ros.training.scene import Amount, learn
    from lhmap_loc_ros.training.scene_steps import CoordinatesStep

    path = tmp_path_factory.mktemp("learned") / "street.lhmap"
    write_street(path).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CoordinatesStep, "BATCH", 512)
        for method, steps in (("coordinates", 150), ("regression", 200)):
            with LHMap.open(path) as lhmap:
                learned = learn(street_material(), method, lhmap, amount=Amount(steps=steps))
                write_with_section(lhmap, path, learned.to_section())
    with LHMap.open(path) as lhmap:
        yield lhmap


@pytest.fixture
def encoder():
    """What the street was learned with."""
    return KnowingEncoder()
