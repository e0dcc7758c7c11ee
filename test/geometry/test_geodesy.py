# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lhmap_loc_ros.geometry.geodesy import enu_from_geodetic, geodetic_from_enu

places = st.tuples(st.floats(-90, 90), st.floats(-180, 180), st.floats(-400, 5000)).map(np.array)


@settings(deadline=None)
@given(places, st.tuples(*[st.floats(-50_000, 50_000)] * 2, st.floats(-1000, 1000)).map(np.array))
def test_there_and_back_is_exact_to_a_micrometre_everywhere_on_earth(origin, enu):
    np.testing.assert_allclose(enu_from_geodetic(geodetic_from_enu(enu, origin), origin), enu, atol=1e-6)


def test_a_minute_of_latitude_is_a_nautical_mile_and_longitudes_draw_together():
    east, north, up = enu_from_geodetic(np.array([45 + 1 / 60, 10.0, 0.0]), np.array([45.0, 10.0, 0.0]))
    assert abs(north - 1852.2) < 0.2 and abs(east) < 1e-6 and -0.5 < up < 0
    east, north, _ = enu_from_geodetic(np.array([60.0, 10.01, 0.0]), np.array([60.0, 10.0, 0.0]))
    # the radius of the parallel, WGS 84: a cos(lat) / sqrt(1 - e2 sin2(lat))
    assert abs(east - 558.0) < 0.2 and abs(north) < 0.1
