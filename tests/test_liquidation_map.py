import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.heatmaps import liquidation_step
from squeeze.heatmaps.grid import BINS, origin_around, position
from squeeze.heatmaps.liquidation import BOUND, LiquidationMap, shifts, smear_kernels
from squeeze.spec import MapSpec
from tests.naive import NaiveMap

DELTA = 5e-4
MINUTE_DAYS = 1 / 1440
NAN = math.nan
PLAIN = MapSpec(leverages=(10.0,), prior_weights=(1.0,), taker_tilt=1.0, turnover=0.0, jump_share=None)
"""One bucket, deposits on new open interest alone, takers and makers alike."""


def price_at(bin_position: float) -> float:
    return math.exp(bin_position * DELTA)


def flat(price: float) -> tuple[float, float, float]:
    return price, price, price


def random_steps(seed: int, count: int, stamps: bool, known_takers: bool):
    """(mark, traded, buys, sells, stamp) of a jumpy market, marks beside last prices, stamps now and then."""
    rng = np.random.default_rng(seed)
    log_price, open_interest, start = math.log(rng.uniform(2, 9e4)), 5e4, None
    for i in range(count):
        move = rng.normal(0, 0.002) * (8 if rng.random() < 0.03 else 1)
        wicks = rng.exponential(0.0007, 4) * (rng.random(4) < 0.9)
        opened, log_price = log_price, log_price + move
        low, high = min(opened, log_price), max(opened, log_price)
        mark = (low - wicks[0], high + wicks[1], log_price)
        last = (low - wicks[2], high + wicks[3])
        volume = rng.exponential(400) * (rng.random() > 0.05)
        buys = volume * (rng.choice([0.0, 1.0, rng.random()]) if known_takers else 0.5)
        open_interest *= math.exp(rng.normal(0, 0.02))
        stamp = open_interest if stamps and i % 3 == 1 and rng.random() < 0.9 else NAN
        start = opened if start is None else start
        yield tuple(map(math.exp, mark)), tuple(map(math.exp, last)), buys, volume - buys, stamp


def cells(fast: LiquidationMap, slow: NaiveMap) -> tuple[np.ndarray, np.ndarray]:
    """Both maps' mass over the fast one's window."""
    first = fast.origin - slow.first
    return fast.mass[:, : fast.buckets] * fast.scale[:, None, None], slow.mass[:, :, first : first + BINS]


@pytest.mark.parametrize("mode", ["stamps", "volume"])
@pytest.mark.parametrize("known_takers", [True, False])
@pytest.mark.parametrize("ageing_hours", [None, 5.0])
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_map_equals_its_naive_twin_on_random_paths(mode, known_takers, ageing_hours, seed):
    tilt = 1.0 + (seed % 11) / 10  # 1 to 2
    spec = MapSpec(open_interest=mode, ageing_half_life_hours=ageing_hours, taker_tilt=tilt)
    path = list(random_steps(seed, 120, mode == "stamps", known_takers))
    fast, slow = LiquidationMap(spec), NaiveMap(spec, path[0][0][2])
    for i, step in enumerate(path):
        days = 20_000 + i * MINUTE_DAYS
        swept, flagged = fast.step(*step, days, MINUTE_DAYS)
        expected, expected_flag = slow.step(*step, days, MINUTE_DAYS)
        np.testing.assert_allclose(swept, expected, rtol=1e-9, atol=1e-7)
        assert flagged == expected_flag
        if i % 20 == 19:
            got, want = cells(fast, slow)
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-7)
            np.testing.assert_allclose(fast.total * fast.scale[:, None], want.sum(axis=2), rtol=1e-9, atol=1e-6)
            np.testing.assert_allclose(fast.open_interest_base, slow.open_interest, rtol=1e-12)
            mark = step[0][2]
            np.testing.assert_allclose(
                fast.outward(mark, 0.0017, 40), slow.outward(mark, 0.0017, 40), rtol=1e-7, atol=1e-7
            )
            mass, born = fast.profile(mark, 200)
            here = math.floor(slow.place(mark))
            prior = np.array(spec.prior_weights)
            below, above = slice(here, here - 200, -1), slice(here, here + 200)
            near = np.stack([slow.mass[0][:, below], slow.mass[1][:, above]])
            np.testing.assert_allclose(mass, np.einsum("k,skj->sj", prior, near), rtol=1e-9, atol=1e-7)
            np.testing.assert_allclose(born, [slow.born[0][below], slow.born[1][above]], rtol=1e-8, atol=1e-2)
    assert slow.added.min() > 0


@pytest.mark.parametrize("mode", ["stamps", "volume"])
def test_opens_closes_sweeps_and_the_bound_account_for_all_mass(mode):
    spec = MapSpec(open_interest=mode)
    path = list(random_steps(5, 400, mode == "stamps", True))
    fast, slow = LiquidationMap(spec), NaiveMap(spec, path[0][0][2])
    swept = np.zeros((2, 5))
    for i, step in enumerate(path):
        swept += fast.step(*step, i * MINUTE_DAYS, MINUTE_DAYS)[0]
        slow.step(*step, i * MINUTE_DAYS, MINUTE_DAYS)
    total = fast.total * fast.scale[:, None]
    np.testing.assert_allclose(total, slow.added - slow.closed - slow.bounded - swept, rtol=1e-9)
    np.testing.assert_allclose(fast.mass[:, :5].sum(axis=2), fast.total, rtol=1e-9)
    assert (swept > 0).any(axis=0)[1:].all(), "the path never swept some bucket of 10x or more"
    assert (fast.mass >= 0).all()
    assert fast.lost_base == 0


def test_liquidation_prices_lie_where_domain_md_says():
    # domain.md §3.1, BTC, long / short in %: Bybit (maintenance and fee .555 %), OKX (.45 %), Binance (.4 %).
    table = {
        0.00555: {
            5.0: (-19.55, 19.34),
            10.0: (-9.50, 9.39),
            20.0: (-4.47, 4.42),
            50.0: (-1.45, 1.44),
            100.0: (-0.45, 0.44),
        },
        0.0045: {
            5.0: (-19.64, 19.46),
            10.0: (-9.59, 9.51),
            20.0: (-4.57, 4.53),
            50.0: (-1.56, 1.54),
            100.0: (-0.55, 0.55),
        },
        0.0040: {
            5.0: (-19.68, 19.52),
            10.0: (-9.64, 9.56),
            20.0: (-4.62, 4.58),
            50.0: (-1.61, 1.59),
            100.0: (-0.60, 0.60),
        },
    }
    for maintenance, distances in table.items():
        bins, _ = shifts(MapSpec(leverages=tuple(distances), maintenance=maintenance))
        percent = 100 * np.expm1(bins * DELTA)
        np.testing.assert_allclose(percent.T, list(distances.values()), atol=0.006)


def test_a_smear_is_eight_percent_of_the_distance_and_at_least_half_a_bin():
    bins, deviation = shifts(MapSpec())
    np.testing.assert_allclose(deviation, np.maximum(0.5, 0.08 * np.abs(bins)))
    np.testing.assert_allclose(shifts(MapSpec(leverages=(200.0,), prior_weights=(1.0,)))[1], 0.5)
    np.testing.assert_allclose(deviation[0, 0], 35.0, atol=0.1)  # 437 bins at leverage 5


def test_a_kernel_keeps_the_coins_and_the_distance():
    bins, deviation = shifts(MapSpec())
    weights, offsets, lengths = smear_kernels(*shifts(MapSpec()))
    np.testing.assert_allclose(weights.sum(axis=2), 1.0)
    at = offsets[:, :, None] + np.arange(weights.shape[2])
    mean = (weights * at).sum(axis=2)
    np.testing.assert_allclose(mean, bins, atol=0.05)
    spread = np.sqrt((weights * (at - mean[:, :, None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(spread, deviation, rtol=0.04)
    assert (lengths <= weights.shape[2]).all()


def opened(spec: MapSpec = PLAIN, bin_position: float = 20_000.5, coins: float = 100.0) -> LiquidationMap:
    """A map in which `coins` were opened at one price, out of 1,000 open before."""
    heat = LiquidationMap(spec)
    price = price_at(bin_position)
    heat.step(flat(price), (price, price), 0.0, 0.0, 1000.0, 1.0, MINUTE_DAYS)
    heat.step(flat(price), (price, price), 5.0, 5.0, 1000.0 + coins, 2.0, MINUTE_DAYS)
    return heat


def test_every_opening_deposits_on_both_sides_and_at_both_distances():
    heat = opened()
    np.testing.assert_allclose(heat.total * heat.scale[:, None], [[100.0], [100.0]])
    distance, _ = shifts(PLAIN)
    for side in range(2):
        share = heat.mass[side, 0] / heat.mass[side, 0].sum()
        centre = heat.origin + (share * np.arange(BINS)).sum()
        assert centre == pytest.approx(20_000 + distance[side, 0], abs=0.05)


def test_takers_tilt_leverage_but_only_half_as_much_on_the_other_side():
    spec = MapSpec(leverages=(10.0,), prior_weights=(1.0,), taker_tilt=1.3, turnover=0.0)
    price = price_at(20_000.5)
    heat = LiquidationMap(spec)
    heat.step(flat(price), (price, price), 0.0, 0.0, 1000.0, 1.0, MINUTE_DAYS)
    heat.step(flat(price), (price, price), 10.0, 0.0, 1100.0, 2.0, MINUTE_DAYS)
    np.testing.assert_allclose((heat.total * heat.scale[:, None]).ravel(), [130.0, 70.0])


def test_takers_of_one_kind_alone_leave_the_other_side_unlevered_at_the_fullest_tilt():
    spec = MapSpec(leverages=(10.0,), prior_weights=(1.0,), taker_tilt=2.0, turnover=0.0)
    price = price_at(20_000.5)
    heat = LiquidationMap(spec)
    heat.step(flat(price), (price, price), 0.0, 0.0, 1000.0, 1.0, MINUTE_DAYS)
    heat.step(flat(price), (price, price), 10.0, 0.0, 1100.0, 2.0, MINUTE_DAYS)
    np.testing.assert_allclose((heat.total * heat.scale[:, None]).ravel(), [200.0, 0.0])


def test_closing_contracts_closes_their_share_of_the_map():
    heat = opened()
    before, _ = heat.profile(price_at(20_000.5), 500)
    price = price_at(20_000.5)
    heat.step(flat(price), (price, price), 1.0, 1.0, 1100.0 - 220.0, 3.0, MINUTE_DAYS)
    after, _ = heat.profile(price, 500)
    np.testing.assert_allclose(after, 0.8 * before, rtol=1e-12)
    np.testing.assert_allclose(heat.total * heat.scale[:, None], 80.0)


def test_a_closing_never_takes_more_than_nine_tenths():
    heat, price = opened(), price_at(20_000.5)
    heat.step(flat(price), (price, price), 1.0, 1.0, 1.0, 3.0, MINUTE_DAYS)
    total = heat.total * heat.scale[:, None]
    np.testing.assert_allclose(total, BOUND * 1.0)  # a tenth of 100, then the bound


def test_what_was_swept_is_not_closed_a_second_time():
    heat, price = opened(), price_at(20_000.5)
    deep = price_at(20_000.5 - 400)
    swept, _ = heat.step((deep, price, price), (price, price), 0.0, 0.0, NAN, 3.0, MINUTE_DAYS)
    assert swept[0, 0] == pytest.approx(95.0)
    heat.step(flat(price), (price, price), 1.0, 1.0, 1100.0 - 95.0, 4.0, MINUTE_DAYS)
    total = heat.total * heat.scale[:, None]
    assert total[0, 0] == pytest.approx(5.0), "the 95 longs were gone already"
    assert total[1, 0] == pytest.approx(100.0 * (1 - 95 / 1100))


def test_stamps_wait_for_the_volume_of_all_steps_since_the_last():
    heat = opened(coins=0.0)
    low, high = price_at(20_100.5), price_at(20_000.5)
    heat.step(flat(low), (low, low), 3.0, 0.0, NAN, 2.5, MINUTE_DAYS)
    assert heat.total.sum() == 0
    heat.step(flat(high), (high, high), 0.0, 1.0, 1100.0, 3.0, MINUTE_DAYS)
    distance, _ = shifts(PLAIN)
    at = np.arange(BINS) + heat.origin
    mean = [(heat.mass[s, 0] * at).sum() / heat.mass[s, 0].sum() for s in range(2)]
    np.testing.assert_allclose(mean, 20_075 + distance[:, 0], atol=0.1)  # three quarters of it were traded 100 bins up


def still_map(mark: float = 20_000.5) -> LiquidationMap:
    """A map with one coin in every bin of both sides, in one bucket of all."""
    heat = opened(MapSpec(turnover=0.0), mark, coins=0.0)
    here = int(position(price_at(mark), DELTA, heat.origin))
    heat.mass[0, 2, here - 300 : here] = heat.mass[1, 2, here + 1 : here + 301] = 1.0
    heat.mass[:, 5] = 0.0
    heat.total[:, 2] = 300.0
    heat.scale[...] = 1.0
    heat.front[...] = here - 1, here + 1
    heat.clock[liquidation_step.SPAN : liquidation_step.SPAN + 2] = here - 300, here + 300
    return heat


def test_a_sweep_takes_only_what_was_crossed_and_the_border_bin_by_its_part():
    heat, mark = still_map(), 20_000.5
    here = int(position(price_at(mark), DELTA, heat.origin))
    before = heat.mass.copy()
    low, high = price_at(19_990.25), price_at(20_003.75)
    swept, _ = heat.step((low, high, price_at(mark)), (low, high), 0.0, 0.0, NAN, 3.0, MINUTE_DAYS)
    # Longs: bins 19,991 to 19,999 whole, ¾ of 19,990. Shorts: 20,001 and 20,002 whole, ¾ of 20,003.
    np.testing.assert_allclose(swept[:, 2], [0.95 * 9.75, 0.95 * 2.75])
    assert swept[:, [0, 1, 3, 4]].sum() == 0
    np.testing.assert_allclose(heat.mass[0, 2, here - 9 : here], 0.05)
    np.testing.assert_allclose(heat.mass[0, 2, here - 10], 1 - 0.95 * 0.75)
    np.testing.assert_array_equal(heat.mass[0, 2, : here - 10], before[0, 2, : here - 10])
    np.testing.assert_allclose(heat.mass[1, 2, here + 1 : here + 3], 0.05)
    np.testing.assert_allclose(heat.mass[1, 2, here + 3], 1 - 0.95 * 0.75)
    np.testing.assert_array_equal(heat.mass[1, 2, here + 4 :], before[1, 2, here + 4 :])


def test_a_mark_that_stays_within_its_bin_sweeps_no_zone_beyond_it():
    heat = still_map()
    low, high = price_at(20_000.1), price_at(20_000.9)
    swept, _ = heat.step((low, high, price_at(20_000.5)), (low, high), 0.0, 0.0, NAN, 3.0, MINUTE_DAYS)
    assert swept.sum() == 0


def test_what_lies_far_on_the_crossed_side_is_cleared_whole():
    heat = still_map()
    low, close = price_at(19_900.5), price_at(19_900.5)
    here = int(position(close, DELTA, heat.origin))
    swept, _ = heat.step((low, price_at(20_000.5), close), (low, close), 0.0, 0.0, NAN, 3.0, MINUTE_DAYS)
    longs = heat.mass[0, 2]
    assert longs[here + 25 :].sum() == 0
    np.testing.assert_allclose(longs[here + 1 : here + 25], 0.05)
    # 99 bins above that of the close: 75 of them whole, 24 by ρ, and half of the border bin by ρ.
    assert swept[0, 2] == pytest.approx(75 + 0.95 * 24.5)


def test_what_would_land_on_the_crossed_side_is_dropped():
    spec = MapSpec(leverages=(100.0,), prior_weights=(1.0,), taker_tilt=1.0, turnover=0.0)
    heat, mark = LiquidationMap(spec), price_at(20_000.5)
    heat.step(flat(mark), (mark, mark), 0.0, 0.0, 1000.0, 1.0, MINUTE_DAYS)
    # Entries 5 bins above the mark: their longs' liquidation prices, 11 bins below the entry, lie 6 below the mark.
    near, far = price_at(20_005.5), price_at(20_030.5)
    heat.step(flat(mark), (near, near), 1.0, 1.0, 1100.0, 2.0, MINUTE_DAYS)
    np.testing.assert_allclose(heat.total.ravel(), 100.0, rtol=1e-6)
    # Entries 30 above: the longs would be under water already, the shorts are 41 above the mark.
    heat.step(flat(mark), (far, far), 1.0, 1.0, 1200.0, 3.0, MINUTE_DAYS)
    total = (heat.total * heat.scale[:, None]).ravel()
    np.testing.assert_allclose(total, [100.0, 200.0], rtol=1e-6)


def test_a_bucket_is_held_to_105_percent_of_open_interest_and_flagged():
    heat, price = opened(coins=900.0), price_at(20_000.5)
    fields = (flat(price), (price, price), 1.0, 1.0)
    _, flagged = heat.step(*fields, 1900.0, 3.0, MINUTE_DAYS)
    assert not flagged
    # Nine tenths is the most one step closes, so a collapse of open interest leaves too much.
    _, flagged = heat.step(*fields, 50.0, 4.0, MINUTE_DAYS)
    assert flagged
    np.testing.assert_allclose(heat.total * heat.scale[:, None], 1.05 * 50.0)
    np.testing.assert_allclose(heat.mass[:, :1].sum(axis=2), heat.total)
    mass, born = heat.profile(price, 500)
    assert born[0].sum() / mass[0].sum() == pytest.approx(2.0), "the mean birth is kept by the bound"
    _, flagged = heat.step(*fields, 50.0, 5.0, MINUTE_DAYS)
    assert not flagged


def test_volume_mode_is_bounded_without_a_flag():
    spec = MapSpec(open_interest="volume", turnover=1.0, reference_half_life_hours=1.0, reference_turnover_days=0.01)
    heat, price = LiquidationMap(spec), price_at(20_000.5)
    for i in range(200):
        _, flagged = heat.step(flat(price), (price, price), 100.0 / (1 + i), 100.0, NAN, float(i), MINUTE_DAYS)
        assert not flagged
        assert (heat.total * heat.scale[:, None] <= 1.05 * heat.open_interest_base * (1 + 1e-12)).all()


def test_the_reference_of_volume_mode_is_days_of_mean_volume():
    spec = MapSpec(open_interest="volume")
    heat, price = LiquidationMap(spec), price_at(20_000.5)
    for i in range(100):
        heat.step(flat(price), (price, price), 4.0, 6.0, NAN, float(i), MINUTE_DAYS)
    assert heat.open_interest_base == pytest.approx(0.6 * 10 * 1440)


def test_ageing_halves_the_map_in_its_half_life():
    heat = opened(MapSpec(leverages=(10.0,), prior_weights=(1.0,), turnover=0.0, ageing_half_life_hours=2.0))
    before, price = heat.total * heat.scale[:, None], price_at(20_000.5)
    for i in range(120):
        heat.step(flat(price), (price, price), 0.0, 0.0, NAN, 3.0 + i, MINUTE_DAYS)
    np.testing.assert_allclose(heat.total * heat.scale[:, None], before / 2)


def test_a_scale_near_zero_is_written_into_the_cells():
    heat, price = opened(), price_at(20_000.5)
    stamp = 1100.0
    for i in range(12):
        stamp /= 12
        heat.step(flat(price), (price, price), 1.0, 1.0, stamp, 3.0 + i, MINUTE_DAYS)
    assert (heat.scale > 1e-9).all()
    np.testing.assert_allclose(heat.mass[:, :1].sum(axis=2), heat.total, rtol=1e-9)
    assert ((heat.total * heat.scale[:, None]) <= 1.05 * stamp).all()


def test_the_window_follows_the_price_and_what_it_leaves_comes_back():
    spec = MapSpec()
    heat, slow = LiquidationMap(spec), NaiveMap(spec, 100.0)
    origins, away = set(), 0.0
    for i in range(400):
        price = 100.0 * 5 ** math.sin(i / 399 * math.pi)  # up by a factor of five, and back
        step = (flat(price), (price, price), 5.0, 5.0, 1000.0 + 10 * i, i / 1440, MINUTE_DAYS)
        heat.step(*step)
        slow.step(*step)
        origins.add(heat.origin)
        away = max(away, heat.far_base[0].sum())
        if i % 40 == 39:
            got, want = cells(heat, slow)
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(heat.total * heat.scale[:, None], slow.mass.sum(axis=2), rtol=1e-9)
            inside = got.sum(axis=2)
            np.testing.assert_allclose(heat.far_base, slow.mass.sum(axis=2) - inside, rtol=1e-6, atol=1e-6)
    assert len(origins) > 2
    assert away > 100
    assert heat.far_base[0].sum() < 1e-6, "the longs of low prices are in the window again"
    assert abs(heat.lost_base) < 1e-6


def test_a_window_slides_by_whole_bins_and_keeps_each_cell_at_its_price():
    heat = opened()
    heat.front[...] = BINS - 1, 0
    absolute = {(s, heat.origin + j): heat.mass[s, 0, j] for s in range(2) for j in np.flatnonzero(heat.mass[s, 0])}
    heat._slide(price_at(21_500.5))
    assert heat.origin == origin_around(price_at(21_500.5), DELTA) == 21_500 - BINS // 2
    kept = {(s, heat.origin + j): heat.mass[s, 0, j] for s in range(2) for j in np.flatnonzero(heat.mass[s, 0])}
    assert kept == absolute
    assert abs(heat.lost_base) < 1e-9
    heat._slide(price_at(40_000.5))
    assert heat.mass.sum() == heat.total.sum() == 0
    assert heat.lost_base == pytest.approx(200.0)


def test_a_price_whose_window_starts_at_bin_zero_is_like_any_other():
    price = math.exp((BINS // 2 + 0.5) * DELTA)
    assert origin_around(price, DELTA) == 0
    heat = LiquidationMap(PLAIN)
    heat.step(flat(price), (price, price), 0.0, 0.0, 1000.0, 1.0, MINUTE_DAYS)
    heat.step(flat(price), (price, price), 5.0, 5.0, 1100.0, 2.0, MINUTE_DAYS)
    heat.step(flat(price), (price, price), 5.0, 5.0, 1100.0, 3.0, MINUTE_DAYS)
    np.testing.assert_allclose(heat.total * heat.scale[:, None], 100.0)


@pytest.mark.parametrize("price", [1e-6, 1.0, 3e8])
def test_prices_of_any_size_have_a_map(price):
    heat = LiquidationMap(PLAIN)
    heat.step(flat(price), (price, price), 0.0, 0.0, 1000.0, 1.0, MINUTE_DAYS)
    heat.step(flat(price), (price, price), 5.0, 5.0, 1100.0, 2.0, MINUTE_DAYS)
    out = heat.outward(price, 0.01, 20)
    np.testing.assert_allclose(out.sum(axis=2), 100.0, rtol=1e-9)


def test_pooling_outward_keeps_the_mass():
    heat = still_map()
    mark = price_at(20_000.5)
    for width, bins in ((3e-4, 1000), (0.0017, 200), (0.05, 10)):
        np.testing.assert_allclose(heat.outward(mark, width, bins).sum(axis=2)[:, 2], 300.0)
    one = heat.outward(mark, 2 * DELTA, 3)[:, 2]
    np.testing.assert_allclose(one, [[1.5, 2.0, 2.0], [1.5, 2.0, 2.0]])  # the mark's own half bin is empty


@pytest.mark.parametrize("cut", [1, 57, 199])
def test_a_restored_map_goes_on_bit_for_bit(cut):
    path = list(random_steps(9, 200, True, True))
    whole, first, second = (LiquidationMap(MapSpec()) for _ in range(3))
    for i, step in enumerate(path):
        a = whole.step(*step, i * MINUTE_DAYS, MINUTE_DAYS)
        if i == cut:
            second.restore(first.snapshot())
        b = (first if i < cut else second).step(*step, i * MINUTE_DAYS, MINUTE_DAYS)
        assert a[0].tobytes() == b[0].tobytes()
        assert a[1] == b[1]
    for name, array in whole.snapshot().items():
        assert array.tobytes() == second.snapshot()[name].tobytes(), name


def test_a_snapshot_is_a_copy():
    heat, price = opened(), price_at(20_000.5)
    kept = heat.snapshot()
    before = {name: array.tobytes() for name, array in kept.items()}
    heat.step(flat(price), (price, price), 5.0, 5.0, 1500.0, 3.0, MINUTE_DAYS)
    assert {name: array.tobytes() for name, array in kept.items()} == before
