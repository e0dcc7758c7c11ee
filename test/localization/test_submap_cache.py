# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest

from lhmap_loc_ros.errors import MapFormatError
from lhmap_loc_ros.localization.submap_cache import SubmapCache


class CountingMap:
    """Remembers where it was cropped, and how far."""

    def __init__(self):
        self.asked, self.error = [], None

    def crop(self, center, radius, damaged):
        self.asked.append((*center, radius))
        if self.error is not None:
            damaged.append(self.error)
        return SimpleNamespace(number=len(self.asked))


@pytest.fixture
def lhmap():
    return CountingMap()


def test_a_crop_serves_as_far_as_it_reaches_beyond_the_radius(lhmap):
    submaps = SubmapCache(lhmap)
    numbers = [submaps.get(np.array([x, 0.0, 0.0]))[0].number for x in (0, 1, 4, 4.1, 8, 0)]
    assert numbers == [1, 1, 1, 2, 2, 3]
    assert lhmap.asked == [(0, 0, 0, 64), (4.1, 0, 0, 64), (0, 0, 0, 64)]


def test_submaps_reach_as_far_as_asked_and_a_reserve(lhmap):
    for radius in (60.0, 30.0):
        SubmapCache(lhmap, radius, 4.0).get(np.zeros(3))
    assert [radius for *_, radius in lhmap.asked] == [64, 34]


def test_a_crop_with_tiles_missing_is_tried_again(lhmap):
    submaps = SubmapCache(lhmap)
    lhmap.error = MapFormatError("tile (1, 2) is damaged")
    assert submaps.get(np.zeros(3))[1] == [lhmap.error]
    lhmap.error = None
    assert submaps.get(np.zeros(3)) == (SimpleNamespace(number=2), [])
    assert submaps.get(np.ones(3)) == (SimpleNamespace(number=2), [])
