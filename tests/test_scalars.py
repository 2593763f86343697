import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.scalars.flow import FlowScalars, clock_scalars
from squeeze.scalars.heat import HeatScalars
from squeeze.scalars.price import PriceScalars, TrailingBars
from squeeze.spec import FrameSpec
from squeeze.zones.extract import Zone
from tests.naive import naive_price_scalars, naive_reach

SPEC = FrameSpec(
    windows_minutes=(15.0, 60.0, 240.0), sigma_windows_minutes=(60.0, 180.0), open_interest_windows_minutes=(10.0, 30.0)
)
DELTA = 5e-4
NAN = math.nan


def random_bars(seed: int, count: int, step_seconds: int) -> list[tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    size = 0.0005 * math.sqrt(step_seconds / 60)
    close = np.cumsum(rng.normal(0, size, count) * rng.choice([0.0, 1.0, 6.0], count, p=[0.1, 0.85, 0.05])) + 4.0
    opened = np.concatenate([[close[0]], close[:-1]]) + rng.normal(0, size / 5, count)
    high = np.maximum(opened, close) + rng.exponential(size, count) * rng.integers(0, 2, count)
    low = np.minimum(opened, close) - rng.exponential(size, count) * rng.integers(0, 2, count)
    volume = rng.exponential(50, count) * rng.integers(0, 2, count)
    return list(zip(*np.exp([opened, high, low, close]).tolist(), volume.tolist(), strict=True))


def held(price: PriceScalars, bars: list[tuple[float, ...]]) -> np.ndarray:
    trailing = TrailingBars(price.capacity)
    for bar in bars:
        trailing.push(*bar)
    return trailing.window()


@pytest.mark.parametrize(("step_seconds", "count"), [(60, 1500), (300, 400), (60, 300), (60, 20), (900, 2), (3600, 1)])
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_price_scalar_equals_its_naive_twin(step_seconds, count, seed):
    bars = random_bars(seed, count, step_seconds)
    price = PriceScalars(SPEC, step_seconds)
    got = dict(zip(price.names, price.values(held(price, bars))[0].T.tolist(), strict=True))
    want = naive_price_scalars(bars, SPEC, step_seconds)
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-7, atol=1e-8, err_msg=name)


def test_a_price_scalar_forgets_what_is_older_than_its_bars():
    price = PriceScalars(SPEC, 60)
    bars = random_bars(3, price.capacity + 500, 60)
    other = random_bars(4, 500, 60) + bars[500:]
    assert np.array_equal(price.values(held(price, bars))[0], price.values(held(price, other))[0])


def test_a_market_that_never_moved_has_finite_scalars():
    price = PriceScalars(SPEC, 60)
    still, _ = price.values(held(price, [(100.0, 100.0, 100.0, 100.0, 0.0)] * 300))
    assert np.isfinite(still).all()
    at = price.names.index
    assert still[:, at("downside_15m")].tolist() == [0.5, 0.5]
    assert still[:, at("approach_velocity")].tolist() == [0.0, 0.0]


def test_a_falling_price_is_an_approach_for_longs_alone():
    price = PriceScalars(SPEC, 60)
    bars = [(100 * 0.999**i, 100 * 0.999**i, 100 * 0.999 ** (i + 1), 100 * 0.999 ** (i + 1), 1.0) for i in range(300)]
    values = dict(zip(price.names, price.values(held(price, bars))[0].T, strict=True))
    assert values["approach_velocity"][0] == pytest.approx(-math.log(0.999), rel=1e-3)
    assert values["approach_velocity"][1] == -values["approach_velocity"][0]
    assert values["downside_60m"].tolist() == pytest.approx([1.0, 0.0])
    assert values["return_60m"][0] < 0 < values["return_60m"][1]
    assert values["to_extreme_60m"][0] == pytest.approx(0.0)
    assert values["fresh_extreme_60m"][0] < 0 < values["fresh_extreme_60m"][1]


def test_the_width_of_price_bins_is_the_mean_of_two_parkinson_windows():
    bars = random_bars(8, 1500, 60)
    price = PriceScalars(SPEC, 60)
    variances = [(math.log(bar[1] / bar[2])) ** 2 / (4 * math.log(2)) for bar in bars]
    expected = math.sqrt((np.mean(variances[-60:]) + np.mean(variances[-360:])) / 2 * 60) + 2e-4
    assert price.values(held(price, bars))[1] == pytest.approx(expected)


@given(count=st.integers(0, 40), capacity=st.integers(1, 12))
def test_trailing_bars_hold_the_newest_in_order(count, capacity):
    trailing = TrailingBars(capacity)
    for i in range(count):
        trailing.push(math.exp(i), math.exp(i + 0.5), math.exp(i - 0.5), math.exp(i + 0.25), float(i))
    expected = np.arange(max(0, count - capacity), count)
    assert trailing.window()[4].tolist() == expected.tolist()
    np.testing.assert_allclose(trailing.window()[:4], [expected, expected + 0.5, expected - 0.5, expected + 0.25])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_lies_ahead_equals_its_naive_twin(seed):
    rng = np.random.default_rng(seed)
    heat = HeatScalars(SPEC, DELTA, 60)
    share = rng.exponential(1e-3, (2, heat.reach_bins)) * (rng.random((2, heat.reach_bins)) < 0.3)
    sigma = rng.uniform(2e-4, 0.05)
    values = heat.values(share, [], sigma, np.zeros(2))
    count = len(SPEC.mass_distances_log) + 4
    np.testing.assert_allclose(
        values[:, :count], naive_reach(share, DELTA, sigma, SPEC.mass_distances_log), rtol=1e-9, atol=1e-9
    )
    at = heat.names.index
    expected = values[:, at("expected_sweep")]
    np.testing.assert_array_equal(values[:, at("expected_sweep_other")], expected[::-1])
    np.testing.assert_allclose(values[:, at("asymmetry")], [expected[0] - expected[1], expected[1] - expected[0]])


def test_a_level_at_one_sigma_is_expected_with_32_percent():
    heat = HeatScalars(SPEC, DELTA, 60)
    share = np.zeros((2, heat.reach_bins))
    share[0, 20] = 0.5
    values = heat.values(share, [], 20.5 * DELTA, np.zeros(2))
    at = heat.names.index
    assert math.exp(values[0, at("expected_sweep")]) == pytest.approx(0.5 * 0.3173 + 1e-5, rel=1e-4)
    assert math.exp(values[1, at("expected_sweep")]) == pytest.approx(1e-5)


def test_the_nearest_zone_is_described_and_no_zone_is_nan():
    heat = HeatScalars(SPEC, DELTA, 60)
    zones = [Zone(1, 0.004, 0.006, 0.005, 0.01, 0.05, 3.0), Zone(1, 0.02, 0.03, 0.025, 0.01, 0.09, 1.0)]
    values = heat.values(np.zeros((2, heat.reach_bins)), zones, 0.002, np.array([-0.001, 0.0004]))
    got = dict(zip(heat.names, values.T, strict=True))
    assert got["zones"].tolist() == [0.0, 2.0]
    own = [n for n in heat.names if n.startswith("zone_")]
    assert all(math.isnan(got[n][0]) for n in own)
    assert got["zone_distance"][1] == 0.004
    assert got["zone_distance_sigmas"][1] == pytest.approx(2.0)
    assert got["zone_mass"][1] == pytest.approx(math.log(0.05 + 1e-5))
    assert got["zone_thickness"][1] == pytest.approx(math.log(0.05 / 20 + 1e-5))
    assert got["zone_age_days"][1] == 3.0
    assert got["zone_minutes"][1] == pytest.approx(math.log1p(10.0))


@pytest.mark.parametrize(("velocity", "minutes"), [(0.0, 240.0), (-1.0, 240.0), (1e-9, 240.0), (0.004, 1.0)])
def test_minutes_to_a_zone_end_at_four_hours(velocity, minutes):
    heat = HeatScalars(SPEC, DELTA, 60)
    zone = Zone(0, 0.004, 0.006, 0.005, 0.01, 0.05, 3.0)
    values = heat.values(np.zeros((2, heat.reach_bins)), [zone], 0.002, np.array([velocity, 0.0]))
    assert values[0, -1] == pytest.approx(math.log1p(minutes))


def test_swept_mass_fades_by_its_half_lives_and_is_seen_from_both_sides():
    heat = HeatScalars(SPEC, DELTA, 60)
    share = np.zeros((2, heat.reach_bins))
    heat.sweep(np.array([0.02, 0.0]))
    first = dict(zip(heat.names, heat.values(share, [], 0.01, np.zeros(2)).T, strict=True))
    weight = 1 - 0.5 ** (1 / 15)
    assert math.exp(first["own_swept_15m"][0]) == pytest.approx(0.02 * weight + 1e-6)
    assert math.exp(first["own_swept_15m"][1]) == pytest.approx(1e-6)
    for _ in range(15):
        heat.sweep(np.zeros(2))
    later = dict(zip(heat.names, heat.values(share, [], 0.01, np.zeros(2)).T, strict=True))
    assert math.exp(later["own_swept_15m"][0]) == pytest.approx(0.01 * weight + 1e-6)
    for name in ("15m", "60m", "240m", "1440m"):
        assert later[f"other_swept_{name}"].tolist() == later[f"own_swept_{name}"][::-1].tolist()


def flow_values(flow: FlowScalars, close_ns: int, limit_ns: float = math.inf) -> dict[str, list[float]]:
    return dict(zip(flow.names, flow.values(close_ns, limit_ns).T.tolist(), strict=True))


def usd(flow: FlowScalars, close_ns: int, name: str = "own_liquidated_60m") -> list[float]:
    return [round(math.expm1(v) * SPEC.liquidation_scale_usd, 3) for v in flow_values(flow, close_ns)[name]]


def test_prints_fade_by_the_clock_from_the_moment_they_were_known():
    flow = FlowScalars(SPEC, 60)
    flow.fade_to(HOUR_NS)
    flow.add_print(0, 1000.0, HOUR_NS, 0)
    flow.add_print(1, 1000.0, HOUR_NS, 60 * MINUTE_NS)
    flow.numbers[2] = HOUR_NS
    assert usd(flow, HOUR_NS) == [1000.0, 500.0]
    assert usd(flow, HOUR_NS, "other_liquidated_60m") == [500.0, 1000.0]
    for minute in range(1, 61):
        flow.fade_to(HOUR_NS + minute * MINUTE_NS)
    assert usd(flow, 2 * HOUR_NS) == [500.0, 250.0]
    flow.fade_to(4 * HOUR_NS)
    assert usd(flow, 4 * HOUR_NS) == [125.0, 62.5]
    assert usd(flow, 4 * HOUR_NS, "own_liquidated_1440m")[0] == pytest.approx(1000 * 0.5 ** (3 / 24), abs=1e-3)


def test_sums_fade_by_their_own_length_and_a_missing_hour_is_skipped():
    flow = FlowScalars(SPEC, 60)
    flow.numbers[2] = HOUR_NS
    flow.add_sum(800.0, 0.0, HOUR_NS)
    flow.fade_to(5 * HOUR_NS)
    assert usd(flow, 5 * HOUR_NS) == [800.0, 0.0], "no record came: nothing is known to have faded"
    flow.add_sum(100.0, 40.0, HOUR_NS)
    assert usd(flow, 5 * HOUR_NS) == [500.0, 40.0]
    flow.add_sum(0.0, 0.0, HOUR_NS)
    assert usd(flow, 6 * HOUR_NS) == [250.0, 20.0], "a recorded zero is a zero"


def test_liquidations_are_nan_before_the_first_and_after_too_long_a_silence():
    flow = FlowScalars(SPEC, 60)
    names = [n for n in flow.names if "liquidat" in n]
    before = flow_values(flow, HOUR_NS)
    assert np.isnan([before[n] for n in names]).all()
    flow.add_sum(1.0, 2.0, HOUR_NS)
    flow.numbers[2] = HOUR_NS
    at_limit = flow_values(flow, 7 * HOUR_NS, 6.0 * HOUR_NS)
    assert np.isfinite([at_limit[n] for n in names]).all()
    assert at_limit["liquidation_age"] == pytest.approx([math.log1p(360.0)] * 2)
    past = flow_values(flow, 7 * HOUR_NS + MINUTE_NS, 6.0 * HOUR_NS)
    assert np.isnan([past[n] for n in names]).all()


def test_open_interest_change_is_the_log_ratio_over_whole_windows():
    flow = FlowScalars(SPEC, 60)
    for minute in range(41):
        flow.push_open_interest(1000.0 * 1.01**minute if minute % 5 == 0 else NAN)
    got = flow_values(flow, HOUR_NS)
    assert got["open_interest_change_10m"] == pytest.approx([10 * math.log(1.01)] * 2)
    assert got["open_interest_change_30m"] == pytest.approx([30 * math.log(1.01)] * 2)


def test_open_interest_change_is_nan_until_a_window_is_full():
    flow = FlowScalars(SPEC, 60)
    assert np.isnan(flow_values(flow, HOUR_NS)["open_interest_change_10m"]).all()
    for _ in range(11):
        flow.push_open_interest(1000.0)
    got = flow_values(flow, HOUR_NS)
    assert got["open_interest_change_10m"] == [0.0, 0.0]
    assert np.isnan(got["open_interest_change_30m"]).all()


def test_longs_pay_positive_funding_and_its_age_is_in_hours():
    flow = FlowScalars(SPEC, 60)
    assert np.isnan([flow_values(flow, HOUR_NS)[n] for n in ("funding_rate_bp", "funding_age_hours")]).all()
    flow.numbers[:2] = 0.0003, 8 * HOUR_NS
    got = flow_values(flow, 8 * HOUR_NS + 90 * MINUTE_NS)
    assert got["funding_rate_bp"] == pytest.approx([3.0, -3.0])
    assert got["funding_age_hours"] == pytest.approx([1.5, 1.5])


def test_the_clock_turns_once_and_twice_a_day():
    for hour in range(0, 48, 3):
        names, values = clock_scalars(hour * HOUR_NS)
        turn = 2 * math.pi * hour / 24
        expected = [math.sin(turn), math.cos(turn), math.sin(2 * turn), math.cos(2 * turn)]
        np.testing.assert_allclose(values, expected, atol=1e-9)
        assert names == ("day_sin", "day_cos", "half_day_sin", "half_day_cos")
