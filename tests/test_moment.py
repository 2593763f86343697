import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.market.events import HOUR_NS, MINUTE_NS
from squeeze.market.venue_step import Candle
from squeeze.patterns.moment import Moment
from squeeze.patterns.scene import NOW

START_NS = 1_760_000_400 * 10**9 // HOUR_NS * HOUR_NS


def candle(low: float, high: float, close: float, at_ns: int) -> Candle:
    return Candle(close, high, low, close, at_ns)


def fold(rows: list[tuple[float, float, float, float]], step_ns: int = MINUTE_NS) -> list[np.ndarray]:
    """The record after each (log low, log high, log close, open interest), a step apart from START_NS on."""
    moment = Moment(5e-4)
    found = []
    for i, (low, high, close, interest) in enumerate(rows):
        at_ns = START_NS + (i + 1) * step_ns
        found.append(moment.step(candle(*map(math.exp, (low, high, close)), at_ns), interest, at_ns, step_ns).copy())
    return found


def walk(steps: int, seed: int) -> list[tuple[float, float, float, float]]:
    rng = np.random.default_rng(seed)
    closes = 11.0 + np.cumsum(rng.normal(0, 5e-4, steps))
    interest = 1e5 * np.exp(np.cumsum(rng.normal(0, 1e-3, steps)))
    return [(c - rng.random() * 1e-3, c + rng.random() * 1e-3, c, oi) for c, oi in zip(closes, interest, strict=True)]


def test_returns_and_changes_are_against_the_sample_of_so_long_ago():
    rows = walk(1500, 1)
    now = fold(rows)[-1][0]
    # Samples are those of the first close in each five minutes: 1:00, 5:00, 10:00 ... after the start.
    for hours in (4, 24):
        ago = 1500 - 60 * hours
        sampled = ago - ago % 5
        assert now[f"return_{hours}h"] == pytest.approx(rows[-1][2] - rows[sampled - 1][2])
        assert now[f"open_interest_{hours}h"] == pytest.approx(rows[-1][3] / rows[sampled - 1][3] - 1)


def test_what_is_not_remembered_is_not_known():
    found = fold(walk(245, 2))
    assert math.isnan(found[0]["velocity"][0])
    assert math.isnan(found[238]["return_4h"][0])
    assert math.isfinite(found[242]["return_4h"][0])
    assert math.isnan(found[-1]["return_24h"][0])


def test_true_ranges_are_those_of_whole_hours_and_reach_back_to_the_close_before():
    rows = walk(60 * 10 + 7, 3)
    now = fold(rows)[-1][0]
    hours = [rows[h * 60 : (h + 1) * 60] for h in range(10)]
    spans = []
    for before, hour in pairwise(hours):
        lows, highs = [r[0] for r in hour], [r[1] for r in hour]
        spans.append(max(*highs, before[-1][2]) - min(*lows, before[-1][2]))
    assert now["atr_1h"] == pytest.approx(np.mean(spans))
    fours = []
    for last in (9, 5):
        inside = [r for h in hours[last - 3 : last + 1] for r in h]
        edge = hours[last - 4][-1][2]
        fours.append(max(max(r[1] for r in inside), edge) - min(min(r[0] for r in inside), edge))
    assert now["atr_4h"] == pytest.approx(np.mean(fours))


def test_volatility_of_a_steady_walk_is_found_at_any_length_of_step():
    for step_ns, per_step in ((MINUTE_NS, 5e-4), (15 * MINUTE_NS, 5e-4 * math.sqrt(15)), (HOUR_NS, 5e-4 * 60**0.5)):
        rng = np.random.default_rng(4)
        closes = 11.0 + np.cumsum(rng.choice([-per_step, per_step], 3000))
        now = fold([(c, c, c, 1e5) for c in closes], step_ns)[-1][0]
        assert now["sigma_1m"] == pytest.approx(5e-4)
        assert now["sigma_4h"] == pytest.approx(5e-4 * math.sqrt(240))


def test_a_hole_makes_no_velocity_and_no_range_of_an_hour_that_was_not_seen():
    moment = Moment(5e-4)
    for i in range(300):
        at_ns = START_NS + (i + 1) * MINUTE_NS
        moment.step(candle(100, 101, 100, at_ns), 1e5, at_ns, MINUTE_NS)
    late_ns = START_NS + 9 * HOUR_NS + 30 * MINUTE_NS
    now = moment.step(candle(90, 91, 90, late_ns), 1e5, late_ns, MINUTE_NS)[0]
    assert math.isnan(now["velocity"])
    assert math.isnan(now["return_4h"])
    assert math.isnan(now["atr_1h"])


def test_a_change_of_counting_is_neither_opened_nor_closed():
    halved = [(c, c, c, 1e5 if i < 200 else 0.5e5) for i, c in enumerate(np.linspace(11.0, 11.1, 300))]
    now = fold(halved)[-1][0]
    assert now["open_interest_4h"] == pytest.approx(0.0)
    assert now["longs_opened_4h"] == 0.0


def test_contracts_opened_while_price_rose_and_fell_are_told_apart():
    rising = [(c, c, c, 1e5 + 10 * i) for i, c in enumerate(np.linspace(11.0, 11.1, 300))]
    falling = [(c, c, c, 103e3 + 20 * i) for i, c in enumerate(np.linspace(11.1, 11.05, 200))]
    now = fold(rising + falling)[-1][0]
    assert now["longs_opened_4h"] == pytest.approx((299 - 259) * 10 / now["open_interest_base"], rel=0.2)
    assert now["shorts_opened_4h"] == pytest.approx(199 * 20 / now["open_interest_base"], rel=0.02)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 400))
def test_a_mirrored_market_has_mirrored_numbers(seed: int, steps: int):
    rows = walk(steps, seed)
    here, there = fold(rows)[-1][0], fold([(-h, -low, -c, oi) for low, h, c, oi in rows])[-1][0]
    for name in ("sigma_1m", "sigma_4h", "atr_1h", "atr_4h", "open_interest_4h"):
        assert there[name] == pytest.approx(here[name], nan_ok=True)
    for name in ("return_4h", "return_24h", "velocity", "acceleration"):
        assert there[name] == pytest.approx(-here[name], nan_ok=True, abs=1e-12)
    assert there["longs_opened_4h"] == pytest.approx(here["shorts_opened_4h"], nan_ok=True)


def test_going_on_from_its_arrays_changes_nothing():
    one, other = Moment(5e-4), Moment(5e-4)
    rows = walk(700, 5)
    for i, row in enumerate(rows):
        at_ns = START_NS + (i + 1) * MINUTE_NS
        if i == 400:
            for name, array in other.arrays().items():
                array[...] = one.arrays()[name]
        got = [m.step(candle(*map(math.exp, row[:3]), at_ns), row[3], at_ns, MINUTE_NS).copy() for m in (one, other)]
        if i >= 400:
            assert got[0].tobytes() == got[1].tobytes()
    assert one.now.dtype == NOW
