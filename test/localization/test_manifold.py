# SPDX-License-Identifier: Apache-2.0
"""Covariances of poses, joined and compared."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lhmap_loc_ros.localization.manifold import covariance_intersection


def covariance(seed, scale=1.0):
    matrix = np.random.default_rng(seed).standard_normal((6, 6))
    return scale * (matrix @ matrix.T + 0.1 * np.eye(6))


@given(st.integers(0, 2**31), st.integers(0, 2**31), st.floats(0.01, 100))
@settings(max_examples=50, deadline=None)
def test_joined_estimates_are_no_surer_than_correlated_errors_allow(first, second, scale):
    a, b = covariance(first), covariance(second, scale)
    joined = covariance_intersection(a, b)
    # of any direction, one of the two is at least as sure
    for direction in np.random.default_rng(first).standard_normal((20, 6)):
        least, most = sorted(direction @ np.linalg.solve(m, direction) for m in (a, b))
        assert least * (1 - 1e-6) <= direction @ np.linalg.solve(joined, direction) <= most * (1 + 1e-6)


def test_an_estimate_joined_with_itself_stays_as_sure_as_it_was():
    a = covariance(1)
    np.testing.assert_allclose(covariance_intersection(a, a), a)


def test_a_far_surer_estimate_is_taken():
    a = covariance(1)
    np.testing.assert_allclose(covariance_intersection(1e6 * covariance(2), a), a, rtol=1e-2)
