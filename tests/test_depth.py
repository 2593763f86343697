"""Summaries of books against the slow twin, and by numbers that can be checked by eye."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from naive import naive_summary

from squeeze.market.books import Book
from squeeze.market.depth import BANDS_BPS, ORDERS_USD, WINDOW_LOG, BookSummary, summarise

BIN_LOG = 5e-4
NUMBERS = (
    *("bid", "ask", "spread_bps", "bid_depth_usd", "ask_depth_usd", "imbalance", "buy_cost_bps", "sell_cost_bps"),
    *("first_bin", "bids_usd", "asks_usd"),
)


def book(bids, asks, depth: int = 0) -> Book:
    made = Book()
    made.bids, made.asks, made.depth, made.valid, made.event_ns = dict(bids), dict(asks), depth, True, 7
    return made


def summary(bids, asks, depth: int = 0, bin_log: float = BIN_LOG) -> BookSummary:
    found = summarise(book(bids, asks, depth), bin_log)
    assert found is not None
    return found


SIZE = st.floats(1e-3, 2e3)


def sides(reach: int = 400):
    """Bids below and asks above 1,000, in ticks of a quarter, on each side at least one within 2.5 %."""
    side = st.tuples(
        st.dictionaries(st.integers(1, 100), SIZE, min_size=1, max_size=10),
        st.dictionaries(st.integers(1, reach), SIZE, max_size=20),
    ).map(lambda t: t[0] | t[1])
    return st.tuples(side, side).map(
        lambda t: ({1000 - 0.25 * n: s for n, s in t[0].items()}, {1000 + 0.25 * n: s for n, s in t[1].items()})
    )


@settings(max_examples=100, deadline=None)
@given(sides(), st.sampled_from([0, 30]), st.sampled_from([5e-4, 1e-3, 0.02]))
def test_a_summary_is_that_of_its_slow_twin(levels, depth, bin_log):
    found, expected = summary(*levels, depth, bin_log), naive_summary(*levels, depth, bin_log)
    for name in NUMBERS:
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=1e-9, atol=1e-7, err_msg=name)
    assert (found.event_ns, found.bin_log) == (7, bin_log)


@pytest.mark.parametrize(
    ("bids", "asks", "valid"),
    [
        ({}, {101.0: 1.0}, True),
        ({99.0: 1.0}, {}, True),
        ({}, {}, True),
        ({101.0: 1.0}, {101.0: 1.0}, True),
        ({102.0: 1.0}, {101.0: 1.0}, True),
        ({99.0: 1.0}, {101.0: 1.0}, False),
        ({99.0: 1.0, math.nan: 1.0}, {101.0: 1.0}, True),
        ({99.0: 1.0}, {math.nan: 1.0, 101.0: 1.0}, True),
    ],
)
def test_a_book_that_is_crossed_one_sided_or_not_valid_says_nothing(bids, asks, valid):
    made = book(bids, asks)
    made.valid = valid
    assert summarise(made, BIN_LOG) is None


def test_depth_imbalance_spread_and_cost_by_numbers():
    bids = {999.5: 10.0, 996.0: 100.0, 979.0: 1.0}
    asks = {1000.5: 20.0, 1004.0: 100.0, 1021.0: 1.0}
    found = summary(bids, asks)
    assert (found.bid, found.ask, found.spread_bps) == (999.5, 1000.5, 10.0)
    assert found.bid_depth_usd == (9995.0, 9995.0, 109595.0, 109595.0, 109595.0)
    assert found.ask_depth_usd == (20010.0, 20010.0, 120410.0, 120410.0, 120410.0)
    assert found.imbalance[0] == (9995 - 20010) / (9995 + 20010)
    # 10,000 USD are bought at 1,000.5 alone; sold for 9,995 at 999.5 and 5 at 996.
    assert found.buy_cost_bps[0] == pytest.approx(5.0)
    assert found.sell_cost_bps[0] == pytest.approx((1 - 10_000 / (10 + 5 / 996) / 1000) * 1e4)
    assert math.isnan(found.buy_cost_bps[2])
    assert math.isnan(found.sell_cost_bps[2])


@pytest.mark.parametrize("depth", [0, 200])
def test_a_side_whose_levels_are_all_far_away_has_bins_of_no_dollars(depth):
    found = summary({900.0: 1.0}, {1001.0: 1.0}, depth)
    assert set(found.bids_usd) == {0.0}
    assert all(isinstance(usd, float) for usd in found.bids_usd)
    assert all(map(math.isnan, found.sell_cost_bps))


def test_a_level_on_a_bands_border_is_in_it():
    found = summary({999.0: 1.0}, {1001.0: 1.0})  # 10 bps of 1,000
    assert (found.bid_depth_usd[0], found.ask_depth_usd[0]) == (999.0, 1001.0)


def test_an_order_as_large_as_the_book_is_filled():
    found = summary({1230.0: 1.0}, {1250.0: 8.0})
    assert found.buy_cost_bps[0] == pytest.approx((1250 / 1240 - 1) * 1e4)
    assert math.isnan(found.buy_cost_bps[1])


def test_a_band_without_an_order_has_no_imbalance():
    found = summary({990.0: 1.0}, {1010.0: 1.0})
    assert found.bid_depth_usd[:3] == (0.0, 0.0, 0.0)
    assert np.isnan(found.imbalance).tolist() == [True, True, True, False, False]


@settings(max_examples=60, deadline=None)
@given(sides(), st.integers(1, 500))
def test_what_lies_beyond_the_last_level_of_a_limited_feed_is_not_known(levels, depth):
    bids, asks = levels
    found, all_of_it = summary(bids, asks, depth), summary(bids, asks)
    mid = (max(bids) + min(asks)) / 2
    for n, bps in enumerate(BANDS_BPS):
        assert math.isnan(found.bid_depth_usd[n]) is (mid * (1 - bps / 1e4) < min(bids))
        assert math.isnan(found.ask_depth_usd[n]) is (mid * (1 + bps / 1e4) > max(asks))
    skipped = found.first_bin - all_of_it.first_bin
    for part, whole in ((found.bids_usd, all_of_it.bids_usd), (found.asks_usd, all_of_it.asks_usd)):
        assert skipped >= 0
        assert part == whole[skipped : skipped + len(part)]
        assert sum(part) == pytest.approx(sum(whole))
    assert found.buy_cost_bps == pytest.approx(all_of_it.buy_cost_bps, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(sides(900))
def test_a_feed_of_all_levels_leaves_no_depth_unknown(levels):
    found = summary(*levels)
    for name in ("bid_depth_usd", "ask_depth_usd", "bids_usd", "asks_usd"):
        assert not np.isnan(getattr(found, name)).any()


@settings(max_examples=60, deadline=None)
@given(sides(), st.sampled_from([5e-4, 1e-3, 0.02]))
def test_the_bins_hold_all_the_usd_of_their_window(levels, bin_log):
    """Of levels within 4.8 %, which are inside the window and inside the bins whatever the width of these."""
    bids, asks = ({p: s for p, s in side.items() if abs(p / 1000 - 1) < 0.048} for side in levels)
    assume(bids and asks)
    found = summary(bids, asks, bin_log=bin_log)
    near = [abs(p - 1000) for p in (*bids, *asks)]
    assume(abs((found.bid + found.ask) / 2 - 1000) < 1.0 and max(near) < 48)
    assert sum(found.bids_usd) == pytest.approx(sum(p * s for p, s in bids.items()))
    assert sum(found.asks_usd) == pytest.approx(sum(p * s for p, s in asks.items()))
    edges = np.exp((found.first_bin + np.arange(len(found.bids_usd) + 1)) * bin_log)
    for price, size in bids.items():
        at = np.searchsorted(edges, price, side="right") - 1
        assert found.bids_usd[at] >= price * size * (1 - 1e-9)


def test_every_bin_but_the_outermost_holds_all_the_usd_that_the_book_has_in_it():
    bids, asks = ({1000 + sign * (0.5 + 0.25 * n): 1.0 for n in range(240)} for sign in (-1, 1))
    found = summary(bids, asks)
    edges = np.exp((found.first_bin + np.arange(len(found.asks_usd) + 1)) * BIN_LOG)
    for side, usd in ((bids, found.bids_usd), (asks, found.asks_usd)):
        expected, _ = np.histogram(list(side), edges, weights=[p * s for p, s in side.items()])
        np.testing.assert_allclose(usd[1:-1], expected[1:-1])


def test_the_window_reaches_five_percent_both_ways_and_ends_where_a_limited_feed_ends():
    levels = {999.0: 1.0, 990.0: 1.0}, {1001.0: 1.0}
    for depth, ends in ((0, (1000 * (1 - WINDOW_LOG), 1000 * (1 + WINDOW_LOG))), (2, (990.0, 1001.0))):
        found = summary(*levels, depth)
        first, last = (math.floor(math.log(end) / BIN_LOG) for end in ends)
        assert (found.first_bin, found.first_bin + len(found.bids_usd) - 1) == (first, last)
        assert len(found.bids_usd) == len(found.asks_usd)


@settings(max_examples=60, deadline=None)
@given(sides(), st.sampled_from([0, 30]))
@example(({999.75: 1.0}, {1000.25: 1.0}), 30)
def test_a_book_reflected_at_its_mid_swaps_its_sides(levels, depth):
    """p → 2·mid - p and the same USD at each level: spread stays, bands change sides, imbalance its sign.

    Costs are not mirrored (an order of so many USD buys fewer coins above the mid than it sells below), nor are bins,
    whose borders are even in the logarithm of price.
    """
    bids, asks = levels[0], {p + 0.1: s for p, s in levels[1].items()}  # so that no level is on a band's border
    mid = (max(bids) + min(asks)) / 2
    turned = [{2 * mid - p: s * p / (2 * mid - p) for p, s in side.items()} for side in (asks, bids)]
    found, mirrored = summary(bids, asks, depth), summary(*turned, depth)
    assert mirrored.spread_bps == pytest.approx(found.spread_bps)
    assert mirrored.bid_depth_usd == pytest.approx(found.ask_depth_usd, nan_ok=True)
    assert mirrored.ask_depth_usd == pytest.approx(found.bid_depth_usd, nan_ok=True)
    assert mirrored.imbalance == pytest.approx([-x for x in found.imbalance], nan_ok=True, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(sides())
def test_a_larger_order_costs_no_less_and_none_less_than_half_the_spread(levels):
    found = summary(*levels)
    for costs in (found.buy_cost_bps, found.sell_cost_bps):
        known = [c for c in costs if not math.isnan(c)]
        assert costs[: len(known)] == tuple(known)  # a smaller order is filled where a larger one is
        assert all(a <= b + 1e-6 for a, b in itertools.pairwise(known))
        assert all(c >= found.spread_bps / 2 - 1e-6 for c in known)
    bought = sum(p * s for p, s in levels[1].items() if p - (found.bid + found.ask) / 2 <= 0.0499 * 1000)
    assert not math.isnan(found.buy_cost_bps[0]) or bought < ORDERS_USD[0] * (1 + 1e-9)


@settings(max_examples=100, deadline=None)
@given(sides(), st.integers(-3, 3))
def test_a_book_in_another_currency_says_the_same_in_its_money(levels, power):
    factor = 2.0**power
    found = summary(*levels)
    other = summary(*({p * factor: s / factor for p, s in side.items()} for side in levels))
    for name in ("spread_bps", "bid_depth_usd", "ask_depth_usd", "imbalance", "buy_cost_bps", "sell_cost_bps"):
        np.testing.assert_allclose(getattr(other, name), getattr(found, name), rtol=1e-12, atol=1e-9)
