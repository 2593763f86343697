"""The tape says what a slow count over all events says, knows nothing of the future, and forgets nothing."""

import gc
import math
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naive_tape import facts

from squeeze.errors import StepError
from squeeze.market.events import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    Bar,
    BookUpdate,
    Broken,
    DepthBand,
    Feed,
    Funding,
    FundingForecast,
    Gap,
    Liquidation,
    LiquidationSum,
    OpenInterest,
    Price,
    Quality,
    Quote,
    Trade,
)
from squeeze.market.steps import StepBuilder
from squeeze.signals.tape import Tape, TapeState
from squeeze.signals.tape_layout import PER_OCTAVE
from squeeze.signals.view import View
from squeeze.spec import Spec
from squeeze.strict import convert

CODE = (type, ModuleType, FunctionType, BuiltinFunctionType)
START = 1_700_000_040 * SECOND_NS
"""A whole minute, and no whole five."""
TICKS = {
    "bars": {"venue": "bybit", "kinds": ["trade"]},
    "mark": {"venue": "bybit", "kinds": ["price_mark"]},
    "liquidations": {"venue": "bybit", "kinds": ["liquidation"]},
    "open_interest": {"venue": "bybit", "kinds": ["open_interest"]},
    "funding": {"venue": "bybit", "kinds": ["funding_forecast", "funding"]},
}
BARS = {
    "bars": {"venue": "bybit", "kinds": ["bar_1m"]},
    "mark": {"venue": "bybit", "kinds": ["mark_bar_1m"]},
    "liquidations": None,
    "funding": None,
}
LABEL = {
    "name": "cascade", "event": "onset", "onset": {"floor_usd": 1000.0}, "horizons_minutes": [15], "every_minutes": 1,
    "recorded": "days",
}  # fmt: skip


def tape(**market):
    spec = {"market": {"symbol": "SIMUSDT"} | TICKS | market, "label": LABEL, "signal": {"horizon_minutes": 15}}
    return Tape(convert(spec, Spec, "test"))


def at(seconds, late=0.0, venue="bybit"):
    """When an event happened, and when it was known, in seconds after START."""
    known_ns = START + round(seconds * SECOND_NS)
    return {
        "venue": venue,
        "symbol": "SIMUSDT",
        "event_ns": known_ns - round(late * SECOND_NS),
        "known_at_ns": known_ns,
    }


def random_events(seed, seconds, rate=0.4):
    """Trades, marks, quotes, prints, stamps and holes; some late, some out of order, some of another venue."""
    rng = np.random.default_rng(seed)
    events, price = [], 100.0
    for second in np.flatnonzero(rng.random(seconds) < rate).tolist():
        for _ in range(int(rng.integers(1, 4))):
            when = at(second + float(rng.random()), late=float(rng.choice([0.1, 3.0, 70.0], p=[0.8, 0.18, 0.02])))
            price *= math.exp(rng.normal(0, 1e-3))
            kind, venue = rng.random(), "bybit" if rng.random() < 0.9 else "okx"
            when["venue"] = venue
            if kind < 0.35:
                size, buys = float(rng.random()), bool(rng.random() < 0.5)
                events.append(Trade(**when, price=price, size_base=size, taker_buys=buys))
            elif kind < 0.65:
                events.append(Price(**when, price=price, of="mark"))
            elif kind < 0.8:
                half = price * float(rng.random()) * 1e-4 + 1e-6
                events.append(Quote(**when, bid=price - half, bid_size_base=1.0, ask=price + half, ask_size_base=1.0))
            elif kind < 0.9:
                events.append(Liquidation(**when, side=int(rng.integers(2)), usd=float(rng.integers(1, 10_000))))
            elif kind < 0.99:
                events.append(OpenInterest(**when, open_interest_base=float(1000 + 10 * rng.normal())))
            else:
                feed = Feed(int(rng.integers(3)))
                events.append(Gap(**when, feed=feed, reason=Broken.DISCONNECTED))
    return sorted(events, key=lambda event: event.known_at_ns)


def same(one, other):
    """As text, so that NaN is NaN."""
    return repr(one) == repr(other)


def fed(heard, made, now_ns):
    for event in heard:
        made.on_event(event)
    return made.facts(now_ns)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([600, 1500, 5400]), st.sampled_from([1.0, 0.25]))
@example(48525418, 1500, 1.0)  # looks within the second up to which medians go, after a quote
def test_it_says_what_a_slow_count_over_all_events_says(seed, seconds, rate):
    events, made = random_events(seed, seconds, rate), tape()
    rng = np.random.default_rng(seed)
    looks = [*sorted(float(rng.choice([round(s), s])) for s in rng.random(6) * seconds), float(seconds)]
    looked_ns, fed_until = 0, 0
    for look in looks:
        now_ns = START + round(look * SECOND_NS)
        upto = sum(event.known_at_ns <= now_ns for event in events)
        for event in events[fed_until:upto]:
            made.on_event(event)
        fed_until = upto
        told, expected = made.facts(now_ns), facts(events[:upto], now_ns, looked_ns)
        for name, value in expected.items():
            assert told[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), (name, look)
        looked_ns = now_ns


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 900))
def test_noise_after_a_look_changes_nothing_of_it(seed, seconds):
    now_ns = START + seconds * SECOND_NS
    events = random_events(seed, 900)
    before = [event for event in events if event.known_at_ns <= now_ns]
    noise = [event for event in random_events(seed + 1, 900) if event.known_at_ns > now_ns]
    plain, noised = tape(), tape()
    assert same(fed(before, plain, now_ns), fed(noise + before, noised, now_ns))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 899), st.booleans())
def test_a_snapshot_anywhere_goes_on_bit_for_bit(seed, seconds, heard):
    events, through, now_ns = random_events(seed, 900), tape(), START + seconds * SECOND_NS
    for event in events if heard else [e for e in events if e.known_at_ns <= now_ns]:
        through.on_event(event)
    through.facts(now_ns)
    taken = msgspec.msgpack.encode(through.snapshot())
    other = tape()
    other.restore(msgspec.msgpack.decode(taken, type=TapeState))
    assert msgspec.msgpack.encode(other.snapshot()) == taken
    for made in (through, other):
        for event in [] if heard else [e for e in events if e.known_at_ns > now_ns]:
            made.on_event(event)
    for later in sorted({1, 37, 900 - seconds}):
        assert same(through.facts(now_ns + later * SECOND_NS), other.facts(now_ns + later * SECOND_NS))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_how_often_it_is_looked_at_changes_only_the_range_since_the_last_look(seed):
    events, rarely, often = random_events(seed, 600), tape(), tape()
    rng = np.random.default_rng(seed)
    for event in rng.permutation(np.array(events, object)).tolist():  # nor does the order in which they arrive
        rarely.on_event(event)
    for event in events:
        often.on_event(event)
    for tick in range(0, 6000, 7):
        often.facts(START + tick * SECOND_NS // 10)
    end_ns = START + 600 * SECOND_NS
    one, other = rarely.facts(end_ns), often.facts(end_ns)
    for name in ("mark_low", "mark_high"):
        del one[name], other[name]
    assert same(one, other)


def mirrored(event):
    """The market upside down: USD and sizes in USD stay, prices turn about 100."""
    turn = {name: 10_000 / getattr(event, name) for name in ("price",) if hasattr(event, name)}
    match event:
        case Trade():
            size = event.size_base * event.price / turn["price"]
            return msgspec.structs.replace(event, **turn, size_base=size, taker_buys=not event.taker_buys)
        case Price():
            return msgspec.structs.replace(event, **turn)
        case Liquidation():
            return msgspec.structs.replace(event, side=1 - event.side)
        case Quote():
            return msgspec.structs.replace(event, bid=10_000 / event.ask, ask=10_000 / event.bid)
        case _:
            return event


SAME = (
    "sigma_1m_log", "range_3m_log", "atr_5m_log", "volume_60s_usd", "volume_minute_usd", "spread_bp",
    "spread_worst_30s_bp", "spread_median_60m_bp", "open_interest_change_1h", "volatility_1h_rank",
)  # fmt: skip
TURNED = ("velocity_log", "taker_imbalance", "return_4h_log")
SWAPPED = ("liquidated_10s_usd", "prints_10s", "liquidated_60s_usd", "prints_60s", "liquidated_total_usd", "onset_usd")


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_a_mirrored_market_gives_mirrored_facts(seed):
    events, now_ns = random_events(seed, 1200), START + 1200 * SECOND_NS
    one, other = fed(events, tape(), now_ns), fed(map(mirrored, events), tape(), now_ns)
    close = {"rel": 1e-6, "abs": 1e-9, "nan_ok": True}
    for name in SAME:
        assert other[name] == pytest.approx(one[name], **close), name
    for name in TURNED:
        assert other[name] == pytest.approx(-one[name], **close), name
    for name in SWAPPED:
        assert other[name] == pytest.approx(one[name][::-1], **close), name
    assert other["taker_buys_10s_usd"] == pytest.approx(one["taker_sells_10s_usd"], **close)
    assert other["mark_low"] == pytest.approx(10_000 / one["mark_high"], **close)


def test_late_repeated_and_out_of_order_events_are_left_out_as_by_the_step_builder():
    events = random_events(5, 900)
    made, builder = tape(), StepBuilder("SIMUSDT", MINUTE_NS)
    for event in events:
        if event.venue == "bybit" and not isinstance(event, OpenInterest):  # stamps are put in order within a step
            made.on_event(event)
            builder.add(event)
    for minute in range(16):
        made.advance(START + minute * MINUTE_NS)
        builder.close(START + minute * MINUTE_NS)
    assert made.ear.counts["late"] == builder.counts["late"] > 0
    stale = [e for e in events if isinstance(e, Price | Quote) and e.venue == "bybit"]
    assert 0 < made.ear.counts["out_of_order"] < len(stale)


def test_the_future_of_a_bar_is_not_known_before_it_is_published():
    made = tape(**BARS)
    bar = {"cadence_ns": MINUTE_NS, "open": 100.0, "high": 103.0, "low": 99.0, "close": 102.0}
    made.on_event(Bar(**at(60.0), **bar, volume_base=60.0, taker_buy_base=45.0))
    made.on_event(Bar(**at(62.0, late=2.0), **bar, is_mark=True))
    assert math.isnan(made.facts(START + 61 * SECOND_NS)["mark"])
    told = made.facts(START + 62 * SECOND_NS)
    assert (told["mark"], told["mark_low"], told["mark_high"]) == (102.0, 99.0, 103.0)


def test_bars_alone_give_mark_range_volume_and_takers():
    made, rng, price = tape(**BARS), np.random.default_rng(1), 100.0
    closes, told = [price], []
    for minute in range(1, 300):
        after = price * math.exp(rng.normal(0, 1e-3))
        low, high = min(price, after) * 0.9995, max(price, after) * 1.0005
        bar = {"cadence_ns": MINUTE_NS, "open": price, "high": high, "low": low, "close": after}
        made.on_event(Bar(**at(60.0 * minute), **bar, is_mark=True))
        made.on_event(Bar(**at(60.0 * minute), **bar, volume_base=6.0, taker_buy_base=4.5))
        told.append(made.facts(START + minute * MINUTE_NS))
        price = after
        closes.append(price)
    returns = np.diff(np.log(closes[1:]))
    weights = 0.5 ** (np.arange(len(returns))[::-1] / 60)
    last = told[-1]
    assert last["sigma_1m_log"] == pytest.approx(math.sqrt((weights * returns**2).sum() / weights.sum()), rel=1e-9)
    assert last["mark"] == price
    assert last["mark_low"] < min(closes[-2:]) < max(closes[-2:]) < last["mark_high"]
    assert last["taker_imbalance"] == pytest.approx(0.5)
    typical = (3 * 100) / 3
    assert last["volume_60s_usd"] == pytest.approx(6 * typical, rel=0.1)
    assert last["volume_minute_usd"] == pytest.approx(6 * typical, rel=0.1)
    assert last["taker_buys_10s_usd"] == pytest.approx(0.75 * last["volume_60s_usd"] / 6)
    assert last["atr_5m_log"] > last["range_3m_log"] / 3 > 0
    assert last["return_4h_log"] == pytest.approx(math.log(closes[-1] / closes[-241]))
    assert last["liquidations_suspect"]
    assert all(map(math.isnan, (*last["prints_10s"], *last["onset_usd"], last["spread_bp"], last["depth_usd"])))
    silent = made.facts(START + 299 * MINUTE_NS + 121 * SECOND_NS)
    assert math.isnan(silent["volume_60s_usd"])


def test_a_range_is_not_known_from_bars_that_are_longer():
    made = tape(**BARS | {"bars": {"venue": "bybit", "kinds": ["bar_1h"]}, "mark": None})
    for hour in range(1, 30):
        bar = {"cadence_ns": HOUR_NS, "open": 100.0, "high": 103.0, "low": 99.0, "close": 100.0 + hour % 2}
        made.on_event(Bar(**at(3600.0 * hour), **bar, volume_base=1.0))
    told = made.facts(START + 29 * HOUR_NS)
    assert all(math.isnan(told[name]) for name in ("range_3m_log", "atr_5m_log", "atr_15m_log", "taker_imbalance"))
    assert told["sigma_1m_log"] == pytest.approx(math.log(1.01) / math.sqrt(60), rel=0.01)
    assert told["volume_minute_usd"] == pytest.approx(101.0 / 60, rel=0.02)


def book(seconds, bids, asks, is_snapshot=True, depth=50):
    return BookUpdate(**at(seconds), is_snapshot=is_snapshot, bids=bids, asks=asks, depth=depth)


def test_depth_is_what_rests_within_half_a_percent_and_a_hole_makes_it_unknown_until_the_next_snapshot():
    made = tape()
    made.on_event(book(1, [(99.9, 2.0), (99.45, 1.0), (99.4, 9.0)], [(100.1, 1.0), (100.6, 9.0), (101.0, 9.0)]))
    told = made.facts(START + 2 * SECOND_NS)
    assert told["depth_usd"] == pytest.approx(99.9 * 2 + 100.1)  # 99.5 and 100.5 are the borders
    assert (told["bid"], told["ask"]) == (99.9, 100.1)
    made.on_event(Gap(**at(3), feed=Feed.BOOK, reason=Broken.MISSED_UPDATE))
    made.on_event(book(4, [(99.8, 2.0)], [], is_snapshot=False))
    told = made.facts(START + 4 * SECOND_NS)
    assert all(math.isnan(told[name]) for name in ("bid", "ask", "spread_bp", "depth_usd"))
    made.on_event(book(5, [(99.9, 2.0), (98.0, 1.0)], [(100.1, 1.0), (102.0, 1.0)]))
    assert made.facts(START + 5 * SECOND_NS)["depth_usd"] == pytest.approx(99.9 * 2 + 100.1)
    made.on_event(book(6, [(100.2, 1.0)], [], is_snapshot=False))
    assert math.isnan(made.facts(START + 6 * SECOND_NS)["spread_bp"])  # crossed


def test_a_book_that_ends_before_half_a_percent_has_no_depth():
    made = tape()
    made.on_event(book(1, [(99.9, 2.0)], [(100.1, 1.0)]))
    told = made.facts(START + SECOND_NS)
    assert math.isnan(told["depth_usd"])
    assert told["spread_bp"] == pytest.approx(20.0)


def test_a_book_in_which_nothing_rests_within_half_a_percent_holds_no_dollars_there():
    made = tape()
    made.on_event(book(1, [(98.0, 2.0)], [(102.0, 1.0)], depth=0))
    assert made.facts(START + SECOND_NS)["depth_usd"] == 0.0
    made.on_event(Price(**at(2.5), price=100.0, of="mark"))  # the second of the book is closed
    assert made.facts(START + 10 * SECOND_NS)["depth_usd"] == 0.0


def test_the_usual_sums_and_the_onset_stand_from_midnight_on_and_hold_for_thirty_days():
    made, rng = tape(), np.random.default_rng(3)
    midnight = -(-START // DAY_NS) * DAY_NS
    sums, tens = [], []
    made.on_event(Price(**at(0), price=100.0, of="mark"))
    begin = (midnight - START) // SECOND_NS
    for minute in range(2880):
        usd = float(rng.lognormal(8, 1.5)) if rng.random() < 0.3 else 0.0
        sums.append(usd)
        if usd:
            tens.append(usd)
            made.on_event(Liquidation(**at(begin + 60 * minute + 30.5), side=1, usd=usd))
    assert math.isnan(made.facts(midnight + DAY_NS - SECOND_NS)["onset_usd"][1])  # less than a whole day
    told = made.facts(midnight + 2 * DAY_NS + SECOND_NS)
    quiet = [0.0] * ((midnight - START) // MINUTE_NS)
    near = 2 ** (1 / PER_OCTAVE) - 1
    assert told["onset_usd"][1] == pytest.approx(np.quantile(sums + quiet, 0.995, method="lower"), rel=near)
    assert told["liquidated_10s_usual_usd"][1] == pytest.approx(np.quantile(tens, 0.95, method="lower"), rel=near)
    assert told["onset_usd"][0] == 1000.0  # the floor: no long was liquidated
    assert math.isnan(told["liquidated_10s_usual_usd"][0])
    made.on_event(OpenInterest(**at(begin + 2 * 86_400 + 2), open_interest_base=1e9))
    assert made.facts(midnight + 2 * DAY_NS + 2 * SECOND_NS)["onset_usd"][0] == pytest.approx(1e-4 * 1e9 * 100)
    assert made.facts(midnight + 31 * DAY_NS - SECOND_NS)["liquidated_10s_usual_usd"][1] > 0
    assert math.isnan(made.facts(midnight + 32 * DAY_NS + SECOND_NS)["liquidated_10s_usual_usd"][1])


def test_a_rank_of_volatility_is_the_share_of_calmer_hours():
    made, rng, price = tape(**BARS), np.random.default_rng(0), 100.0
    loud, begin = rng.permutation(48), (-START // SECOND_NS) % 3600
    for hour, scale in enumerate(loud.tolist()):
        for minute in range(60):
            price *= math.exp((1 if minute % 2 else -1) * 1e-5 * (scale + 1))
            bar = {"cadence_ns": MINUTE_NS, "open": price, "high": price, "low": price, "close": price}
            made.on_event(Bar(**at(begin + 3600 * hour + 60 * minute + 20), **bar, is_mark=True))
    told = made.facts(START + begin * SECOND_NS + 48 * HOUR_NS)
    assert told["volatility_1h_rank"] == pytest.approx(float(np.mean(loud < loud[-1])), abs=1e-9)


def test_open_interest_that_is_counted_anew_is_no_change():
    made = tape()
    for minute, coins in enumerate([1000.0] * 70 + [2000.0] * 10):
        made.on_event(OpenInterest(**at(60 * minute + 1), open_interest_base=coins))
    told = made.facts(START + 79 * MINUTE_NS + 2 * SECOND_NS)
    assert told["open_interest_change_1h"] == 0.0
    assert told["open_interest_base"] == 2000.0


def test_funding_is_for_eight_hours_by_what_two_settlements_show():
    made = tape()
    made.on_event(Funding(**at(0), funding_rate=1e-4))
    assert math.isnan(made.facts(START + SECOND_NS)["funding_8h"])
    made.on_event(Funding(**at(4 * 3600), funding_rate=1e-4))
    assert made.facts(START + 5 * HOUR_NS)["funding_8h"] == pytest.approx(2e-4)
    settles_ns = START + 8 * HOUR_NS
    made.on_event(FundingForecast(**at(5 * 3600), funding_rate=3e-4, settles_ns=settles_ns, interval_hours=4.0))
    assert made.facts(START + 6 * HOUR_NS)["funding_8h"] == pytest.approx(6e-4)
    assert made.facts(START + 9 * HOUR_NS)["funding_8h"] == pytest.approx(2e-4)


def test_a_mark_of_history_or_of_a_replay_is_not_live():
    made = tape()
    made.on_event(Price(**at(1), price=100.0, of="mark"))
    made.advance(START + SECOND_NS, live=False)
    assert not made.facts(START + SECOND_NS)["live"]
    made.on_event(Price(**at(2), price=101.0, of="mark", quality=Quality.REPLAYED))
    assert not made.facts(START + 2 * SECOND_NS)["live"]
    made.on_event(Price(**at(3), price=102.0, of="mark"))
    assert made.facts(START + 3 * SECOND_NS)["live"]


def test_a_mark_is_as_old_as_what_it_was_made_from_however_new_its_arrival():
    made = tape()
    made.on_event(Price(**at(40, late=20.0), price=100.0, of="mark"))
    told = made.facts(START + 40 * SECOND_NS)
    assert told["mark_ns"] == START + 40 * SECOND_NS
    assert told["mark_made_ns"] == START + 20 * SECOND_NS
    made.on_event(Price(**at(41, late=30.0), price=99.0, of="mark"))  # older than the last: left out
    assert made.facts(START + 41 * SECOND_NS)["mark_made_ns"] == START + 20 * SECOND_NS


def test_every_kind_of_event_is_heard_and_what_is_no_number_is_left_out():
    made = tape()
    odd = [
        Trade(**at(1), price=-1.0, size_base=1.0, taker_buys=True),
        Trade(**at(1), price=100.0, size_base=math.nan, taker_buys=True),
        Trade(**at(1), price=100.0, size_base=5.0, taker_buys=True, quality=Quality.OFF_BOOK),
        Price(**at(1), price=math.inf, of="mark"),
        Price(**at(1), price=99.0, of="index"),
        Liquidation(**at(1), side=0, usd=-5.0),
        OpenInterest(**at(1), open_interest_base=0.0),
        Quote(**at(1), bid=math.nan, bid_size_base=1.0, ask=1.0, ask_size_base=1.0),
        LiquidationSum(**at(1), cadence_ns=HOUR_NS, long_usd=1e9, short_usd=1e9),
        DepthBand(**at(1), percentage=1.0, depth_base=1.0, notional_usd=1.0),
        Bar(**at(1), cadence_ns=MINUTE_NS, open=1.0, high=0.5, low=1.0, close=1.0, is_mark=True),
    ]
    told = fed(odd, made, START + 2 * SECOND_NS)
    assert made.ear.counts["impossible"] == 6
    assert all(math.isnan(told[name]) for name in ("mark", "open_interest_base", "spread_bp", "volume_60s_usd"))
    assert told["liquidated_total_usd"] == (0.0, 0.0)
    View(word=None, **told)


def test_before_anything_was_heard_nothing_is_known():
    told = tape().facts(START)
    assert math.isnan(told["mark"])
    assert told["mark_ns"] == 0
    assert told["liquidations_suspect"]


def test_a_price_that_runs_without_a_print_makes_the_feed_suspect():
    made = tape()
    for second in range(1800):
        price = 100.0 * (1 + 1e-4 * (second // 60 % 2))
        made.on_event(Price(**at(second + 0.5), price=price if second < 1790 else 99.0, of="mark"))
    assert not made.facts(START + 1789 * SECOND_NS)["liquidations_suspect"]
    for second in (1795, 1800, 1805):  # the move becomes a part of the deviation at 1800
        assert made.facts(START + second * SECOND_NS)["liquidations_suspect"]
    made.on_event(Liquidation(**at(1805.5), side=0, usd=1.0))
    assert not made.facts(START + 1806 * SECOND_NS)["liquidations_suspect"]


def test_another_symbol_and_a_clock_that_goes_back_are_refused():
    made = tape()
    with pytest.raises(StepError, match="got an event of BTCUSDT"):
        made.on_event(Price(**at(1) | {"symbol": "BTCUSDT"}, price=1.0, of="mark"))
    made.facts(START)
    with pytest.raises(StepError, match="must not go back"):
        made.facts(START - 1)


def held(root):
    """Bytes of all that can be reached from `root`, code aside: what others in this process allocate does not count."""
    seen, left, total = set(), [root], 0
    while left:
        one = left.pop()
        if id(one) not in seen and not isinstance(one, CODE):
            seen.add(id(one))
            total += sys.getsizeof(one)
            left += gc.get_referents(one)
    return total


def grown(made, seconds, looks=True):
    """By how many bytes so many seconds with a mark, a trade and a print in each make it grow, after a first 2000."""

    def run(first, count):
        for second in range(first, first + count):
            made.on_event(Price(**at(second + 0.5), price=100.0 + second % 7, of="mark"))
            made.on_event(Trade(**at(second + 0.5), price=100.0, size_base=1.0, taker_buys=True))
            made.on_event(Liquidation(**at(second + 0.5), side=second % 2, usd=1000.0))
            (made.facts if looks else made.advance)(START + (second + 1) * SECOND_NS)

    run(0, 2000)
    before = held(made)
    run(2000, seconds)
    return held(made) - before


def test_memory_does_not_grow_over_ten_thousand_seconds():
    assert grown(tape(), 10_000) < 10_000  # a byte for each of them: not one of them is kept
    assert abs(grown(tape(), 4_000, looks=False)) < 100_000  # what waits for a look is closed after a while


def test_a_tape_that_keeps_one_of_its_events_a_second_would_be_seen():
    made, kept = tape(), []
    take = made.ear._take["bybit", Price]
    made.kept, made.ear._take["bybit", Price] = kept, lambda event: (kept.append(event), take(event))
    assert grown(made, 500) > 500 * 50
