# SPDX-License-Identifier: Apache-2.0
"""Descriptors in few bytes are still those descriptors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.places.codes import CODE_BYTES, Quantizer


def unit_vectors(seed, count, dimension):
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(seed=st.integers(0, 2**32 - 1), dimension=st.integers(1, 256))
@settings(max_examples=60, deadline=None)
def test_components_come_back_to_within_half_a_step(seed, dimension):
    quantizer, vectors = Quantizer.of(dimension), unit_vectors(seed, 20, dimension)
    codes = quantizer.encode(vectors)
    back = quantizer.decode(codes)
    assert codes.dtype == np.uint8 and codes.shape == (20, quantizer.bytes) and quantizer.bytes <= CODE_BYTES
    inside = np.abs(vectors) <= quantizer.limit
    assert (np.abs(back - vectors)[inside] <= quantizer.step / 2 + 1e-6).all()
    np.testing.assert_allclose(np.abs(back[~inside]), quantizer.limit, rtol=1e-6)
    np.testing.assert_array_equal(quantizer.encode(back), codes)


@given(seed=st.integers(0, 2**32 - 1), dimension=st.integers(1, 256))
@settings(max_examples=60, deadline=None)
def test_products_and_norms_are_those_of_the_decoded_vectors(seed, dimension):
    quantizer, vectors = Quantizer.of(dimension), unit_vectors(seed, 20, dimension)
    codes, query = quantizer.encode(vectors), unit_vectors(seed + 1, 1, dimension)[0]
    back = quantizer.decode(codes)
    np.testing.assert_allclose(quantizer.dots(codes, query), back @ query, atol=1e-4)
    np.testing.assert_allclose(
        quantizer.norms(codes.reshape(4, 5, -1)).ravel(), np.linalg.norm(back, axis=1), rtol=1e-4
    )


@pytest.mark.parametrize("dimension, error", ((32, 0.01), (64, 0.02), (128, 0.06), (256, 0.1)))
def test_what_looks_alike_still_does(dimension, error):
    vectors = unit_vectors(0, 500, dimension)
    query = vectors[7] + 0.5 * unit_vectors(1, 1, dimension)[0]
    query /= np.linalg.norm(query)
    quantizer = Quantizer.of(dimension)
    codes = quantizer.encode(vectors)
    cosines = quantizer.dots(codes, query) / quantizer.norms(codes)
    assert np.std(cosines - vectors @ query) < error
    assert np.argmax(cosines) == 7


def test_too_many_components_are_refused():
    with pytest.raises(InputError, match="257 components found, expected at most 256"):
        Quantizer.of(257)
    with pytest.raises(InputError, match="3 bits"):
        Quantizer(64, 3, 0.1)
