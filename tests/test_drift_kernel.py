"""The compiled count of a frame's inputs is NumPy's, to the last bit of a mean that lies on a border."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.drift import input_values
from squeeze.drift_kernel import count


def counted(channels, scalars, borders):
    """By NumPy: how many borders lie under each value, the last bin for what is not known."""
    values = input_values(channels, scalars)
    counts = np.zeros((len(borders), borders.shape[1] + 2), np.int64)
    codes = (values[:, :, None] > borders).sum(axis=2)
    codes[np.isnan(values)] = counts.shape[1] - 1
    for side in codes:
        counts[np.arange(len(borders)), side] += 1
    return counts


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 4, 7, 8, 9, 32, 64, 127, 128, 129, 200, 256]))
def test_it_counts_as_numpy_does_even_where_a_mean_is_a_border(seed, bins):
    rng = np.random.default_rng(seed)
    channels = rng.lognormal(0, 3, (2, 3, bins)).astype(np.float32)
    channels[rng.random(channels.shape) < 0.2] = np.nan
    channels[:, 2] = np.nan
    scalars = rng.normal(size=(2, 4)).astype(np.float32)
    scalars[0, 1], scalars[1, 2], scalars[0, 3] = np.nan, np.inf, -np.inf
    values = input_values(channels, scalars)
    # Borders are just the values themselves, and the next numbers below them.
    exact = np.where(np.isfinite(values[0]), values[0], 0.0).astype(np.float64)
    borders = np.sort(np.stack([exact, np.nextafter(exact.astype(np.float32), np.float32(-np.inf))], axis=1), axis=1)
    borders = np.concatenate([borders, np.full((len(borders), 1), np.inf)], axis=1)
    found = np.zeros((len(borders), borders.shape[1] + 2), np.int64)
    count(channels, scalars, borders, found)
    assert found.tolist() == counted(channels, scalars, borders).tolist()


@pytest.mark.parametrize("known", [0, 1])
def test_an_input_that_is_not_known_is_counted_as_such(known):
    channels = np.full((2, 1, 8), np.nan, np.float32)
    channels[:, :, :known] = 5.0
    found = np.zeros((1, 3), np.int64)
    count(channels, np.zeros((2, 0), np.float32), np.array([[1.0]]), found)
    assert found.tolist() == [[0, 2 * known, 2 * (1 - known)]]
