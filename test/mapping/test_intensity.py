# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lhmap_loc_ros.mapping.intensity import IntensityRanks

RETURNS = np.random.default_rng(0).gamma(1.2, 0.12, 20_000).clip(0, 1)


@pytest.mark.parametrize(
    "sensor",
    [
        lambda x: x,
        lambda x: np.round(255 * x),
        lambda x: np.round(65535 * x**0.5),
        lambda x: np.round(3000 * x),  # counts of photons, whose full scale nobody knows
        lambda x: np.round(65535 * x) // 16 * 16,  # 12 bits in 16
    ],
)
def test_any_unit_gives_the_same_ranks(sensor):
    expected = np.array([(RETURNS <= value).mean() for value in RETURNS[:500]])
    found = IntensityRanks.of(sensor(RETURNS))(sensor(RETURNS[:500]))
    assert np.abs(found - expected).max() < 0.02
    assert 0 < found.min() and found.max() < 1


@pytest.mark.parametrize("returns", [np.zeros(50), np.full(50, 100.0), np.zeros(0), np.full(3, np.nan)])
def test_a_sensor_that_always_says_the_same_tells_no_intensity(returns):
    ranks = IntensityRanks.of(returns)
    assert not ranks.values and not ranks(np.array([0.0, 5.0])).any()


def test_what_no_scan_of_the_sample_had_stays_between_the_ends():
    ranks = IntensityRanks.of(np.array([10.0, 20.0, 30.0]))
    np.testing.assert_allclose(ranks(np.array([0.0, 15.0, 900.0])), [1 / 6, 1 / 3, 5 / 6], rtol=1e-6)
