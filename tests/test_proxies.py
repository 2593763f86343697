"""Targets of pre-training against a slow, obvious twin."""

import dataclasses

import numpy as np
import pytest

from squeeze.state import Unhealthy
from training.examples import Examples
from training.pretraining.proxies import LEAST_MOVE, SOFTENING, proxies

MINUTE_NS = 60_000_000_000
QUANTILES = (0.6, 0.9)


def examples_of(count=200, seed=0, blind=()):
    """Made-up frames; the steps in `blind` show nothing."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, count)))
    marks = np.stack([close, close * 1.001, close * 0.999, close], axis=1)
    unhealthy = np.zeros(count, np.int64)
    unhealthy[list(blind)] = Unhealthy.BARS_STALE
    marks[list(blind)] = np.nan
    swept = rng.exponential(0.01, (count, 2))
    swept[list(blind)] = 0
    return Examples(
        symbol="S",
        digest="",
        data_digest="",
        scalar_names=("a", "b"),
        channel_names=("unit_10x", "unit_20x"),
        closes_ns=(np.arange(count) + 1) * MINUTE_NS,
        unhealthy=unhealthy,
        degraded=np.zeros(count, np.int64),
        bin_width_log=np.full(count, 1e-3),
        channels=rng.random((count, 2, 2, 8)).astype(np.float32),
        scalars=rng.normal(size=(count, 2, 2)).astype(np.float32),
        swept=swept,
        marks=marks,
    )


def naive(examples, horizon, fit_until_ns):
    """(step, side) swept mass and excursion ahead, by plain loops, and which steps have them."""
    count = len(examples.closes_ns)
    swept, moved, known = np.zeros((count, 2)), np.zeros((count, 2)), np.zeros(count, bool)
    for t in range(count):
        ahead = range(t + 1, t + horizon + 1)
        if ahead[-1] >= count or any(np.isnan(examples.marks[i]).any() for i in (t, *ahead)):
            continue
        known[t] = True
        close = np.log(examples.marks[t, 3])
        swept[t] = [sum(examples.swept[i, side] for i in ahead) for side in range(2)]
        lowest, highest = min(examples.marks[i, 2] for i in ahead), max(examples.marks[i, 1] for i in ahead)
        moved[t] = max(close - np.log(lowest), 0), max(np.log(highest) - close, 0)
    fit = known & (examples.closes_ns + horizon * MINUTE_NS <= fit_until_ns)
    return swept, moved, known, fit


@pytest.mark.parametrize("blind", [(), (0, 1, 60, 150)])
def test_targets_are_what_a_plain_loop_finds(blind):
    examples, until = examples_of(blind=blind), 120 * MINUTE_NS
    found = proxies(examples, [7], QUANTILES, until)
    swept, moved, known, fit = naive(examples, 7, until)
    assert (found.known == known).all()
    levels = np.quantile(swept[fit], QUANTILES)
    assert (found.exceeds[known, :, 0] == (swept[known, :, None] > levels)).all()
    for part, value in enumerate((np.log(swept / levels[0] + SOFTENING), np.log(moved + LEAST_MOVE))):
        expected = (value - value[fit].mean()) / value[fit].std()
        np.testing.assert_allclose(found.graded[known, :, 0, part], expected[known], atol=1e-5)
    assert not found.exceeds[~known].any()
    assert not found.graded[~known].any()


def test_several_horizons_are_known_where_the_longest_is():
    examples = examples_of(blind=(50,))
    several, longest = proxies(examples, [3, 9], QUANTILES, 10**18), proxies(examples, [9], QUANTILES, 10**18)
    assert (several.known == longest.known).all()
    np.testing.assert_array_equal(several.exceeds[:, :, 1], longest.exceeds[:, :, 0])


def test_nothing_after_a_horizon_is_used():
    examples, until, t = examples_of(), 100 * MINUTE_NS, 150
    rng = np.random.default_rng(1)
    later = np.arange(200) > t + 7
    noisy = dataclasses.replace(
        examples,
        swept=np.where(later[:, None], rng.exponential(1, (200, 2)), examples.swept),
        marks=np.where(later[:, None], examples.marks * 3, examples.marks),
    )
    before, after = (proxies(e, [7], QUANTILES, until) for e in (examples, noisy))
    np.testing.assert_array_equal(before.exceeds[: t + 1], after.exceeds[: t + 1])
    np.testing.assert_array_equal(before.graded[: t + 1], after.graded[: t + 1])


def test_a_market_that_hardly_ever_sweeps_still_has_finite_targets():
    examples = dataclasses.replace(examples_of(), swept=np.zeros((200, 2)))
    found = proxies(examples, [7], QUANTILES, 10**18)
    assert np.isfinite(found.graded).all()
    assert not found.exceeds.any()


def test_a_step_whose_swept_mass_is_not_known_is_in_no_target():
    swept = examples_of().swept.copy()
    swept[100, 0] = np.nan
    found = proxies(dataclasses.replace(examples_of(), swept=swept), [7], QUANTILES, 10**18)
    assert np.flatnonzero(~found.known[:193]).tolist() == list(range(93, 100))
    assert np.isfinite(found.graded).all()


def test_nothing_is_known_of_a_series_without_a_whole_horizon_before_the_cut():
    found = proxies(examples_of(), [7], QUANTILES, 5 * MINUTE_NS)
    assert not found.known.any()
    assert not found.exceeds.any()
