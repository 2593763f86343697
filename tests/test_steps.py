import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeeze.errors import StepError
from squeeze.market.events import MINUTE_NS, SECOND_NS, Bar, Funding, Liquidation, LiquidationSum, OpenInterest, Quality
from squeeze.market.steps import SILENT, StepBuilder, steps
from squeeze.market.tally import candle
from squeeze.market.venue_step import Candle


def bar(minute: float, close: float = 10.0, lag_s: int = 0, **more) -> Bar:
    end = round(minute * MINUTE_NS)
    fields = {
        "open": close,
        "high": close + 1,
        "low": close - 1,
        "close": close,
        "volume_base": 3.0,
        "taker_buy_base": 1.0,
    }
    fields |= {
        "venue": "v",
        "symbol": "S",
        "event_ns": end,
        "known_at_ns": end + lag_s * SECOND_NS,
        "cadence_ns": MINUTE_NS,
    }
    return Bar(**(fields | more))


def stamp(minute: float, coins: float, lag_s: int = 60, venue: str = "v") -> OpenInterest:
    at = round(minute * MINUTE_NS)
    return OpenInterest(
        venue=venue, symbol="S", event_ns=at, known_at_ns=at + lag_s * SECOND_NS, open_interest_base=coins
    )


def built(*events, length: int = MINUTE_NS) -> StepBuilder:
    builder = StepBuilder("S", length)
    for event in events:
        builder.add(event)
    return builder


def test_a_step_holds_what_became_known_up_to_its_close_and_not_a_nanosecond_more():
    builder = built(bar(1), bar(2, known_at_ns=2 * MINUTE_NS + 1), stamp(1, 5.0))
    first, second, third = (builder.close(m * MINUTE_NS) for m in (1, 2, 3))
    assert first.venue("v").last.event_ns == MINUTE_NS
    assert first.venue("v").open_interest == ()
    assert second.venue("v").last is None
    assert second.venue("v").open_interest[0].open_interest_base == 5.0
    assert third.venue("v").last.event_ns == 2 * MINUTE_NS


def test_a_candle_spans_its_bars_in_order_of_time_however_they_came():
    minutes = [bar(3, 7.0), bar(1, 10.0, open=9.5), bar(2, 12.0)]
    step = built(*minutes, length=3 * MINUTE_NS).close(3 * MINUTE_NS)
    part = step.venue("v")
    assert part.last == Candle(9.5, 13.0, 6.0, 7.0, 3 * MINUTE_NS)
    assert (part.volume_base, part.taker_buy_base, part.quality) == (9.0, 3.0, Quality.GOOD)
    assert candle([]) is None


def test_mark_bars_are_kept_apart_from_last_prices_and_add_no_volume():
    step = built(bar(1), bar(1, 11.0, is_mark=True)).close(MINUTE_NS)
    part = step.venue("v")
    assert (part.last.close, part.mark.close, part.volume_base) == (10.0, 11.0, 3.0)


def test_a_bar_that_is_not_newer_is_dropped_and_counted():
    builder = built(bar(1), bar(1, 99.0), bar(2))
    assert builder.close(MINUTE_NS).venue("v").last.close == 10.0
    builder.add(bar(1, 50.0, lag_s=60))
    assert builder.close(2 * MINUTE_NS).venue("v").last.event_ns == 2 * MINUTE_NS
    builder.add(bar(2, 50.0))
    assert builder.close(3 * MINUTE_NS).venue("v").last is None
    assert builder.counts == {"repeated": 3}


def test_venues_and_kinds_of_price_are_compared_only_with_their_own():
    builder = built(bar(1), bar(1, venue="w"), bar(1, is_mark=True))
    step = builder.close(MINUTE_NS)
    assert step.venue("v").last == step.venue("w").last == step.venue("v").mark
    assert not builder.counts


@pytest.mark.parametrize(
    ("bars", "partial"), [([1, 2, 3, 4, 5], False), ([1, 2, 3, 5], True), ([5], True), ([], False)]
)
def test_bars_that_do_not_cover_the_step_make_it_partial(bars, partial):
    step = built(*(bar(m) for m in bars), length=5 * MINUTE_NS).close(5 * MINUTE_NS)
    assert bool(step.venue("v").quality & Quality.PARTIAL) is partial


def test_what_is_wrong_with_an_event_is_said_of_its_step():
    step = built(bar(1, quality=Quality.GAP_BEFORE), bar(1, venue="w")).close(MINUTE_NS)
    assert step.venue("v").quality == Quality.GAP_BEFORE
    assert step.venue("w").quality == Quality.GOOD


def test_an_absent_volume_makes_the_steps_volume_absent():
    step = built(bar(1), bar(2, volume_base=math.nan), length=2 * MINUTE_NS).close(2 * MINUTE_NS)
    assert math.isnan(step.venue("v").volume_base)
    assert step.venue("v").taker_buy_base == 2.0


def test_slow_streams_are_joined_by_known_at_and_sorted_by_when_they_happened():
    at = {"venue": "v", "symbol": "S"}
    events = [
        stamp(2, 6.0),
        stamp(1.5, 5.0),
        Funding(**at, event_ns=MINUTE_NS, known_at_ns=MINUTE_NS, funding_rate=1e-4),
        Liquidation(**at, event_ns=MINUTE_NS, known_at_ns=MINUTE_NS, side=1, usd=5.0),
        LiquidationSum(
            **at, event_ns=MINUTE_NS, known_at_ns=MINUTE_NS, cadence_ns=MINUTE_NS, long_usd=1.0, short_usd=2.0
        ),
    ]
    part = built(*events, length=3 * MINUTE_NS).close(3 * MINUTE_NS).venue("v")
    assert [e.open_interest_base for e in part.open_interest] == [5.0, 6.0]
    assert part.funding == (events[2],)
    assert part.liquidations == tuple(events[3:])
    assert part.last is None


def test_a_venue_that_said_nothing_is_silent():
    step = built(bar(1)).close(MINUTE_NS)
    assert step.venue("elsewhere") is SILENT
    assert built().close(MINUTE_NS).venues == {}


def test_another_symbols_event_is_refused():
    with pytest.raises(StepError, match="a S step got an event of T"):
        built().add(bar(1, symbol="T"))


@pytest.mark.parametrize("close_ns", [MINUTE_NS, 0])
def test_a_close_must_follow_the_last(close_ns):
    builder = built(bar(1))
    builder.close(MINUTE_NS)
    with pytest.raises(StepError, match="cannot follow"):
        builder.close(close_ns)


def test_history_starts_with_the_step_of_the_first_event_and_holes_are_empty_steps():
    events = [bar(2.5, known_at_ns=round(2.5 * MINUTE_NS)), bar(3), bar(6), bar(6, is_mark=True)]
    got = list(steps(events, "S", MINUTE_NS))
    assert [s.close_ns // MINUTE_NS for s in got] == [3, 4, 5, 6]
    assert [len(s.venues) for s in got] == [1, 0, 0, 1]
    assert list(steps([], "S", MINUTE_NS)) == []


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 200)), max_size=25), st.integers(0, 30))
def test_a_builder_restored_from_its_snapshot_goes_on_alike(minutes, cut):
    def fed(builder, known):
        for event in known:
            builder.add(event)

    events = sorted((bar(m, 10.0 + m, lag_s=lag) for m, lag in minutes), key=lambda e: e.known_at_ns)
    whole, first, second = (StepBuilder("S", MINUTE_NS) for _ in range(3))
    fed(whole, events)
    fed(first, events)
    expected = [whole.close(m * MINUTE_NS) for m in range(1, 36)]
    got = [first.close(m * MINUTE_NS) for m in range(1, cut + 1)]
    second.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(first.snapshot())))
    got += [second.close(m * MINUTE_NS) for m in range(cut + 1, 36)]
    assert msgspec.msgpack.encode(got) == msgspec.msgpack.encode(expected)
    assert second.counts == whole.counts
